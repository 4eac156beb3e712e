package auth_test

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// What a token costs, all of it: parsing, the signature, the claims.
func BenchmarkVerify(b *testing.B) {
	for _, a := range algorithms() {
		if !a.inPEM {
			continue
		}
		b.Run(a.name, func(b *testing.B) {
			cfg := ofExample()
			cfg.KeyFiles = []string{keyFile(b, b.TempDir(), "k", a.key)}
			token := craft(m{"alg": a.name, "kid": "k", "typ": "JWT"}.json(), good().json(), a.method, a.key)
			benchmark(b, newVerifier(b, cfg), token)
		})
	}
	b.Run("HS256", func(b *testing.B) {
		cfg := ofExample()
		cfg.SecretFile = writeFile(b, b.TempDir()+"/k", keys().secret)
		token := craft(`{"alg":"HS256","kid":"k","typ":"JWT"}`, good().json(), jwt.SigningMethodHS256, keys().secret)
		benchmark(b, newVerifier(b, cfg), token)
	})
}

func benchmark(b *testing.B, v *auth.Verifier, token string) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(b.Context(), token); err != nil {
			b.Fatal(err)
		}
	}
}

// What it costs to refuse what nobody signed: a flood of it must be cheap.
func BenchmarkRefuse(b *testing.B) {
	v := attacked(b)
	for name, token := range map[string]string{
		"no token":      "hello",
		"no algorithm":  b64(`{"alg":"none"}`) + "." + b64(good().json()) + ".",
		"unknown key":   b64(`{"alg":"EdDSA","kid":"k9"}`) + "." + b64(good().json()) + ".AAAA",
		"bad signature": edToken(good().json())[:300] + "AAAA",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err == nil {
					b.Fatal("accepted")
				}
			}
		})
	}
}
