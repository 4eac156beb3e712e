package ingest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
)

// keyFile is a file of keys in a directory of its own.
type keyFile struct {
	tb   testing.TB
	path string
}

func newKeyFile(tb testing.TB) *keyFile {
	tb.Helper()
	return &keyFile{tb: tb, path: filepath.Join(tb.TempDir(), "keys.json")}
}

// use is a configuration with the file.
func (f *keyFile) use(c *Config) { c.Auth, c.KeysFile = byKeys, f.path }

// put puts a text into the place of a file beside the keys, as editors and Kubernetes do.
func (f *keyFile) put(name, text string) {
	f.tb.Helper()
	path := filepath.Join(filepath.Dir(f.path), name)
	err := os.WriteFile(path+".new", []byte(text), 0o600)
	if err = errors.Join(err, os.Rename(path+".new", path)); err != nil {
		f.tb.Fatal(err)
	}
}

func (f *keyFile) write(entries ...keyring.Entry) {
	f.tb.Helper()
	text, err := keyring.Encode(entries)
	if err != nil {
		f.tb.Fatal(err)
	}
	f.put("keys.json", string(text))
}

// issue makes a key, its entry, and the header that it is sent in.
func issue(tb testing.TB, id string, grants ...string) (apikey.Key, keyring.Entry, []string) {
	tb.Helper()
	k, err := apikey.New(id)
	if err != nil {
		tb.Fatal(err)
	}
	return k, keyring.Entry{ID: id, SHA256: keyring.Hashed(k), Grants: grants}, []string{"Authorization", "Bearer " + k.Reveal()}
}

// metric returns the value of a metric, by its name and the values of its labels; -1: there is none.
func (w *world) metric(name string, labels ...string) float64 {
	w.t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "linkpulse_ingest_"+name {
			continue
		}
		for _, m := range f.Metric {
			var values []string
			for _, l := range m.Label {
				values = append(values, l.GetValue())
			}
			if strings.Join(values, " ") == strings.Join(labels, " ") {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return -1
}

// A key is rotated, revoked and limited while ingest runs.
func TestKeysAreReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newKeyFile(t)
		_, e1, by1 := issue(t, "acme-1", "acme:*")
		f.write(e1)
		w := ready(t, f.use)
		const click = `{"link":"acme:x"}`
		w.mustPost(http.StatusAccepted, click, by1...)
		w.mustPost(http.StatusUnauthorized, click)

		_, e2, by2 := issue(t, "acme-2", "acme:*") // the next key of the tenant
		e2.NotAfter = time.Now().Add(time.Hour)
		f.write(e1, e2)
		time.Sleep(lookEvery)
		w.mustPost(http.StatusAccepted, click, by1...)
		w.mustPost(http.StatusAccepted, click, by2...)
		if a := w.mustPost(http.StatusForbidden, `[{"link":"acme:x"},{"link":"bird:x"}]`, by2...); a.Code != "link_not_granted" || *a.Index != 1 {
			t.Errorf("answer %v", a)
		}
		for _, m := range []struct {
			name   string
			labels []string
			want   float64
		}{
			{"keys", nil, 2},
			{"key_accepted_clicks_total", []string{"acme-1"}, 2},
			{"key_accepted_clicks_total", []string{"acme-2"}, 1},
			{"key_refused_requests_total", []string{"acme-2"}, 1},
			{"key_expires_timestamp_seconds", []string{"acme-1"}, -1},
			{"key_expires_timestamp_seconds", []string{"acme-2"}, float64(e2.NotAfter.Unix())},
			{"keys_reads_total", []string{"ok"}, 1},
			{"keys_file_broken", nil, 0},
		} {
			if got := w.metric(m.name, m.labels...); got != m.want {
				t.Errorf("%s %v is %v, want %v", m.name, m.labels, got, m.want)
			}
		}

		f.write(e2) // the old one goes
		time.Sleep(lookEvery)
		if a := w.mustPost(http.StatusUnauthorized, click, by1...); a.Code != "bad_key" || a.Rule != "key" {
			t.Errorf("answer %v", a)
		}
		w.mustPost(http.StatusAccepted, click, by2...)
		if got := w.metric("key_accepted_clicks_total", "acme-2"); got != 2 || w.metric("key_accepted_clicks_total", "acme-1") != -1 {
			t.Errorf("acme-2 has sent %v clicks", got)
		}
		time.Sleep(time.Hour) // and the new one ends by itself
		if a := w.mustPost(http.StatusUnauthorized, click, by2...); a.Rule != "expired" {
			t.Errorf("answer %v", a)
		}
		f.write() // nobody, on purpose
		time.Sleep(lookEvery)
		w.mustPost(http.StatusUnauthorized, click, by2...)
		if w.metric("keys") != 0 || w.logs.FilterMessageSnippet("there are no API keys").Len() != 1 {
			t.Error("that there are no keys is not told")
		}
		if n := len(w.records("clicks")); n != 4 {
			t.Errorf("%d records, want 4", n)
		}
	})
}

