package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
)

// guarded is a rig with keys: acme of a tenant, bird of another one, slow with a limit, old that has expired, all with the
// same signing secret.
type guarded struct {
	*rig
	keys   map[string]apikey.Key
	secret *apikey.Secret
	ring   *keyring.Ring
}

func newGuarded(tb testing.TB) *guarded {
	tb.Helper()
	g := &guarded{rig: newRig(tb, defaultLimits()), keys: map[string]apikey.Key{}, secret: apikey.NewSecret()}
	entries := []keyring.Entry{
		{ID: "acme", Grants: []string{"acme:*", "x7Kp2"}, HMACSecretFile: "secret"},
		{ID: "bird", Grants: []string{"bird:*"}, HMACSecretFile: "secret"},
		{ID: "slow", Grants: []string{"*"}, ClicksPerSecond: 10, Burst: 20},
		{ID: "old", Grants: []string{"*"}, NotAfter: time.Now().Add(-time.Hour)},
	}
	for i, e := range entries {
		k, err := apikey.New(e.ID)
		if err != nil {
			tb.Fatal(err)
		}
		g.keys[e.ID], entries[i].SHA256 = k, keyring.Hashed(k)
	}
	text, err := keyring.Encode(entries)
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	err = os.WriteFile(filepath.Join(dir, "secret"), []byte(g.secret.Reveal()), 0o600)
	if err = errors.Join(err, os.WriteFile(filepath.Join(dir, "keys.json"), text, 0o600)); err != nil {
		tb.Fatal(err)
	}
	if g.ring, err = keyring.Load(filepath.Join(dir, "keys.json"), nil); err != nil {
		tb.Fatal(err)
	}
	g.rig.keys.ring = g.ring
	return g
}

// by is the header of a key.
func (g *guarded) by(id string) []string {
	return []string{"Authorization", "Bearer " + g.keys[id].Reveal()}
}

// signed is the header of a signature.
func (g *guarded) signed(id, body string, at time.Time) []string {
	return []string{apikey.SignatureHeader, g.secret.Sign(id, []byte(body), at)}
}

// secretOf is the secret of a key alone.
func (g *guarded) secretOf(id string) string {
	return strings.TrimPrefix(g.keys[id].Reveal(), "lpk_"+id+"_")
}

