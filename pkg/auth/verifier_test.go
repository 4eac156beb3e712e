package auth_test

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/config"
)

// algorithms are what a key may be for: how its JWK names it, and how it signs.
type algorithm struct {
	name   string
	method jwt.SigningMethod
	key    crypto.Signer
	inPEM  bool // it is what the key is for where it does not say
}

func algorithms() []algorithm {
	k := keys()
	return []algorithm{
		{"EdDSA", jwt.SigningMethodEdDSA, k.ed, true},
		{"Ed25519", jwt.SigningMethodEdDSA, k.ed, false},
		{"ES256", jwt.SigningMethodES256, k.p256, true},
		{"ES384", jwt.SigningMethodES384, k.p384, true},
		{"ES512", jwt.SigningMethodES512, k.p521, true},
		{"RS256", jwt.SigningMethodRS256, k.rsa, true},
		{"RS384", jwt.SigningMethodRS384, k.rsa, false},
		{"RS512", jwt.SigningMethodRS512, k.rsa, false},
		{"PS256", jwt.SigningMethodPS256, k.rsa, false},
		{"PS384", jwt.SigningMethodPS384, k.rsa, false},
		{"PS512", jwt.SigningMethodPS512, k.rsa, false},
	}
}

// Every algorithm works with its key, from a file and from a JWKS, and with no other key.
func TestEveryAlgorithm(t *testing.T) {
	t.Parallel()
	all := algorithms()
	dir, set := t.TempDir(), []m{}
	for _, a := range all {
		if a.inPEM {
			keyFile(t, dir, a.name, a.key)
		}
		set = append(set, jwkOf(a.name, a.key).with(m{"alg": a.name}))
	}
	cfg := ofExample()
	cfg.KeyFiles = []string{dir}
	fromFiles := newVerifier(t, cfg)
	cfg = ofExample()
	cfg.JWKSURL = "https://id.example/jwks"
	fromJWKS := newVerifier(t, cfg, auth.WithClient(&http.Client{Transport: &issuer{doc: jwks(set...)}}))
	if err := fromJWKS.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range all {
		for _, by := range all {
			token := craft(m{"alg": by.name, "kid": key.name}.json(), good().json(), by.method, by.key)
			want := auth.ReasonAlgorithm
			if key.name == by.name {
				want = ""
			}
			wantRefused(t, fromJWKS, token, want)
			if key.inPEM {
				wantRefused(t, fromFiles, token, want)
			}
		}
	}
}

func TestRSAAlgorithmOfKeysThatDoNotSay(t *testing.T) {
	t.Parallel()
	cfg := ofExample()
	cfg.KeyFiles, cfg.RSAAlgorithm = []string{keyFile(t, t.TempDir(), "rsa", keys().rsa)}, "PS384"
	v := newVerifier(t, cfg)
	wantAccepted(t, v, craft(`{"alg":"PS384"}`, good().json(), jwt.SigningMethodPS384, keys().rsa))
	wantRefused(t, v, craft(`{"alg":"RS256"}`, good().json(), jwt.SigningMethodRS256, keys().rsa), auth.ReasonAlgorithm)
}

func secretToken(secret, kid string) string {
	header := m{"alg": "HS256"}
	if kid != "" {
		header["kid"] = kid
	}
	return craft(header.json(), good().json(), jwt.SigningMethodHS256, []byte(secret))
}

// A lone key may be used without its name, by its name, and by no other.
func TestSharedSecret(t *testing.T) {
	t.Parallel()
	cfg, secret := ofExample(), string(keys().secret)
	dir := t.TempDir()
	cfg.SecretFile = writeFile(t, filepath.Join(dir, "shared.secret"), []byte(secret+"\r\n"))
	v := newVerifier(t, cfg)
	if err := v.Ready(); err != nil {
		t.Error(err)
	}
	wantAccepted(t, v, secretToken(secret, ""))
	wantAccepted(t, v, secretToken(secret, "shared"))
	wantRefused(t, v, secretToken(secret, "other"), auth.ReasonKey)
	wantRefused(t, v, secretToken(secret+"x", ""), auth.ReasonSignature)
	wantRefused(t, v, secretToken("", "shared"), auth.ReasonSignature)
	// With a second key the name must be said.
	cfg.KeyFiles = []string{keyFile(t, dir, "k1", keys().ed)}
	v = newVerifier(t, cfg)
	wantAccepted(t, v, secretToken(secret, "shared"))
	wantAccepted(t, v, edToken(good().json()))
	wantRefused(t, v, secretToken(secret, ""), auth.ReasonKey)
	wantRefused(t, v, secretToken(secret, "k1"), auth.ReasonAlgorithm)
}

