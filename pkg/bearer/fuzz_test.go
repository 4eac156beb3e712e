package bearer

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// Whatever stands in an Authorization header, what comes out is one token of the grammar that stands there, or a refusal
// that says nothing of it.
func FuzzToken(f *testing.F) {
	for _, seed := range [][2]string{{"Bearer abc.def", ""}, {"bearer  a=", "Basic x"}, {"Bearer", "Bearer b"}, {"BearerX a", "\x00"}, {"Bearer a b", "Bearer =="}} {
		f.Add(seed[0], seed[1])
	}
	grammar := regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)
	refusals := map[string]bool{}
	f.Fuzz(func(t *testing.T, first, second string) {
		fields := []string{first, second}
		token, err := Token(http.Header{"Authorization": fields})
		if err == nil {
			if !grammar.MatchString(token) || len(token) > auth.MaxToken || !strings.Contains(first, token) && !strings.Contains(second, token) {
				t.Fatalf("%q: %q", fields, token)
			}
			return
		}
		refused, ok := errors.AsType[*auth.RefusedError](err)
		if !ok || token != "" || refused.Reason != auth.ReasonMissing && refused.Reason != auth.ReasonMalformed {
			t.Fatalf("%q: %q, %v", fields, token, err)
		}
		if refusals[refused.Detail] = true; len(refusals) > 5 {
			t.Fatalf("there are as many refusals as texts: %q", refused.Detail)
		}
	})
}

// Whatever the detail of a refusal is, the challenge is of the grammar and the answer of one header line.
func FuzzProblem(f *testing.F) {
	f.Add("the claim \"sub\" is \\ missing\r\nX: y")
	f.Add("\x1b[2J\xff\u2028")
	grammar := regexp.MustCompile(`^Bearer realm="linkpulse", error="invalid_token", error_description="[\x20-\x21\x23-\x5b\x5d-\x7e]*"$`)
	f.Fuzz(func(t *testing.T, detail string) {
		w := httptest.NewRecorder()
		Problem(w.Header(), &auth.RefusedError{Reason: auth.ReasonExpired, Detail: detail}).Write(w)
		if asked := w.Header()["Www-Authenticate"]; len(asked) != 1 || !grammar.MatchString(asked[0]) || w.Code != http.StatusUnauthorized {
			t.Fatalf("%q: %d %q", detail, w.Code, asked)
		}
		if body := w.Body.String(); strings.Count(body, "\n") != 1 || strings.ContainsAny(body, "\r\x1b\x00") {
			t.Fatalf("%q: %q", detail, body)
		}
	})
}