// A file that cannot be read changes nothing, and says so until it can.
func TestBrokenKeysKeepThoseOfBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newKeyFile(t)
		_, e, by := issue(t, "acme-1", "*")
		e.ClicksPerSecond, e.Burst = 1, 5
		f.write(e)
		w := ready(t, f.use)
		w.mustPost(http.StatusAccepted, `[{"link":"a"},{"link":"b"}]`, by...)
		for i, text := range []string{`{"keys":[`, `{"keys":[{"id":"acme-1"}]}`, ""} {
			f.put("keys.json", text)
			if i == 2 {
				if err := os.Remove(f.path); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(10 * lookEvery)
			w.mustPost(http.StatusAccepted, `{"link":"a"}`, by...)
			if got := w.logs.FilterMessageSnippet("not what their file says").Len(); got != i+1 || w.metric("keys_file_broken") != 1 {
				t.Errorf("it was told %d times, want %d; the metric is %v", got, i+1, w.metric("keys_file_broken"))
			}
		}
		if got := w.metric("keys_reads_total", "failed"); got < 25 {
			t.Errorf("%v attempts to read it", got)
		}
		if status, body := w.get("/readyz"); status != http.StatusOK {
			t.Errorf("not ready: %s", body)
		}
		f.write(e)
		time.Sleep(lookEvery)
		if w.metric("keys_file_broken") != 0 || w.metric("keys") != 1 {
			t.Error("it is still broken")
		}
		// The key is the same one: what it sent is not forgotten.
		w.mustPost(http.StatusAccepted, `[{"link":"a"},{"link":"a"},{"link":"a"},{"link":"a"},{"link":"a"}]`, by...)
		if a := w.mustPost(http.StatusTooManyRequests, `{"link":"a"}`, by...); a.retryAfter != "1" {
			t.Errorf("answer %v, Retry-After %s", a, a.retryAfter)
		}
	})
}

// The pace of a key is that of its file, over any time.
func TestPaceOfAKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newKeyFile(t)
		_, e, by := issue(t, "acme-1", "*")
		e.ClicksPerSecond, e.Burst = 2, 10
		f.write(e)
		w := ready(t, f.use)
		begun, accepted := time.Now(), 0
		for time.Since(begun) < time.Minute {
			a, err := w.post(`[{"link":"a"},{"link":"b"},{"link":"c"}]`, by...)
			switch {
			case err != nil:
				t.Fatal(err)
			case a.status == http.StatusAccepted:
				accepted += 3
			case a.status != http.StatusTooManyRequests || a.Code != "rate_limited" || a.retryAfter != "1" && a.retryAfter != "2":
				t.Fatalf("answer %v, Retry-After %s", a, a.retryAfter)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if accepted < 2*60 || accepted > 2*60+10 {
			t.Errorf("%d clicks in a minute, want 120 and a burst of 10", accepted)
		}
	})
}

