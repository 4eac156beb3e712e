package auth_test

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// issuer serves a JWKS in memory.
type issuer struct {
	mu     sync.Mutex // guards what follows
	doc    string
	status int           // 0: 200
	away   bool          // it cannot be reached
	hang   bool          // it answers when it is too late
	slow   time.Duration // before it answers
	to     string        // it is elsewhere
	asked  []time.Time
}

func (i *issuer) RoundTrip(req *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.asked = append(i.asked, time.Now())
	doc, status, away, hang, slow, to := i.doc, i.status, i.away, i.hang, i.slow, i.to
	i.mu.Unlock()
	if hang {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	select {
	case <-time.After(slow):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	header := http.Header{}
	switch {
	case away:
		return nil, errAway
	case to != "" && req.URL.String() != to:
		header.Set("Location", to)
		status = http.StatusFound
	case status == 0:
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Status: strconv.Itoa(status), Header: header, Body: body(doc), Request: req}, nil
}

func (i *issuer) set(change func(i *issuer)) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(i)
}

func (i *issuer) requests() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

// withIssuer runs a test with a verifier that reads the JWKS of an issuer, in virtual time.
func withIssuer(t *testing.T, i *issuer, test func(t *testing.T, v *auth.Verifier)) {
	t.Helper()
	keys()
	synctest.Test(t, func(t *testing.T) {
		cfg := ofExample()
		cfg.JWKSURL = "https://id.example/jwks"
		v := newVerifier(t, cfg, auth.WithClient(&http.Client{Transport: i}))
		defer running(t, v)()
		test(t, v)
	})
}

// named is a token of a key, with its id.
func named(kid string, key ed25519.PrivateKey) string {
	return craft(m{"alg": "EdDSA", "kid": kid}.json(), good().json(), jwt.SigningMethodEdDSA, key)
}

func first() string  { return named("k1", keys().ed) }
func second() string { return named("k2", keys().otherEd) }

// Two keys are alive while one takes the other's place: tokens of both are good, from the first moment on.
func TestRotation(t *testing.T) {
	t.Parallel()
	i := &issuer{doc: jwks(jwkOf("k1", keys().ed))}
	withIssuer(t, i, func(t *testing.T, v *auth.Verifier) {
		synctest.Wait()
		wantAccepted(t, v, first())
		time.Sleep(time.Minute)
		i.set(func(i *issuer) {
			i.doc, i.slow = jwks(jwkOf("k1", keys().ed), jwkOf("k2", keys().otherEd)), 100*time.Millisecond
		})
		began := time.Now()
		wantAccepted(t, v, second()) // the set is read because it names a key that nobody knows
		if waited := time.Since(began); waited != 100*time.Millisecond {
			t.Errorf("it waited for %v", waited)
		}
		wantAccepted(t, v, first())
		i.set(func(i *issuer) { i.doc = jwks(jwkOf("k2", keys().otherEd)) })
		time.Sleep(5 * time.Minute)
		wantAccepted(t, v, second())
		wantRefused(t, v, first(), auth.ReasonKey)
	})
}

func TestNotReadyWithoutKeys(t *testing.T) {
	t.Parallel()
	i := &issuer{away: true}
	withIssuer(t, i, func(t *testing.T, v *auth.Verifier) {
		for range 5 {
			if err := v.Ready(); err == nil || !strings.Contains(err.Error(), "have not been read yet") {
				t.Fatalf("ready: %v", err)
			}
			wantRefused(t, v, first(), auth.ReasonKeysAway)
			wantRefused(t, v, craft(`{"alg":"EdDSA"}`, good().json(), jwt.SigningMethodEdDSA, keys().ed), auth.ReasonKeysAway)
			time.Sleep(10 * time.Second)
		}
		i.set(func(i *issuer) { i.away, i.doc = false, jwks(jwkOf("k1", keys().ed)) })
		time.Sleep(time.Minute)
		if err := v.Ready(); err != nil {
			t.Fatal(err)
		}
		wantAccepted(t, v, first())
	})
}

// Whatever becomes of the issuer, the keys that were good stay.
func TestLastGoodKeysAreKept(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(i *issuer){
		"away":          func(i *issuer) { i.away = true },
		"it hangs":      func(i *issuer) { i.hang = true },
		"an error":      func(i *issuer) { i.status = http.StatusInternalServerError },
		"no JSON":       func(i *issuer) { i.doc = "<html>" },
		"no keys":       func(i *issuer) { i.doc = jwks() },
		"no usable key": func(i *issuer) { i.doc = jwks(m{"kty": "oct", "kid": "k1", "k": "AAAA"}) },
		"too many keys": func(i *issuer) { i.doc = jwks(make([]m, 101)...) },
		"a huge document": func(i *issuer) {
			i.doc = jwks(jwkOf("k2", keys().otherEd).with(m{"x5c": strings.Repeat("A", 512<<10)}))
		},
		"elsewhere, http": func(i *issuer) { i.to = "http://id.example/jwks" },
		"round and round": func(i *issuer) { i.status = http.StatusFound },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := &issuer{doc: jwks(jwkOf("k1", keys().ed))}
			withIssuer(t, i, func(t *testing.T, v *auth.Verifier) {
				synctest.Wait()
				i.set(breakIt)
				time.Sleep(time.Hour)
				wantAccepted(t, v, first())
				wantRefused(t, v, second(), auth.ReasonKeysAway) // it may be new: nobody can tell
				if err := v.Ready(); err != nil {
					t.Errorf("ready: %v", err)
				}
				if n := i.requests(); n < 60 || n > 400 {
					t.Errorf("%d requests in an hour of trouble", n)
				}
				i.set(func(i *issuer) {
					i.status, i.away, i.hang, i.to, i.doc = 0, false, false, "", jwks(jwkOf("k2", keys().otherEd))
				})
				time.Sleep(2 * time.Minute)
				wantAccepted(t, v, second())
			})
		})
	}
}