// Time passes: what was good expires, a moment later than it says.
func TestTokensExpire(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keyFile(t, dir, "k1", keys().ed)
	synctest.Test(t, func(t *testing.T) {
		cfg := ofExample()
		cfg.KeyFiles = []string{dir}
		v := newVerifier(t, cfg)
		now := time.Now().Unix()
		token := edToken(good().with(m{"nbf": now + 60}).json())
		wantRefused(t, v, token, auth.ReasonNotYet)
		time.Sleep(30 * time.Second)
		id := wantAccepted(t, v, token)
		time.Sleep(time.Until(id.Ends()) - time.Nanosecond)
		wantAccepted(t, v, token)
		time.Sleep(time.Nanosecond)
		wantRefused(t, v, token, auth.ReasonExpired)
	})
}

func TestKeyFilesThatAreNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		return writeFile(t, path, []byte(content))
	}
	ed := string(publicPEM(t, keys().ed.Public()))
	for name, tc := range map[string]struct {
		files  []string
		secret string
		want   string
	}{
		"nothing there":      {[]string{dir + "/none.pem"}, "", "no such file"},
		"no PEM":             {[]string{file("a/k.pem", "x")}, "", "no PEM"},
		"two keys":           {[]string{file("b/k.pem", ed+ed)}, "", "more than one key"},
		"a certificate":      {[]string{file("c/k.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")}, "", "want a PUBLIC KEY"},
		"broken":             {[]string{file("d/k.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")}, "", "k.pem: "},
		"huge":               {[]string{file("e/k.pem", strings.Repeat("x", 65<<10))}, "", "more than 65536 bytes"},
		"the same id twice":  {[]string{file("f/k.pem", ed), file("g/k.pem", ed)}, "", `two keys have the id "k"`},
		"a key and a secret": {[]string{file("f/k.pem", ed)}, file("f/k.txt", string(keys().secret)), `two keys have the id "k"`},
		"an empty directory": {[]string{filepath.Dir(file("h/.hidden.pem", ed))}, "", "no key in it"},
		"a short secret":     {nil, file("i/s", strings.Repeat("x", 31)+"\n"), "at least 32"},
		"all that is wrong":  {[]string{file("a/k.pem", "x"), file("b/l.pem", ed+ed)}, dir + "/none", "no PEM in it\nkey file " + dir + "/b/l.pem: more than one"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := ofExample()
			cfg.KeyFiles, cfg.SecretFile = tc.files, tc.secret
			if _, err := auth.New(cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// Keys are put beside others and taken away while tokens are verified, and what is half done changes nothing.
func TestKeyFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keyFile(t, dir, "k1", keys().ed)
	secretFile := writeFile(t, filepath.Join(dir, "shared"), keys().secret)
	second := func() string {
		return craft(`{"alg":"ES256","kid":"k2"}`, good().json(), jwt.SigningMethodES256, keys().p256)
	}
	synctest.Test(t, func(t *testing.T) {
		cfg := ofExample()
		cfg.KeyFiles, cfg.SecretFile = []string{dir}, secretFile
		v := newVerifier(t, cfg)
		defer running(t, v)()
		first := edToken(good().json())
		wantAccepted(t, v, first)
		wantRefused(t, v, second(), auth.ReasonKey)

		keyFile(t, dir, "k2", keys().p256)
		time.Sleep(6 * time.Second)
		wantAccepted(t, v, first)
		wantAccepted(t, v, second())

		content, err := os.ReadFile(filepath.Join(dir, "k2.pem"))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, "k2.pem"), content[:40])
		if err := os.Remove(filepath.Join(dir, "k1.pem")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		wantAccepted(t, v, first)
		wantAccepted(t, v, second())
		if err := v.Ready(); err != nil {
			t.Errorf("a file that is half written is no reason to be unready: %v", err)
		}

		writeFile(t, filepath.Join(dir, "k2.pem"), content)
		time.Sleep(6 * time.Second)
		wantRefused(t, v, first, auth.ReasonKey)
		wantAccepted(t, v, second())

		wantAccepted(t, v, secretToken(string(keys().secret), "shared"))
		writeFile(t, secretFile, []byte("another secret, which is long enough"))
		time.Sleep(6 * time.Second)
		wantRefused(t, v, secretToken(string(keys().secret), "shared"), auth.ReasonSignature)
		wantAccepted(t, v, secretToken("another secret, which is long enough", "shared"))
	})
}

// An operator is told of a file that is broken once, and of what it was read as never.
func TestTroubleIsToldOnce(t *testing.T) {
	t.Parallel()
	path := writeFile(t, filepath.Join(t.TempDir(), "shared"), keys().secret)
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		cfg := ofExample()
		cfg.SecretFile = path
		v := newVerifier(t, cfg, auth.WithLogger(zap.New(core)))
		defer running(t, v)()
		for _, content := range []string{"broken", "broken", "another secret, which is long enough", "broken"} {
			writeFile(t, path, []byte(content))
			time.Sleep(time.Minute + time.Second) // never when it is read
		}
		var told []string
		for _, e := range logs.All() {
			told = append(told, e.Message)
			if s := fmt.Sprint(e.Message, e.Context); strings.Contains(s, "broken") || strings.Contains(s, "secret,") {
				t.Errorf("%s", s)
			}
		}
		want := []string{
			"key files cannot be read: the keys of before are kept", "the keys that tokens are signed with have changed",
			"key files cannot be read: the keys of before are kept",
		}
		if !slices.Equal(told, want) {
			t.Errorf("%q", told)
		}
	})
}