// A mistake in the file at the start is an error, with all that is wrong, and New leaves nothing behind.
func TestBrokenKeysAtTheStart(t *testing.T) {
	t.Parallel()
	f := newKeyFile(t)
	f.put("keys.json", `{"keys":[{"id":"a","sha256":"x","grants":["*"]},{"id":"b","grants":["**"],"rate":5}]}`)
	cfg, err := LoadConfig([]string{"--kafka-brokers=127.0.0.1:1", "--admin-addr=", "--auth=keys", "--keys-file", f.path}, nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(cfg, Deps{Listener: l})
	if err == nil {
		t.Fatal("it starts")
	}
	for _, want := range []string{f.path, "keys[0] a: sha256", "keys[1] b: grants", `keys[1] b: "rate"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told in\n%v", want, err)
		}
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener is still there: %v", err)
	}
	f.write()
	for i := range 2 {
		registry := prometheus.NewRegistry()
		if i == 1 {
			registry.MustRegister(newKeyMetrics(&keys{}))
		}
		s, err := New(cfg, Deps{Registry: registry})
		if (err != nil) != (i == 1) {
			t.Errorf("New = %v", err)
		}
		if s != nil {
			s.close()
		}
	}
}

// raw sends bytes over a connection of its own and returns the status line and all that follows, until the server closes
// the connection or a second has passed.
func (w *world) raw(text string) (status, rest string, took time.Duration) {
	w.t.Helper()
	c, err := w.network.DialContext(w.t.Context(), "tcp", serviceAddr)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	begun := time.Now()
	go func() { _, _ = io.WriteString(c, text) }() // the server may close it meanwhile
	if err := c.SetReadDeadline(begun.Add(time.Second)); err != nil {
		w.t.Fatal(err)
	}
	r := bufio.NewReader(c)
	status, err = r.ReadString('\n')
	took = time.Since(begun)
	if err != nil {
		w.t.Errorf("no answer to %.60q: %v", text, err)
	}
	all, _ := io.ReadAll(r) // it ends by the deadline or the close
	return strings.TrimSpace(status), string(all), took
}

// What strangers put onto the wire is answered, at once and without being read.
func TestStrangersOnTheWire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newKeyFile(t)
		k, e, _ := issue(t, "acme-1", "acme:*")
		k2, e2, _ := issue(t, "bird-1", "bird:*")
		f.write(e, e2)
		w := ready(t, f.use)
		const post, click = "POST /v1/clicks HTTP/1.1\r\nHost: ingest\r\n", "Content-Length: 17\r\n\r\n{\"link\":\"acme:x\"}"
		bearer := "Authorization: Bearer " + k.Reveal() + "\r\n"
		for name, tc := range map[string]struct{ text, status, rest string }{
			"good":                   {post + bearer + click, "202 Accepted", `"accepted":1`},
			"name in another case":   {post + strings.ToUpper(bearer[:13]) + bearer[13:] + click, "202 Accepted", ""},
			"nothing":                {post + click, "401 Unauthorized", "unauthenticated"},
			"one in a query":         {strings.Replace(post, "clicks", "clicks?key="+k.Reveal(), 1) + click, "401 Unauthorized", "unauthenticated"},
			"one in the address":     {strings.Replace(post, "/v1", "http://"+k.Reveal()+"@ingest/v1", 1) + click, "401 Unauthorized", "unauthenticated"},
			"two, in two cases":      {post + bearer + "AUTHORIZATION: Bearer " + k2.Reveal() + "\r\n" + click, "401 Unauthorized", "malformed"},
			"two of one":             {post + bearer + bearer + click, "401 Unauthorized", "malformed"},
			"space before the colon": {post + "Authorization : Bearer " + k.Reveal() + "\r\n" + click, "400 Bad Request", ""},
			"zero byte":              {post + "Authorization: Bearer " + k.Reveal() + "\x00\r\n" + click, "400 Bad Request", ""},
			"ANSI":                   {post + "Authorization: Bearer \x1b[31m" + k.Reveal() + "\r\n" + click, "400 Bad Request", ""},
			"bare line break":        {post + "Authorization: Bearer lpk_a\n" + click, "401 Unauthorized", "malformed"},
			"oversized":              {post + "Authorization: Bearer " + strings.Repeat("lpk_", 8<<10) + "\r\n" + click, "431 Request Header Fields Too Large", ""},
			"oversized signature":    {post + "Linkpulse-Signature: " + strings.Repeat("t=1,", 8<<10) + "\r\n" + click, "431 Request Header Fields Too Large", ""},
			"body that never comes":  {post + "Content-Length: 1000000\r\n\r\n", "401 Unauthorized", "Connection: close"},
			"chunks that never come": {post + "Transfer-Encoding: chunked\r\n\r\n", "401 Unauthorized", "Connection: close"},
			"asked before":           {post + "Expect: 100-continue\r\nContent-Length: 17\r\n\r\n", "401 Unauthorized", "unauthenticated"},
			"one from the trailer":   {post + "Trailer: Authorization\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + bearer + "\r\n", "401 Unauthorized", "unauthenticated"},
		} {
			status, rest, took := w.raw(tc.text)
			if !strings.HasPrefix(status, "HTTP/1.1 "+tc.status) || !strings.Contains(rest, tc.rest) || took > 0 {
				t.Errorf("%s: %s after %v, want %s and %q in\n%s", name, status, took, tc.status, tc.rest, rest)
			}
			if strings.Contains(rest, "100 Continue") || strings.Contains(rest, k.Reveal()[20:40]) || strings.Contains(rest, "\x1b") {
				t.Errorf("%s: %s", name, rest)
			}
		}
		if n := len(w.records("clicks")); n != 2 {
			t.Errorf("%d records, want 2", n)
		}
	})
}

// Whatever happens, no secret gets into a line of the log or a metric, and nothing of a stranger's does.
func TestNoSecretInLogs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newKeyFile(t)
		k, e, by := issue(t, "acme-1", "acme:*")
		signing := apikey.NewSecret()
		f.put("acme.secret", signing.Reveal()+"\n")
		e.HMACSecretFile = "acme.secret"
		f.write(e)
		w := ready(t, f.use)
		secret := strings.TrimPrefix(k.Reveal(), "lpk_acme-1_")
		const click = `{"link":"acme:x"}`
		w.mustPost(http.StatusAccepted, click, by...)
		w.mustPost(http.StatusAccepted, click, apikey.SignatureHeader, signing.Sign("acme-1", []byte(click), time.Now()))
		w.mustPost(http.StatusUnauthorized, click, apikey.SignatureHeader, signing.Sign("acme-1", []byte(click), time.Now().Add(-time.Hour)))
		w.mustPost(http.StatusForbidden, `{"link":"bird:x"}`, by...)
		for _, value := range []string{
			"Bearer lpk_stranger_" + secret, "Bearer " + k.Reveal() + "x", "Basic " + secret, "Bearer lpk_acme-1_" + strings.Repeat("A", 52),
		} {
			w.mustPost(http.StatusUnauthorized, click, "Authorization", value)
		}
		w.raw("POST /v1/clicks HTTP/1.1\r\nHost: stranger\r\nAuthorization: Bearer \x1b[31mstranger" + secret + "\r\n\r\n")
		w.raw("POST /v1/clicks HTTP/1.1\r\nHost: stranger\r\nAuthorization: Bearer " + k.Reveal() + "\r\nContent-Length: x" + secret + "\r\n\r\n")
		for _, text := range []string{
			`{"keys":[{"id":"` + k.Reveal() + `","sha256":"` + secret + `","grants":["` + secret + `"],"hmac_secret_file":"` + signing.Reveal() + `"}]}`,
			`{"keys":[{"id":"a","grants":["*"],"hmac_secret_file":"` + signing.Reveal() + `"}]}`,
			`{"` + signing.Reveal() + `":["` + secret + `"]}`, secret, signing.Reveal(), "\x1b[31m" + secret,
		} {
			f.put("keys.json", text)
			time.Sleep(lookEvery)
		}
		f.put("acme.secret", "too-short-"+secret[:10])
		f.write(e)
		time.Sleep(lookEvery)
		if broken := w.logs.FilterMessageSnippet("not what their file says").Len(); broken < 5 {
			t.Errorf("only %d of the files were told to be broken", broken)
		}

		var said strings.Builder
		encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
		for _, entry := range w.logs.All() {
			line, err := encoder.EncodeEntry(entry.Entry, entry.Context)
			if err != nil || strings.Count(line.String(), "\n") != 1 {
				t.Errorf("line %q: %v", line, err)
			}
			said.WriteString(line.String())
		}
		families, err := w.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(&said, families)
		for _, what := range []string{
			secret[:10], secret[20:30], secret[42:], signing.Reveal()[:12], signing.Reveal()[30:40], e.SHA256, "stranger", "\x1b", "[31m", "bird:x", "too-short",
		} {
			if strings.Contains(said.String(), what) {
				t.Errorf("%q is in\n%s", what, said.String())
			}
		}
		if !strings.Contains(said.String(), "acme-1") {
			t.Error("the id of the key is not told, which is no secret")
		}
	})
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:8080": true, "127.9.9.9:1": true, "[::1]:8080": true, "[::ffff:127.0.0.1]:80": true,
		"0.0.0.0:8080": false, "[::]:8080": false, "10.0.0.1:8080": false, "somewhere": false,
	} {
		if got := loopback(named(addr)); got != want {
			t.Errorf("%s: %v", addr, got)
		}
	}
}

// named is an address of a name.
type named string

func (n named) Network() string { return "tcp" }
func (n named) String() string  { return string(n) }
