package keyring

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
)

// issue makes a key and its entry.
func issue(tb testing.TB, id string, grants ...string) (apikey.Key, Entry) {
	tb.Helper()
	k, err := apikey.New(id)
	if err != nil {
		tb.Fatal(err)
	}
	return k, Entry{ID: id, SHA256: Hashed(k), Grants: grants}
}

// write writes a file of keys.
func write(tb testing.TB, path string, entries ...Entry) {
	tb.Helper()
	text, err := Encode(entries)
	if err != nil {
		tb.Fatal(err)
	}
	writeText(tb, path, string(text))
}

// writeText puts a text into the place of a file, as editors and Kubernetes do.
func writeText(tb testing.TB, path, text string) {
	tb.Helper()
	err := os.WriteFile(path+".new", []byte(text), 0o600)
	if err = errors.Join(err, os.Rename(path+".new", path)); err != nil {
		tb.Fatal(err)
	}
}

func load(tb testing.TB, path string, before *Ring) *Ring {
	tb.Helper()
	r, err := Load(path, before)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func ringOf(tb testing.TB, entries ...Entry) *Ring {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "keys.json")
	write(tb, path, entries...)
	return load(tb, path, nil)
}

func bearer(key string) http.Header { return http.Header{"Authorization": {"Bearer " + key}} }

// find is Find, and the reason of its refusal; empty: there is none.
func find(r *Ring, header http.Header, now time.Time) (*Key, apikey.Presented, apikey.Reason) {
	var p apikey.Presented
	k, err := r.Find(header, &p, now)
	return k, p, reason(err)
}

func reason(err error) apikey.Reason {
	if refused, ok := errors.AsType[*apikey.RefusedError](err); ok {
		return refused.Reason
	}
	if err != nil {
		return apikey.Reason(err.Error())
	}
	return ""
}

func TestFind(t *testing.T) {
	t.Parallel()
	now := time.Now()
	acme1, e1 := issue(t, "acme-1", "acme:*")
	acme2, e2 := issue(t, "acme-2", "acme:*") // of the same tenant: the next one
	bird, e3 := issue(t, "bird", "bird:*", "x7Kp2")
	old, e4 := issue(t, "old", "*")
	e4.NotAfter = now.Add(-time.Second)
	last, e5 := issue(t, "last", "*")
	e5.NotAfter = now
	r := ringOf(t, e1, e2, e3, e4, e5)

	for _, k := range []apikey.Key{acme1, acme2, bird, last} {
		got, _, why := find(r, bearer(k.Reveal()), now)
		if why != "" || got.ID() != k.ID() {
			t.Fatalf("%v: %v", k, why)
		}
	}
	if k, _, why := find(r, bearer(old.Reveal()), now); why != apikey.ReasonExpired || k != nil {
		t.Errorf("one that has expired: %s", why)
	}
	if _, _, why := find(r, bearer(last.Reveal()), now.Add(time.Nanosecond)); why != apikey.ReasonExpired {
		t.Errorf("one that has just expired: %s", why)
	}
	secret := func(k apikey.Key) string { return k.Reveal()[len("lpk_")+len(k.ID())+1:] }
	forged, _ := issue(t, "acme-1")
	for name, key := range map[string]string{
		"another secret":                forged.Reveal(),
		"the secret of another key":     "lpk_acme-1_" + secret(acme2),
		"the id of another key":         "lpk_bird_" + secret(acme1),
		"no such key":                   "lpk_nobody_" + secret(acme1),
		"the beginning of an id":        "lpk_acme_" + secret(acme1),
		"a longer id":                   "lpk_acme-1-_" + secret(acme1),
		"an expired one's, not its own": "lpk_old_" + secret(acme1),
		"the hash for the secret":       "lpk_acme-1_" + strings.ToUpper(e1.SHA256)[:52],
	} {
		k, _, why := find(r, bearer(key), now)
		if k != nil || why != apikey.ReasonKey && why != apikey.ReasonMalformed {
			t.Errorf("%s: %v, %q", name, k, why)
		}
	}
	if _, refused := r.Key("acme-1").Counted(); refused != 2 {
		t.Errorf("acme-1 has counted %d refusals, want 2", refused)
	}
	if k, _, why := find(r, http.Header{}, now); k != nil || why != apikey.ReasonMissing {
		t.Errorf("nothing: %v, %s", k, why)
	}
}