func TestMetricsAreThereBeforeTheyAreNeeded(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	cfg := ofExample()
	cfg.KeyFiles = []string{keyFile(t, t.TempDir(), "k1", keys().ed)}
	v := newVerifier(t, cfg, auth.WithMetrics(registry))
	wantAccepted(t, v, edToken(good().json()))
	wantRefused(t, v, "x", auth.ReasonMalformed)
	wantRefused(t, v, edToken("x"), auth.ReasonMalformed)
	const want = `
# HELP linkpulse_auth_tokens_total Tokens that were looked at, by what came of it: accepted, or why not.
# TYPE linkpulse_auth_tokens_total counter
linkpulse_auth_tokens_total{result="accepted"} 1
linkpulse_auth_tokens_total{result="algorithm"} 0
linkpulse_auth_tokens_total{result="audience"} 0
linkpulse_auth_tokens_total{result="busy"} 0
linkpulse_auth_tokens_total{result="claims"} 0
linkpulse_auth_tokens_total{result="expired"} 0
linkpulse_auth_tokens_total{result="grants"} 0
linkpulse_auth_tokens_total{result="issuer"} 0
linkpulse_auth_tokens_total{result="key"} 0
linkpulse_auth_tokens_total{result="keys_away"} 0
linkpulse_auth_tokens_total{result="lifetime"} 0
linkpulse_auth_tokens_total{result="malformed"} 2
linkpulse_auth_tokens_total{result="missing"} 0
linkpulse_auth_tokens_total{result="not_yet"} 0
linkpulse_auth_tokens_total{result="signature"} 0
# HELP linkpulse_auth_keys Keys that tokens may be signed with.
# TYPE linkpulse_auth_keys gauge
linkpulse_auth_keys 1
# HELP linkpulse_auth_key_reads_total Attempts to read the keys, by where they are and how it ended.
# TYPE linkpulse_auth_key_reads_total counter
linkpulse_auth_key_reads_total{result="error",source="files"} 0
linkpulse_auth_key_reads_total{result="ok",source="files"} 1
# HELP linkpulse_auth_verifications_waiting Tokens that wait for their signature to be verified.
# TYPE linkpulse_auth_verifications_waiting gauge
linkpulse_auth_verifications_waiting 0
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "linkpulse_auth_tokens_total", "linkpulse_auth_keys",
		"linkpulse_auth_key_reads_total", "linkpulse_auth_verifications_waiting"); err != nil {
		t.Error(err)
	}
	if _, err := auth.New(cfg, auth.WithMetrics(registry)); err == nil {
		t.Error("metrics were registered twice")
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	file := func(change func(*auth.Config)) auth.Config {
		cfg := ofExample()
		cfg.KeyFiles = []string{"k.pem"}
		change(&cfg)
		return cfg
	}
	url := func(u string) auth.Config {
		return file(func(c *auth.Config) { c.JWKSURL = u })
	}
	for name, tc := range map[string]struct {
		cfg  auth.Config
		want []string // empty: nothing is wrong
	}{
		"a key file":             {file(func(*auth.Config) {}), nil},
		"no issuer with files":   {file(func(c *auth.Config) { c.Issuer = "" }), nil},
		"https":                  {url("https://id.example/jwks"), nil},
		"http on this machine":   {url("http://127.0.0.1:8080/jwks"), nil},
		"http on ::1":            {url("http://[::1]/jwks"), nil},
		"http on localhost":      {url("http://localhost/jwks"), nil},
		"http":                   {url("http://id.example/jwks"), []string{"is not https"}},
		"http as if loopback":    {url("http://127.0.0.1.example/jwks"), []string{"is not https"}},
		"http on a private net":  {url("http://10.0.0.1/jwks"), []string{"is not https"}},
		"a file":                 {url("file:///etc/passwd"), []string{"no address of a document"}},
		"no address":             {url("id.example"), []string{"no address of a document"}},
		"a password":             {url("https://a:b@id.example/"), []string{"ends up in logs"}},
		"everything":             {auth.Config{JWKSCA: "x", RSAAlgorithm: "HS256x"}, []string{"no keys", "--auth-jwks-ca", "--auth-audience: it is empty", "--auth-rsa-algorithm", "--auth-max-lifetime"}},
		"no issuer with a JWKS":  {auth.Config{JWKSURL: "https://a/", Audience: "a", MaxLifetime: time.Hour}, []string{"--auth-issuer"}},
		"a token for ever":       {file(func(c *auth.Config) { c.MaxLifetime = auth.LongestLifetime + 1 }), []string{"--auth-max-lifetime: must be from 1m0s to 720h0m0s"}},
		"a file without a name":  {file(func(c *auth.Config) { c.KeyFiles = append(c.KeyFiles, "") }), []string{"--auth-key-files: number 2"}},
		"an audience for a line": {file(func(c *auth.Config) { c.Audience = "a\nb" }), []string{"--auth-audience"}},
	} {
		err := tc.cfg.Check()
		if (err == nil) != (tc.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
		for _, want := range tc.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v does not tell %q", name, err, want)
			}
		}
	}
}

// The tags are settings of a service.
func TestConfigInAService(t *testing.T) {
	t.Parallel()
	var cfg struct {
		Auth auth.Config `embed:"" prefix:"auth-"`
	}
	err := config.Load(&cfg, config.Source{Name: "x", Prefix: "X", Args: []string{"--auth-jwks-url=https://id.example/"}, Environ: []string{
		"X_AUTH_KEY_FILES=a.pem,b.pem", "X_AUTH_SECRET_FILE=s", "X_AUTH_JWKS_CA=ca", "X_AUTH_ISSUER=i", "X_AUTH_MAX_LIFETIME=1h", "X_AUTH_RSA_ALGORITHM=PS256",
	}})
	c := cfg.Auth
	if err != nil || c.JWKSURL != "https://id.example/" || len(c.KeyFiles) != 2 || c.SecretFile != "s" || c.JWKSCA != "ca" || c.Issuer != "i" ||
		c.MaxLifetime != time.Hour || c.RSAAlgorithm != "PS256" || c.Audience != "linkpulse" || c.Check() != nil {
		t.Errorf("%+v, %v, %v", c, err, c.Check())
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := ofExample()
		cfg.JWKSURL = "https://id.example/jwks"
		v := newVerifier(t, cfg, auth.WithClient(&http.Client{Transport: &issuer{hang: true}}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := v.Verify(ctx, edToken(good().json())); reasonOf(t, err) != auth.ReasonKeysAway || time.Since(began) != time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestVerifyAllocatesLittle(t *testing.T) {
	// Not parallel: AllocsPerRun counts what the whole process allocates.
	v := attacked(t)
	ed, unknown := edToken(good().json()), b64(`{"alg":"EdDSA","kid":"k9"}`)+"."+b64(good().json())+".AAAA"
	for token, most := range map[string]float64{ed: 26, unknown: 5} {
		if n := testing.AllocsPerRun(100, func() { _, _ = v.Verify(t.Context(), token) }); n > most {
			t.Errorf("%.40s: %v allocations, at most %v", token, n, most)
		}
	}
}

var errAway = errors.New("no route to host")

func body(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