func TestWhoMaySendWhat(t *testing.T) {
	t.Parallel()
	now := time.Now()
	const one, ours, theirs = `{"link":"acme:x"}`, `[{"link":"acme:x"},{"link":"x7Kp2"}]`, `[{"link":"acme:x"},{"link":"acme2:x"},{"link":"bird:x"}]`
	for name, tc := range map[string]struct {
		body   string
		header func(g *guarded) []string
		status int
		code   string
		rule   string // of bad_key
		index  int    // of link_not_granted
		by     string // the key that counts it
	}{
		"one":                {one, func(g *guarded) []string { return g.by("acme") }, 202, "", "", 0, "acme"},
		"several":            {ours, func(g *guarded) []string { return g.by("acme") }, 202, "", "", 0, "acme"},
		"signed":             {ours, func(g *guarded) []string { return g.signed("acme", ours, now) }, 202, "", "", 0, "acme"},
		"any link":           {theirs, func(g *guarded) []string { return g.by("slow") }, 202, "", "", 0, "slow"},
		"nobody":             {one, func(*guarded) []string { return nil }, 401, "unauthenticated", "", 0, ""},
		"another tenant's":   {one, func(g *guarded) []string { return g.by("bird") }, 403, "link_not_granted", "", 0, "bird"},
		"one of another":     {theirs, func(g *guarded) []string { return g.by("acme") }, 403, "link_not_granted", "", 1, "acme"},
		"signed for another": {one, func(g *guarded) []string { return g.signed("bird", one, now) }, 403, "link_not_granted", "", 0, "bird"},
		"the tenant itself":  {`{"link":"acme"}`, func(g *guarded) []string { return g.by("acme") }, 403, "link_not_granted", "", 0, "acme"},
		"a longer tenant":    {`{"link":"acme2:x"}`, func(g *guarded) []string { return g.by("acme") }, 403, "link_not_granted", "", 0, "acme"},
		"another case":       {`{"link":"Acme:x"}`, func(g *guarded) []string { return g.by("acme") }, 403, "link_not_granted", "", 0, "acme"},
		"a longer link":      {`{"link":"x7Kp22"}`, func(g *guarded) []string { return g.by("acme") }, 403, "link_not_granted", "", 0, "acme"},
		"escaped":            {`{"link":"bird\u003ax"}`, func(g *guarded) []string { return g.by("acme") }, 403, "link_not_granted", "", 0, "acme"},
		"a grant for a link": {`{"link":"acme:*"}`, func(g *guarded) []string { return g.by("acme") }, 422, "invalid_click", "link", 0, ""},
		"another secret": {one, func(g *guarded) []string {
			return []string{"Authorization", "Bearer lpk_acme_" + g.secretOf("bird")}
		}, 401, "bad_key", "key", 0, "acme"},
		"no such key": {one, func(g *guarded) []string {
			return []string{"Authorization", "Bearer lpk_acme-2_" + g.secretOf("acme")}
		}, 401, "bad_key", "key", 0, ""},
		"cut short": {one, func(g *guarded) []string {
			return []string{"Authorization", "Bearer " + g.keys["acme"].Reveal()[:60]}
		}, 401, "bad_key", "malformed", 0, ""},
		"expired":              {one, func(g *guarded) []string { return g.by("old") }, 401, "bad_key", "expired", 0, "old"},
		"signed long ago":      {one, func(g *guarded) []string { return g.signed("acme", one, now.Add(-6*time.Minute)) }, 401, "bad_key", "time", 0, "acme"},
		"signed another body":  {one, func(g *guarded) []string { return g.signed("acme", ours, now) }, 401, "bad_key", "signature", 0, "acme"},
		"signed, not JSON":     {"{", func(g *guarded) []string { return g.signed("acme", ours, now) }, 401, "bad_key", "signature", 0, "acme"},
		"signed by nobody":     {one, func(g *guarded) []string { return g.signed("slow", one, now) }, 401, "bad_key", "key", 0, "slow"},
		"signed with an id of": {one, func(g *guarded) []string { return g.signed("\x1b[31m", one, now) }, 401, "bad_key", "malformed", 0, ""},
		"lines in a key": {one, func(*guarded) []string {
			return []string{"Authorization", "Bearer lpk_a\r\nX: \x1b[31m_" + strings.Repeat("A", 52)}
		}, 401, "bad_key", "malformed", 0, ""},
		"both": {one, func(g *guarded) []string {
			return append(g.by("acme"), g.signed("acme", one, now)...)
		}, 401, "bad_key", "malformed", 0, ""},
		"in a query's place": {one, func(g *guarded) []string {
			return []string{"X-Api-Key", g.keys["acme"].Reveal()}
		}, 401, "unauthenticated", "", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGuarded(t)
			w := g.post(tc.body, tc.header(g)...)
			a := decodeAnswer(t, w)
			if w.Code != tc.status || a.Code != tc.code || a.Rule != tc.rule {
				t.Fatalf("answer %d %s, want %d %s, rule %q", w.Code, w.Body, tc.status, tc.code, tc.rule)
			}
			if tc.status == 403 && (a.Index == nil || *a.Index != tc.index) {
				t.Errorf("index %v, want %d", a.Index, tc.index)
			}
			if asked := w.Header().Get("WWW-Authenticate"); (asked != "") != (tc.status == 401) ||
				strings.Contains(asked, "invalid_token") != (tc.code == "bad_key") {
				t.Errorf("WWW-Authenticate %q", asked)
			}
			g.keepsSecrets(w)
			g.checkCounts(t, tc.status, tc.code, tc.rule, tc.by, strings.Count(tc.body, "link"))
		})
	}
}

