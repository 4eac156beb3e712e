package auth_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// second reader of tokens: the library's own parser, told to be strict. Whatever is accepted here it has to accept, and
// to read in the same way.
func judge(t *testing.T, token string, id *auth.Identity) {
	t.Helper()
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithIssuer("https://id.example"), jwt.WithAudience("linkpulse"),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(auth.Leeway+2*time.Second), jwt.WithStrictDecoding())
	claims := jwt.MapClaims{}
	parsed, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return keys().ed.Public(), nil })
	if err != nil {
		t.Fatalf("%q is accepted, and the library says %v", token, err)
	}
	links, _ := claims["links"].([]any)
	var patterns []string
	for _, l := range links {
		patterns = append(patterns, l.(string))
	}
	grants, err := auth.ParseGrants(patterns)
	if err != nil || !slices.Equal(grants.Patterns(), id.Grants.Patterns()) {
		t.Fatalf("%q: grants %q, the library reads %q", token, id.Grants.Patterns(), patterns)
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires.Unix() != id.ExpiresAt.Unix() || claims["sub"] != id.Subject || parsed.Header["kid"] != "k1" {
		t.Fatalf("%q: %+v, the library reads %v", token, id, claims)
	}
	if id.Subject == "" || id.ExpiresAt.Sub(id.IssuedAt) > 24*time.Hour || time.Now().After(id.Ends()) {
		t.Fatalf("%q: %+v", token, id)
	}
}

func check(t *testing.T, v *auth.Verifier, token string) {
	t.Helper()
	id, err := v.Verify(t.Context(), token)
	if err == nil {
		judge(t, token, id)
		return
	}
	refused, ok := errors.AsType[*auth.RefusedError](err)
	if !ok || !slices.Contains(auth.Reasons(), refused.Reason) || refused.Detail == "" || id != nil {
		t.Fatalf("%q: %+v, %v", token, id, err)
	}
	if strings.ContainsAny(refused.Detail, "\x00\x1b\n") {
		t.Fatalf("%q is told %q", token, refused.Detail)
	}
}

// Whatever stands where a token should, nothing but a signed token is accepted.
func FuzzToken(f *testing.F) {
	token := edToken(good().json())
	for _, seed := range []string{
		token, "", "..", "a.b.c", token + "=", strings.ReplaceAll(token, ".", ". "), token[:len(token)-1],
		b64(`{"alg":"none"}`) + "." + b64(good().json()) + ".", b64(`{"alg":"HS256","kid":"rsa"}`) + "." + b64("{}") + ".AAAA",
	} {
		f.Add(seed)
	}
	v := attacked(f)
	f.Fuzz(func(t *testing.T, s string) {
		check(t, v, s)
		if id, err := v.Verify(t.Context(), s); err == nil && s != token {
			t.Fatalf("%q was never signed: %+v", s, id)
		}
	})
}

// Whatever an issuer signs, it is read as others read it or refused.
func FuzzSignedToken(f *testing.F) {
	for _, header := range []string{`{"alg":"EdDSA","kid":"k1"}`, `{"kid":"k1","typ":"at+jwt","alg":"EdDSA","x":{"y":[null]}}`} {
		f.Add(header, good().json())
	}
	f.Add(`{"alg":"EdDSA","kid":"k1"}`, `{"sub":"a","exp":1e9,"iat":0.5,"nbf":-1,"aud":["linkpulse"],"links":["*","a:*"],"iss":"https://id.example"}`)
	f.Add(`{"alg":"EdDSA","kid":"k1","crit":[]}`, `{"sub":null,"sub":1}`)
	v := attacked(f)
	f.Fuzz(func(t *testing.T, header, claims string) {
		check(t, v, craft(header, claims, jwt.SigningMethodEdDSA, keys().ed))
	})
}