// What a key may do is what its grants say, whatever tricks with beginnings are tried.
func TestAllows(t *testing.T) {
	t.Parallel()
	_, e1 := issue(t, "acme-1", "acme:*", "x7Kp2")
	_, e2 := issue(t, "acme", "acme")
	r := ringOf(t, e1, e2)
	for _, link := range []string{"acme:", "acme:x", "acme:x:y", "x7Kp2"} {
		if !r.Key("acme-1").Allows([]byte(link)) {
			t.Errorf("%s is not covered", link)
		}
	}
	for _, link := range []string{"acme", "acme2:x", "acme-1", "acm", "ACME:x", "x:acme:x", "x7Kp", "x7Kp22", "acme:*"[:4] + "\x00:x", "", "*"} {
		if r.Key("acme-1").Allows([]byte(link)) {
			t.Errorf("%q is covered", link)
		}
	}
	if k := r.Key("acme"); !k.Allows([]byte("acme")) || k.Allows([]byte("acme:")) || k.Allows([]byte("acme:x")) {
		t.Error("an exact grant is not exact")
	}
	if k := Anybody(); !k.Allows([]byte("acme:x")) || k.Wait(1<<30, time.Now()) != 0 || k.Take(1<<30, time.Now()) != 0 || k.Most() != 0 {
		t.Error("somebody is not anybody")
	}
}