// keepsSecrets looks for secrets, and for what no log should have, in an answer.
func (g *guarded) keepsSecrets(w *httptest.ResponseRecorder) {
	g.tb.Helper()
	said := w.Body.String() + fmt.Sprint(w.Header())
	for _, k := range g.keys {
		if secret := g.secretOf(k.ID()); strings.Contains(said, secret[:10]) || strings.Contains(said, secret[42:]) {
			g.tb.Errorf("a secret is in %s", said)
		}
	}
	for _, what := range []string{g.secret.Reveal()[:12], "lpk_acme", "lpk_a\\r", "\x1b", "u001b", "[31m", "acme:x", "bird:x"} {
		if strings.Contains(said, what) {
			g.tb.Errorf("%q is in %s", what, said)
		}
	}
}

// checkCounts holds the metrics and the log against an answer.
func (g *guarded) checkCounts(t *testing.T, status int, code, rule, by string, clicks int) {
	t.Helper()
	if status == http.StatusAccepted {
		if len(g.log.appended) != clicks {
			t.Errorf("%d clicks were appended, want %d", len(g.log.appended), clicks)
		}
	} else {
		if len(g.log.appended) != 0 {
			t.Errorf("%d clicks of a refused request were appended", len(g.log.appended))
		}
		if got := g.metric(t, "refused_requests_total", code); got != 1 {
			t.Errorf("%v refusals in the metric, want 1", got)
		}
	}
	if status == http.StatusUnauthorized {
		if rule == "" {
			rule = string(apikey.ReasonMissing)
		}
		if got := g.metric(t, "refused_credentials_total", rule); got != 1 {
			t.Errorf("%v refusals of the reason %s, want 1", got, rule)
		}
	}
	notGranted := 0
	if status == http.StatusForbidden {
		notGranted = clicks
	}
	if got := g.metric(t, "refused_clicks_total", "link_not_granted"); got != float64(notGranted) {
		t.Errorf("%v clicks are counted as not granted, want %d", got, notGranted)
	}
	for k := range g.ring.All() {
		accepted, refused := k.Counted()
		if k.ID() != by && accepted+refused > 0 {
			t.Errorf("%s has counted what is not its own", k.ID())
		}
		if k.ID() == by && (status == 202 && (int(accepted) != clicks || refused != 0) || status != 202 && (accepted != 0 || refused != 1)) {
			t.Errorf("%s has counted %d clicks and %d refusals", by, accepted, refused)
		}
	}
}

// Where authentication is off, nothing that a client sends along is looked at.
func TestAnybodyMaySendCredentials(t *testing.T) {
	t.Parallel()
	r := newRig(t, defaultLimits())
	req := newRequest(`{"link":"acme:x"}`)
	req.Header["Authorization"] = []string{"Basic x", "Bearer y"}
	req.Header["Linkpulse-Signature"] = []string{"nonsense"}
	if w := r.do(req); w.Code != http.StatusAccepted {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
}

// Two headers are two senders, whichever of them is good.
func TestSmuggledHeaders(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	acme, bird := "Bearer "+g.keys["acme"].Reveal(), "Bearer "+g.keys["bird"].Reveal()
	for _, values := range [][]string{
		{acme, bird}, {bird, acme}, {acme, acme}, {acme, ""}, {"", acme}, {acme + "," + bird}, {acme + ", " + acme}, {"Basic x", acme},
	} {
		req := newRequest(`{"link":"acme:x"}`)
		req.Header["Authorization"] = values
		w := httptest.NewRecorder()
		g.router.ServeHTTP(w, req)
		if a := decodeAnswer(t, w); w.Code != http.StatusUnauthorized || a.Rule != "malformed" {
			t.Errorf("%d headers: answer %d %s", len(values), w.Code, w.Body)
		}
	}
	// Names that only look like the header are not it.
	for _, name := range []string{"authorization", "Authorization ", "Authorization_", "X-Authorization", "Proxy-Authorization"} {
		req := newRequest(`{"link":"acme:x"}`)
		req.Header[name] = []string{acme}
		w := httptest.NewRecorder()
		g.router.ServeHTTP(w, req)
		if a := decodeAnswer(t, w); w.Code != http.StatusUnauthorized || a.Code != "unauthenticated" {
			t.Errorf("%q: answer %d %s", name, w.Code, w.Body)
		}
	}
	if len(g.log.appended) != 0 {
		t.Errorf("%d clicks were appended", len(g.log.appended))
	}
}

// unread is a body that nobody may read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body of a stranger was read")
	return 0, io.EOF
}
func (unread) Close() error { return nil }

