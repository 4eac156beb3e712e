package bearer

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

func TestToken(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fields []string
		token  string
		reason auth.Reason
	}{
		"token":                  {fields: []string{"Bearer abc.def-_~+/=="}, token: "abc.def-_~+/=="},
		"another case, spaces":   {fields: []string{"bEARER   abc  "}, token: "abc"},
		"longest":                {fields: []string{"Bearer " + strings.Repeat("a", auth.MaxToken)}, token: strings.Repeat("a", auth.MaxToken)},
		"nothing":                {reason: auth.ReasonMissing},
		"a proxy's":              {fields: []string{"Basic dXNlcjpwYXNz"}, reason: auth.ReasonMissing},
		"beside a proxy's":       {fields: []string{"Basic dXNlcjpwYXNz", "Bearer abc"}, token: "abc"},
		"two":                    {fields: []string{"Bearer abc", "Bearer def"}, reason: auth.ReasonMalformed},
		"the scheme alone":       {fields: []string{"Bearer"}, reason: auth.ReasonMalformed},
		"nothing behind it":      {fields: []string{"Bearer  "}, reason: auth.ReasonMalformed},
		"too long":               {fields: []string{"Bearer " + strings.Repeat("a", auth.MaxToken+1)}, reason: auth.ReasonMalformed},
		"two words":              {fields: []string{"Bearer abc def"}, reason: auth.ReasonMalformed},
		"a list":                 {fields: []string{"Bearer abc, Basic x"}, reason: auth.ReasonMalformed},
		"padding in the middle":  {fields: []string{"Bearer a=b"}, reason: auth.ReasonMalformed},
		"padding alone":          {fields: []string{"Bearer =="}, reason: auth.ReasonMalformed},
		"another alphabet":       {fields: []string{"Bearer абв"}, reason: auth.ReasonMalformed},
		"a scheme that it is in": {fields: []string{"BearerX abc"}, reason: auth.ReasonMissing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, err := Token(http.Header{"Authorization": tc.fields})
			refused, _ := errors.AsType[*auth.RefusedError](err)
			if token != tc.token || (refused != nil) != (tc.reason != "") || refused != nil && refused.Reason != tc.reason {
				t.Fatalf("%.20q, %v; want %.20q, %s", token, err, tc.token, tc.reason)
			}
			if err != nil && strings.Contains(err.Error(), "abc") {
				t.Fatalf("the error repeats what was sent: %v", err)
			}
		})
	}
}

// Every reason has a status that says whether to come again, a challenge of the grammar with a 401, and a Retry-After with
// a 503.
func TestProblem(t *testing.T) {
	t.Parallel()
	grammar := regexp.MustCompile(`^Bearer realm="linkpulse"(, error="[a-z_]+", error_description="[\x20-\x21\x23-\x5b\x5d-\x7e]+")?$`)
	for _, reason := range auth.Reasons() {
		w := httptest.NewRecorder()
		Problem(w.Header(), &auth.RefusedError{Reason: reason, Detail: "the claim \"sub\" is \\ missing\r\nX: y – ü"}).Write(w)
		var p struct{ Code, Rule, Detail string }
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		asked, retry := w.Header().Get("WWW-Authenticate"), w.Header().Get("Retry-After")
		switch {
		case reason.IsTemporary():
			if w.Code != http.StatusServiceUnavailable || retry != "1" || asked != "" {
				t.Errorf("%s: %d, Retry-After %q, WWW-Authenticate %q", reason, w.Code, retry, asked)
			}
		case w.Code != http.StatusUnauthorized || retry != "" || !grammar.MatchString(asked):
			t.Errorf("%s: %d, Retry-After %q, WWW-Authenticate %q", reason, w.Code, retry, asked)
		case (reason == auth.ReasonMissing) == strings.Contains(asked, "invalid_token"):
			t.Errorf("%s: WWW-Authenticate %q", reason, asked)
		}
		if p.Code == CodeBadToken && p.Rule != string(reason) || p.Detail == "" {
			t.Errorf("%s: %+v", reason, p)
		}
	}
}

// An error that nobody thought of lets nobody in and does not tell a client to give up.
func TestProblemOfAnotherError(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	Problem(w.Header(), errors.New("secret")).Write(w)
	if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "secret") {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
}

func TestForbid(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	Forbid(h, `no "grant"`)
	if got := h.Get("WWW-Authenticate"); got != `Bearer realm="linkpulse", error="insufficient_scope", error_description="no 'grant'"` {
		t.Fatal(got)
	}
}