// Somebody sends tokens with made-up keys as fast as they can. The issuer is asked every ten seconds and no more often,
// nobody else is held up, and a key that is really new is known as soon as without them.
func TestFloodOfUnknownKeys(t *testing.T) {
	t.Parallel()
	i := &issuer{doc: jwks(jwkOf("k1", keys().ed)), slow: 50 * time.Millisecond}
	withIssuer(t, i, func(t *testing.T, v *auth.Verifier) {
		time.Sleep(time.Minute)
		i.set(func(i *issuer) { i.asked = nil })
		began := time.Now()
		stop := make(chan struct{})
		rest := "." + b64(good().json()) + "." + b64("no signature")
		var flood sync.WaitGroup
		for n := range 100 { // each of them again and again
			flood.Go(func() {
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					case <-time.After(200 * time.Millisecond):
					}
					_, err := v.Verify(t.Context(), b64(fmt.Sprintf(`{"alg":"EdDSA","kid":"%d-%d"}`, n, k))+rest)
					if r := reasonOf(t, err); r != auth.ReasonKeysAway && r != auth.ReasonKey {
						t.Errorf("%v", err)
					}
				}
			})
		}
		time.Sleep(30 * time.Second)
		before := time.Now()
		wantAccepted(t, v, first())
		if time.Since(before) != 0 {
			t.Errorf("a token with a good key waited for %v", time.Since(before))
		}
		// The issuer begins to sign with a key that it publishes at the same moment.
		i.set(func(i *issuer) { i.doc = jwks(jwkOf("k2", keys().otherEd)) })
		rotated := time.Now()
		for {
			_, err := v.Verify(t.Context(), second())
			if err == nil {
				break
			}
			if reasonOf(t, err) != auth.ReasonKeysAway {
				t.Fatalf("a new key is refused for good: %v", err)
			}
			time.Sleep(time.Second)
		}
		if waited := time.Since(rotated); waited > 12*time.Second {
			t.Errorf("a new key was not known for %v", waited)
		}
		close(stop)
		flood.Wait()
		if n, most := i.requests(), int(time.Since(began)/(10*time.Second))+1; n > most {
			t.Errorf("%d requests in %v", n, time.Since(began))
		}
	})
}

// A key that is not there is refused for good as soon as that is certain.
func TestUnknownKey(t *testing.T) {
	t.Parallel()
	i := &issuer{doc: jwks(jwkOf("k1", keys().ed))}
	withIssuer(t, i, func(t *testing.T, v *auth.Verifier) {
		synctest.Wait()
		wantRefused(t, v, second(), auth.ReasonKeysAway) // the set was read before anybody asked
		time.Sleep(10 * time.Second)
		wantRefused(t, v, second(), auth.ReasonKey) // this one asks for it
		wantRefused(t, v, second(), auth.ReasonKey)
		wantRefused(t, v, named("k3", keys().ed), auth.ReasonKeysAway)
		if n := i.requests(); n != 2 {
			t.Errorf("%d requests", n)
		}
		time.Sleep(10 * time.Second)
		i.set(func(i *issuer) { i.doc = jwks(jwkOf("k2", keys().otherEd)) }) // late, but it comes
		wantAccepted(t, v, second())
	})
}