func TestSignatures(t *testing.T) {
	t.Parallel()
	dir, now, body := t.TempDir(), time.Now(), []byte(`{"link":"acme:x"}`)
	path := filepath.Join(dir, "keys.json")
	secret, other := apikey.NewSecret(), apikey.NewSecret()
	writeText(t, filepath.Join(dir, "acme.secret"), secret.Reveal()+"\r\n")
	writeText(t, filepath.Join(dir, "bird.secret"), other.Reveal())
	key, both := issue(t, "both", "*")
	both.HMACSecretFile = "acme.secret"
	sent, unsigned := issue(t, "unsigned", "*")
	over := now.Add(-time.Hour)
	write(t, path, both, unsigned,
		Entry{ID: "signed", Grants: []string{"acme:*"}, HMACSecretFile: filepath.Join(dir, "bird.secret")},
		Entry{ID: "old", Grants: []string{"*"}, HMACSecretFile: "acme.secret", NotAfter: over})
	r := load(t, path, nil)

	try := func(s *apikey.Secret, id string, at time.Time, sentBody []byte) apikey.Reason {
		k, p, why := find(r, http.Header{apikey.SignatureHeader: {s.Sign(id, body, at)}}, now)
		if why != "" {
			return why
		}
		return reason(k.Verify(&p, sentBody))
	}
	for name, tc := range map[string]struct {
		secret *apikey.Secret
		id     string
		at     time.Time
		body   string
		want   apikey.Reason
	}{
		"good":                       {secret, "both", now, string(body), ""},
		"good for a signing key":     {other, "signed", now, string(body), ""},
		"a little old":               {secret, "both", now.Add(-4 * time.Minute), string(body), ""},
		"a little early":             {secret, "both", now.Add(4 * time.Minute), string(body), ""},
		"old":                        {secret, "both", now.Add(-6 * time.Minute), string(body), apikey.ReasonTime},
		"early":                      {secret, "both", now.Add(6 * time.Minute), string(body), apikey.ReasonTime},
		"another body":               {secret, "both", now, `{"link":"acme:y"}`, apikey.ReasonSignature},
		"no body":                    {secret, "both", now, "", apikey.ReasonSignature},
		"another secret":             {other, "both", now, string(body), apikey.ReasonSignature},
		"for another key":            {secret, "signed", now, string(body), apikey.ReasonSignature},
		"no such key":                {secret, "nobody", now, string(body), apikey.ReasonKey},
		"a key that cannot sign":     {secret, "unsigned", now, string(body), apikey.ReasonKey},
		"a key that has expired":     {secret, "old", now, string(body), apikey.ReasonExpired},
		"an old one of another body": {secret, "both", now.Add(-6 * time.Minute), "", apikey.ReasonTime},
	} {
		if got := try(tc.secret, tc.id, tc.at, []byte(tc.body)); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	// A key may be sent where it has a hash, whatever it signs with, and not where it has none.
	if _, _, why := find(r, bearer(key.Reveal()), now); why != "" {
		t.Errorf("both: %s", why)
	}
	for _, id := range []string{"signed", "old"} {
		if _, _, why := find(r, bearer("lpk_"+id+"_"+strings.Repeat("A", 52)), now); why != apikey.ReasonKey {
			t.Errorf("%s: %s", id, why)
		}
	}
	k, p, why := find(r, bearer(sent.Reveal()), now)
	if why != "" || k.Verify(&p, body) != nil {
		t.Errorf("unsigned: %s", why)
	}
}

// The hash of nothing is not one that a key without a secret could be sent by.
func TestZeroHash(t *testing.T) {
	t.Parallel()
	r := ringOf(t)
	k := Key{account: newAccount()}
	r.keys["zero"] = &k
	if _, _, why := find(r, bearer("lpk_zero_"+strings.Repeat("A", 52)), time.Now()); why != apikey.ReasonKey {
		t.Errorf("%q", why)
	}
}

func TestRing(t *testing.T) {
	t.Parallel()
	_, e1 := issue(t, "b", "*")
	_, e2 := issue(t, "a", "x", "y:*")
	e2.NotAfter = time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
	r := ringOf(t, e1, e2)
	var ids []string
	for k := range r.All() {
		ids = append(ids, k.ID())
	}
	for range r.All() {
		break
	}
	if a := r.Key("a"); r.Len() != 2 || strings.Join(ids, " ") != "b a" || r.Key("c") != nil || !a.NotAfter().Equal(e2.NotAfter) ||
		strings.Join(a.Grants().Patterns(), " ") != "y:* x" {
		t.Errorf("%d keys: %q", r.Len(), ids)
	}
	if r := ringOf(t); r.Len() != 0 {
		t.Error("an empty list is not empty")
	}
}

func TestLoadAndChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path, secretPath := filepath.Join(dir, "keys.json"), filepath.Join(dir, "a.secret")
		writeText(t, secretPath, apikey.NewSecret().Reveal())
		_, e := issue(t, "a", "*")
		e.ClicksPerSecond, e.Burst, e.HMACSecretFile = 1, 10, "a.secret"
		_, b := issue(t, "b", "*")
		write(t, path, e, b)
		r := load(t, path, nil)
		if r.Changed() {
			t.Fatal("changed by being read")
		}
		now := time.Now()
		if r.Key("a").Take(10, now) != 0 || r.Key("a").Wait(1, now) != time.Second {
			t.Fatal("the limit does not limit")
		}
		r.Key("a").Count(10)
		r.Key("b").CountRefused()

		write(t, path, e) // b is gone
		if !r.Changed() {
			t.Fatal("a new file is not seen")
		}
		next := load(t, path, r)
		if clicks, _ := next.Key("a").Counted(); clicks != 10 || next.Key("a").Wait(1, now) != time.Second || next.Key("b") != nil {
			t.Fatal("what was sent is forgotten")
		}
		writeText(t, secretPath, apikey.NewSecret().Reveal())
		if !next.Changed() {
			t.Fatal("a new secret is not seen")
		}
		next = load(t, path, next)
		if err := os.Remove(secretPath); err != nil || !next.Changed() {
			t.Fatalf("a secret that is gone is not seen: %v", err)
		}
		write(t, path, e, b)
		writeText(t, secretPath, apikey.NewSecret().Reveal())
		again := load(t, path, next)
		if _, refused := again.Key("b").Counted(); refused != 0 {
			t.Error("a key that comes again is another one")
		}
	})
}