// The body of a stranger is not read, and a large one ends the connection: the server would read it otherwise.
func TestStrangersAreNotRead(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	body := `{"link":"acme:x"}`
	for name, header := range map[string][]string{
		"nobody": nil, "another secret": {"Authorization", "Bearer lpk_acme_" + strings.Repeat("A", 52)}, "expired": g.by("old"),
		"signed long ago": g.signed("acme", body, time.Now().Add(-time.Hour)), "signed by nobody": g.signed("nobody", body, time.Now()),
	} {
		for length, closed := range map[int64]bool{17: false, freeBody: false, freeBody + 1: true, 1 << 40: true, -1: true} {
			req := newRequest(body, header...)
			req.Body, req.ContentLength = unread{t}, length
			w := httptest.NewRecorder()
			g.router.ServeHTTP(w, req)
			if w.Code != http.StatusUnauthorized || (w.Header().Get("Connection") == "close") != closed {
				t.Errorf("%s, %d bytes: answer %d %v", name, length, w.Code, w.Header())
			}
		}
	}
}

// Credentials come first: whoever has none is not told whether Kafka is there.
func TestStrangersLearnNothing(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	g.handler.target.Store(nil)
	if w := g.post(`{"link":"acme:x"}`); w.Code != http.StatusUnauthorized {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	if w := g.post(`{"link":"acme:x"}`, g.by("acme")...); w.Code != http.StatusServiceUnavailable {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
}

func TestRateOfAKey(t *testing.T) {
	t.Parallel()
	g := newGuarded(t) // slow: 10 a second, 20 at once
	batch := func(n int) string { return "[" + strings.Repeat(`{"link":"a"},`, n-1) + `{"link":"a"}]` }
	if w := g.post(batch(21), g.by("slow")...); w.Code != http.StatusRequestEntityTooLarge || decodeAnswer(t, w).Code != "too_many_clicks" {
		t.Fatalf("more than ever passes: %d %s", w.Code, w.Body)
	}
	if w := g.post(batch(15), g.by("slow")...); w.Code != http.StatusAccepted {
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	w := g.post(batch(20), g.by("slow")...) // 15 less what is forgotten already, and 20: 15 too many
	if a := decodeAnswer(t, w); w.Code != http.StatusTooManyRequests || a.Code != "rate_limited" || w.Header().Get("Retry-After") != "2" {
		t.Fatalf("answer %d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := g.post(batch(4), g.by("slow")...); w.Code != http.StatusAccepted { // what was refused is not counted
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	if w := g.post(batch(15), g.by("acme")...); w.Code != http.StatusForbidden { // another key is another bucket
		t.Fatalf("answer %d %s", w.Code, w.Body)
	}
	if got := g.metric(t, "refused_clicks_total", "rate_limited"); got != 20 {
		t.Errorf("%v clicks in the metric, want 20", got)
	}
	if got := g.metric(t, "refused_clicks_total", "too_many_clicks"); got != 21 {
		t.Errorf("%v clicks in the metric, want 21", got)
	}
	if len(g.log.appended) != 19 {
		t.Errorf("%d clicks were appended, want 19", len(g.log.appended))
	}
	accepted, refused := g.ring.Key("slow").Counted()
	if accepted != 19 || refused != 2 {
		t.Errorf("it has counted %d clicks and %d refusals", accepted, refused)
	}
}

// A key that has nothing left is refused before its body is read.
func TestRateBeforeTheBody(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	k := g.ring.Key("slow")
	for k.Take(1, time.Now()) == 0 { //nolint:revive // until there is no room for one more
	}
	req := newRequest("", g.by("slow")...)
	req.Body, req.ContentLength = unread{t}, 1<<20
	w := httptest.NewRecorder()
	g.router.ServeHTTP(w, req)
	if a := decodeAnswer(t, w); w.Code != http.StatusTooManyRequests || a.Code != "rate_limited" || w.Header().Get("Retry-After") != "1" {
		t.Fatalf("answer %d %v %s", w.Code, w.Header(), w.Body)
	}
}

// Nothing of a request is kept for the next one that its memory serves.
func TestCredentialsDoNotOutliveTheirRequest(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	s := g.handler.takeScratch()
	w := httptest.NewRecorder()
	if refused := g.handler.identify(w, newRequest("", g.by("acme")...), &s.caller, time.Now()); refused != nil || s.caller.key == nil {
		t.Fatalf("%+v", refused)
	}
	g.handler.giveScratch(s)
	if s.caller != (caller{}) {
		t.Errorf("it still has %v", s.caller.presented)
	}
	defer func() {
		if recover() == nil {
			t.Error("a check without a key lets somebody in")
		}
	}()
	_ = s.caller.admit([]input{{link: []byte("acme:x")}}, time.Now())
}

func TestEveryReasonIsInTheMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, defaultLimits())
	for _, reason := range apikey.Reasons() {
		r.metric(t, "refused_credentials_total", string(reason))
	}
	for _, code := range []string{"unauthenticated", "bad_key", "link_not_granted", "rate_limited"} {
		r.metric(t, "refused_requests_total", code)
	}
	for _, code := range []string{"link_not_granted", "rate_limited", "too_many_clicks"} {
		r.metric(t, "refused_clicks_total", code)
	}
	for _, status := range []int{401, 403, 429} {
		r.metric(t, "requests_total", strconv.Itoa(status))
	}
}

// What authentication adds to a request allocates nothing.
func TestKeysDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	g := newGuarded(t)
	text := `{"link":"acme:` + strings.Repeat("x", 100) + `"}`
	for name, header := range g.ways() {
		send, _ := handleBy(t, g.rig.keys, header, typeJSON, text)
		if n := testing.AllocsPerRun(200, send); n > 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// ways are the ways in which acme proves who it is.
func (g *guarded) ways() map[string]func([]byte) (name, value string) {
	return map[string]func([]byte) (name, value string){
		"key": func([]byte) (name, value string) { return "Authorization", "Bearer " + g.keys["acme"].Reveal() },
		"signature": func(body []byte) (name, value string) {
			return apikey.SignatureHeader, g.secret.Sign("acme", body, time.Now())
		},
	}
}

// BenchmarkKeys is BenchmarkHandler with authentication.
func BenchmarkKeys(b *testing.B) {
	g := newGuarded(b)
	one := strings.Replace(benchClick, "x7Kp2", "acme:x7Kp2", 1)
	ways := g.ways()
	ways["off"] = nil
	for _, bc := range []struct{ name, contentType, text string }{
		{"single", typeJSON, one}, {"lines-100", typeLines, strings.Repeat(one+"\n", 100)},
	} {
		for _, way := range []string{"off", "key", "signature"} {
			b.Run(bc.name+"/"+way, func(b *testing.B) {
				keys := g.rig.keys
				if way == "off" {
					keys = &testKeys{anybody: keyring.Anybody()}
				}
				send, _ := handleBy(b, keys, ways[way], bc.contentType, bc.text)
				b.ReportAllocs()
				for b.Loop() {
					send()
				}
			})
		}
	}
}