// An issuer that hangs holds a token up for a second, and few of them.
func TestUnknownKeysWaitBriefly(t *testing.T) {
	t.Parallel()
	i := &issuer{doc: jwks(jwkOf("k1", keys().ed))}
	withIssuer(t, i, func(t *testing.T, v *auth.Verifier) {
		time.Sleep(time.Minute)
		i.set(func(i *issuer) { i.hang = true })
		began := time.Now()
		var mu sync.Mutex
		waited := 0
		var all sync.WaitGroup
		for range 500 {
			all.Go(func() {
				_, err := v.Verify(t.Context(), second())
				mu.Lock()
				defer mu.Unlock()
				if d := time.Since(began); d == time.Second {
					waited++
				} else if d != 0 {
					t.Errorf("one waited for %v", d)
				}
				if reasonOf(t, err) != auth.ReasonKeysAway {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if waited != 64 {
			t.Errorf("%d waited", waited)
		}
	})
}

func TestRedirectsAreFollowed(t *testing.T) {
	t.Parallel()
	i := &issuer{doc: jwks(jwkOf("k1", keys().ed)), to: "https://cdn.example/jwks"}
	withIssuer(t, i, func(t *testing.T, v *auth.Verifier) {
		synctest.Wait()
		wantAccepted(t, v, first())
	})
}

// Of a set, what is no good is left out, and the rest is used.
func TestKeysThatAreLeftOut(t *testing.T) {
	t.Parallel()
	bad := map[string]m{
		"a secret":            {"kty": "oct", "kid": "k2", "k": base64.RawURLEncoding.EncodeToString(keys().secret)},
		"a private key":       jwkOf("k2", keys().otherEd).with(m{"d": "AAAA"}),
		"for encryption":      jwkOf("k2", keys().otherEd).with(m{"use": "enc"}),
		"for signing alone":   jwkOf("k2", keys().otherEd).with(m{"key_ops": []string{"sign"}}),
		"no id":               jwkOf("k2", keys().otherEd).with(m{"kid": nil}),
		"the id of another":   jwkOf("k1", keys().otherEd),
		"another algorithm":   jwkOf("k2", keys().otherEd).with(m{"alg": "HS256"}),
		"none":                jwkOf("k2", keys().otherEd).with(m{"alg": "none"}),
		"of an ECDH curve":    jwkOf("k2", keys().otherEd).with(m{"crv": "X25519"}),
		"cut":                 jwkOf("k2", keys().otherEd).with(m{"x": "AAAA"}),
		"no base64":           jwkOf("k2", keys().otherEd).with(m{"x": "?"}),
		"no point":            jwkOf("k2", keys().p256).with(m{"y": "AAAA"}),
		"a long point":        jwkOf("k2", keys().p256).with(m{"y": strings.Repeat("B", 80)}),
		"a curve of Bitcoin":  jwkOf("k2", keys().p256).with(m{"crv": "secp256k1"}),
		"a short RSA key":     jwkOf("k2", keys().rsa).with(m{"n": strings.Repeat("_", 170)}),
		"a long RSA key":      jwkOf("k2", keys().rsa).with(m{"n": strings.Repeat("_", 1400)}),
		"exponent 1":          jwkOf("k2", keys().rsa).with(m{"e": "AQ"}),
		"an even exponent":    jwkOf("k2", keys().rsa).with(m{"e": "AAQ"}),
		"a huge exponent":     jwkOf("k2", keys().rsa).with(m{"e": "_______________"}),
		"of a type to come":   {"kty": "AKP", "kid": "k2", "alg": "ML-DSA-44", "pub": "AAAA"},
		"an id that is none":  jwkOf("k\n2", keys().otherEd),
		"an id of 256 letter": jwkOf(strings.Repeat("k", 256), keys().otherEd),
	}
	for name, key := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := &issuer{doc: jwks(jwkOf("k1", keys().ed), key)}
			withIssuer(t, i, func(t *testing.T, v *auth.Verifier) {
				synctest.Wait()
				wantAccepted(t, v, first())
				time.Sleep(10 * time.Second)
				wantRefused(t, v, second(), auth.ReasonKey)
				// A public secret least of all.
				wantRefused(t, v, secretToken(string(keys().secret), "k2"), auth.ReasonKey)
			})
		})
	}
}

// Padding and zeros in front are not what the standard wants, and what some write.
func TestKeysThatAreWrittenOddly(t *testing.T) {
	t.Parallel()
	pad := func(key m, name string) m {
		return key.with(m{name: key[name].(string) + strings.Repeat("=", (4-len(key[name].(string))%4)%4)})
	}
	rsaKey := jwkOf("rsa", keys().rsa)
	n, err := base64.RawURLEncoding.DecodeString(rsaKey["n"].(string))
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{doc: jwks(
		pad(jwkOf("ed", keys().ed), "x"), pad(pad(jwkOf("ec", keys().p256), "x"), "y"),
		rsaKey.with(m{"n": base64.RawURLEncoding.EncodeToString(append([]byte{0}, n...))}),
	)}
	withIssuer(t, i, func(t *testing.T, v *auth.Verifier) {
		synctest.Wait()
		for _, c := range []struct {
			kid    string
			method jwt.SigningMethod
			key    crypto.Signer
		}{{"ed", jwt.SigningMethodEdDSA, keys().ed}, {"ec", jwt.SigningMethodES256, keys().p256}, {"rsa", jwt.SigningMethodRS256, keys().rsa}} {
			wantAccepted(t, v, craft(m{"alg": c.method.Alg(), "kid": c.kid}.json(), good().json(), c.method, c.key))
		}
	})
}

// Whoever serves the JWKS cannot take the place of a key that the operator chose.
func TestKeyFilesComeFirst(t *testing.T) {
	t.Parallel()
	path := keyFile(t, t.TempDir(), "k1", keys().ed)
	synctest.Test(t, func(t *testing.T) {
		cfg := ofExample()
		cfg.JWKSURL, cfg.KeyFiles = "https://id.example/jwks", []string{path}
		i := &issuer{doc: jwks(jwkOf("k1", keys().otherEd), jwkOf("k2", keys().otherEd))}
		registry := prometheus.NewRegistry()
		v := newVerifier(t, cfg, auth.WithClient(&http.Client{Transport: i}), auth.WithMetrics(registry))
		wantAccepted(t, v, first())
		if v.Ready() == nil {
			t.Error("it is ready without the JWKS")
		}
		defer running(t, v)()
		synctest.Wait()
		wantAccepted(t, v, first())
		wantAccepted(t, v, second())
		wantRefused(t, v, named("k1", keys().otherEd), auth.ReasonSignature)
		// One key file and a JWKS: who names none may mean either.
		wantRefused(t, v, craft(`{"alg":"EdDSA"}`, good().json(), jwt.SigningMethodEdDSA, keys().ed), auth.ReasonKey)
		if err := v.Ready(); err != nil {
			t.Error(err)
		}
		want := fmt.Sprintf(`
# HELP linkpulse_auth_keys_read_timestamp_seconds When the keys were last read successfully, by where they are; 0 is never.
# TYPE linkpulse_auth_keys_read_timestamp_seconds gauge
linkpulse_auth_keys_read_timestamp_seconds{source="files"} %d
linkpulse_auth_keys_read_timestamp_seconds{source="jwks"} %[1]d
`, time.Now().Unix())
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "linkpulse_auth_keys_read_timestamp_seconds"); err != nil {
			t.Error(err)
		}
	})
}

// Load is enough for a program that ends; asked twice, it is certain of what is not there.
func TestLoad(t *testing.T) {
	t.Parallel()
	cfg := ofExample()
	cfg.JWKSURL = "https://id.example/jwks"
	i := &issuer{doc: jwks(jwkOf("k1", keys().ed))}
	v := newVerifier(t, cfg, auth.WithClient(&http.Client{Transport: i}))
	for _, want := range []auth.Reason{auth.ReasonKeysAway, auth.ReasonKey} {
		if err := v.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantAccepted(t, v, first())
		wantRefused(t, v, second(), want)
	}
	i.set(func(i *issuer) { i.away = true })
	if err := v.Load(t.Context()); err == nil || !strings.Contains(err.Error(), errAway.Error()) {
		t.Errorf("%v", err)
	}
}