// A file behind a link that is moved to another directory, which is how Kubernetes updates a mounted secret.
func TestChangedBehindALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, e := issue(t, "a", "*")
	for _, version := range []string{"..1", "..2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "keys.json"), e)
	}
	stat, err := os.Stat(filepath.Join(dir, "..1", "keys.json"))
	if err == nil {
		err = os.Chtimes(filepath.Join(dir, "..2", "keys.json"), stat.ModTime(), stat.ModTime()) // the same size and time
	}
	point := func(to string) {
		err = errors.Join(err, os.Symlink(to, filepath.Join(dir, "..tmp")), os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	point("..1")
	err = errors.Join(err, os.Symlink(filepath.Join("..data", "keys.json"), filepath.Join(dir, "keys.json")))
	if err != nil {
		t.Fatal(err)
	}
	r := load(t, filepath.Join(dir, "keys.json"), nil)
	if r.Changed() {
		t.Fatal("changed by being read")
	}
	if point("..2"); err != nil || !r.Changed() {
		t.Fatalf("a link that was moved is not seen: %v", err)
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const secret = "lps_not-a-path-but-the-secret-itself-which-is-no-good"
	_, e := issue(t, "acme-1", "*")
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		writeText(t, path, text)
		return path
	}
	withSecret := func(path string) string {
		bad := e
		bad.HMACSecretFile = path
		other := bad
		other.ID, other.SHA256 = "bird", ""
		text, err := Encode([]Entry{bad, other})
		if err != nil {
			t.Fatal(err)
		}
		return file(fmt.Sprintf("with-%d.json", len(path)), string(text))
	}
	for name, tc := range map[string]struct{ path, want string }{
		"no file":             {filepath.Join(dir, "none"), "no such file"},
		"a directory":         {dir, "it is no file"},
		"too large":           {file("large", strings.Repeat(" ", MaxFile+1)), "more than 1048576 bytes"},
		"empty":               {file("empty", ""), "not JSON"},
		"a secret in a path":  {withSecret(secret), "keys[0] acme-1: hmac_secret_file: no such file"},
		"of another key too":  {withSecret(secret + "x"), "keys[1] bird: hmac_secret_file: no such file"},
		"a short secret":      {withSecret(file("short", "hunter2-hunter2")), "hmac_secret_file: a signing secret is 32 to 256"},
		"a secret of 2 lines": {withSecret(file("lines", strings.Repeat("s", 40)+"\n"+secret)), "hmac_secret_file: a signing secret is"},
		"a large secret":      {withSecret(file("large-secret", strings.Repeat("s", 2000))), "hmac_secret_file: it has more than 1024 bytes"},
	} {
		_, err := Load(tc.path, nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.path) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		} else if strings.Contains(err.Error(), "secret-itself") || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ssss") {
			t.Errorf("%s: a secret is in %v", name, err)
		}
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	// Not parallel: AllocsPerRun counts what the whole process allocates.
	k, e := issue(t, "acme-1", "acme:*")
	e.ClicksPerSecond = 1e6
	r := ringOf(t, e)
	good, wrong, link := bearer(k.Reveal()), bearer("lpk_nobody_"+strings.Repeat("A", 52)), []byte("acme:"+strings.Repeat("x", 100))
	var p apikey.Presented
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() {
		k, err := r.Find(good, &p, now)
		if err != nil || k.Wait(1, now) > 0 || k.Verify(&p, nil) != nil || !k.Allows(link) || k.Take(1, now) > 0 {
			t.Error("refused")
		}
		if _, err := r.Find(wrong, &p, now); err == nil {
			t.Error("accepted")
		}
		if _, err := r.Find(http.Header{}, &p, now); err == nil {
			t.Error("accepted")
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFind(b *testing.B) {
	var entries []Entry
	var key apikey.Key
	for i := range MaxKeys {
		k, e := issue(b, fmt.Sprintf("key-%d", i), "acme:*")
		e.ClicksPerSecond = MaxRate
		key, entries = k, append(entries, e)
	}
	r := ringOf(b, entries...)
	link := []byte("acme:x7Kp2")
	for name, header := range map[string]http.Header{
		"good": bearer(key.Reveal()), "another-secret": bearer("lpk_key-1_" + strings.Repeat("A", 52)),
		"no-such-key": bearer("lpk_nobody_" + strings.Repeat("A", 52)), "nothing": {},
	} {
		b.Run(name, func(b *testing.B) {
			var p apikey.Presented
			b.ReportAllocs()
			for b.Loop() {
				now := time.Now()
				k, err := r.Find(header, &p, now)
				if (err == nil) != (name == "good") {
					b.Fatal(err)
				}
				if err == nil && (k.Verify(&p, nil) != nil || !k.Allows(link) || k.Take(1, now) > time.Hour) {
					b.Fatal("not allowed")
				}
			}
		})
	}
}
