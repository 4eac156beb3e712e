package auth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys are made once: an RSA key takes a while.
var keys = sync.OnceValue(func() (k struct {
	ed, otherEd      ed25519.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	rsa              *rsa.PrivateKey
	secret           []byte
},
) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var err error
	_, k.ed, err = ed25519.GenerateKey(nil)
	must(err)
	_, k.otherEd, err = ed25519.GenerateKey(nil)
	must(err)
	for curve, to := range map[elliptic.Curve]**ecdsa.PrivateKey{elliptic.P256(): &k.p256, elliptic.P384(): &k.p384, elliptic.P521(): &k.p521} {
		*to, err = ecdsa.GenerateKey(curve, rand.Reader)
		must(err)
	}
	k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	k.secret = []byte("a secret of more than thirty-two bytes")
	return k
})

// ofExample takes tokens of the issuer of these tests.
func ofExample() auth.Config {
	return auth.Config{Issuer: "https://id.example", Audience: "linkpulse", MaxLifetime: 24 * time.Hour}
}

func writeFile(tb testing.TB, path string, content []byte) string {
	tb.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

func publicPEM(tb testing.TB, public crypto.PublicKey) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// keyFile puts a public key into a directory, under its id.
func keyFile(tb testing.TB, dir, id string, private crypto.Signer) string {
	tb.Helper()
	return writeFile(tb, filepath.Join(dir, id+".pem"), publicPEM(tb, private.Public()))
}

func newVerifier(tb testing.TB, cfg auth.Config, opts ...auth.Option) *auth.Verifier {
	tb.Helper()
	v, err := auth.New(cfg, opts...)
	if err != nil {
		tb.Fatal(err)
	}
	return v
}

// m is JSON of an object.
type m map[string]any

func (o m) with(changes m) m {
	o = maps.Clone(o)
	for name, value := range changes {
		if value == nil {
			delete(o, name)
		} else {
			o[name] = value
		}
	}
	return o
}

func (o m) json() string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// good are claims that ofExample takes.
func good() m {
	now := time.Now().Unix()
	return m{
		"iss": "https://id.example", "aud": "linkpulse", "sub": "ada", "jti": "t-1", "links": []string{"acme:*", "x7Kp2"},
		"iat": now, "exp": now + 3600,
	}
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// craft makes a token of a header and claims, whatever they are, signed by an algorithm with a key.
func craft(header, claims string, method jwt.SigningMethod, key any) string {
	signed := b64(header) + "." + b64(claims)
	signature, err := method.Sign(signed, key)
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// edToken is a token of the Ed25519 key, with the id k1.
func edToken(claims string) string {
	return craft(`{"alg":"EdDSA","typ":"JWT","kid":"k1"}`, claims, jwt.SigningMethodEdDSA, keys().ed)
}

// reasonOf is why an error refuses, empty where it does not.
func reasonOf(tb testing.TB, err error) auth.Reason {
	tb.Helper()
	if err == nil {
		return ""
	}
	refused, ok := errors.AsType[*auth.RefusedError](err)
	if !ok {
		tb.Fatalf("%T is no refusal: %v", err, err)
	}
	return refused.Reason
}

func wantRefused(tb testing.TB, v *auth.Verifier, token string, want auth.Reason) {
	tb.Helper()
	id, err := v.Verify(tb.Context(), token)
	if got := reasonOf(tb, err); got != want || (id != nil) != (want == "") {
		tb.Errorf("%.120s: %+v, %v (%s), want %q", token, id, err, got, want)
	}
}

func wantAccepted(tb testing.TB, v *auth.Verifier, token string) *auth.Identity {
	tb.Helper()
	id, err := v.Verify(tb.Context(), token)
	if err != nil {
		tb.Fatalf("%.120s: %v", token, err)
	}
	return id
}

// running runs a verifier until the test ends or stop is called.
func running(tb testing.TB, v *auth.Verifier) (stop func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
}

// jwkOf is a public key in a JWKS.
func jwkOf(id string, private crypto.Signer) m {
	num := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	switch public := private.Public().(type) {
	case ed25519.PublicKey:
		return m{"kty": "OKP", "crv": "Ed25519", "kid": id, "use": "sig", "x": num(public)}
	case *ecdsa.PublicKey:
		size := (public.Curve.Params().BitSize + 7) / 8
		point, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		return m{"kty": "EC", "crv": public.Curve.Params().Name, "kid": id, "x": num(point[1 : 1+size]), "y": num(point[1+size:])}
	case *rsa.PublicKey:
		return m{"kty": "RSA", "kid": id, "n": num(public.N.Bytes()), "e": num(big.NewInt(int64(public.E)).Bytes())}
	default:
		panic("no such key")
	}
}

func jwks(keys ...m) string {
	if keys == nil {
		keys = []m{}
	}
	return m{"keys": keys}.json()
}
