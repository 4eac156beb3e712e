package rest

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"unicode"

	"github.com/go-chi/chi/v5"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/tickets"
)

// Whatever the path and the query of a request are: what is read of them keeps the rules, and a refusal says why in one
// line.
func FuzzQuery(f *testing.F) {
	for _, seed := range [][2]string{
		{"/links/acme:x/clicks", "history=90m&step=5m"},
		{"/links/acme%3Ax/clicks", "history=24h"},
		{"/links/%2e%2E/clicks", "step=1m"},
		{"/v1/counts", "links=a,b,a,."},
		{"/v1/counts", "links=%00,&links=a"},
		{"/v1/counts", "access_token=x"},
		{"/v1/counts", "links=a;b=%zz"},
		{"/links//clicks", "history=9999h&step=0m"},
		{"/links/a\x00b/clicks", "history=-1m"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		u, err := url.ParseRequestURI(path)
		if err != nil || len(query) > 16<<10 { // net/http lets no such request through
			return
		}
		u.RawQuery = query
		r := &http.Request{Method: http.MethodGet, URL: u, Host: "here", Header: http.Header{}}
		router := chi.NewRouter()
		router.Get("/links/{id}/clicks", func(_ http.ResponseWriter, r *http.Request) {
			link, refused := linkOf(r)
			if judgeRefusal(t, refused); refused == nil && click.CheckLink(link) != nil {
				t.Fatalf("%q is a link", link)
			}
		})
		router.ServeHTTP(httptest.NewRecorder(), r)

		links, refused := linksOf(r)
		if judgeRefusal(t, refused); refused == nil {
			seen := map[string]bool{}
			for _, l := range links {
				if click.CheckLink(l) != nil || seen[l] {
					t.Fatalf("%q has %q", query, links)
				}
				seen[l] = true
			}
			if len(links) == 0 || len(links) > maxLinks {
				t.Fatalf("%d links", len(links))
			}
		}
		s, refused := spanOf(r)
		if judgeRefusal(t, refused); refused == nil && s != (span{}) && (s.history < 1 || s.history > maxHistory || s.step < 1 || s.history%s.step != 0) {
			t.Fatalf("%q is %+v", query, s)
		}
	})
}

func judgeRefusal(t *testing.T, refused *refusal) {
	t.Helper()
	if refused == nil {
		return
	}
	code, status := refused.reason.describe()
	if code == "" || status < 400 || status >= 500 || refused.detail == "" || strings.IndexFunc(refused.detail, unicode.IsControl) >= 0 {
		t.Fatalf("refused as %s, %d, %q", code, status, refused.detail)
	}
}

// Whatever the body of a request for a ticket is: what is read of it is an origin, or nothing.
func FuzzTicketBody(f *testing.F) {
	for _, seed := range []string{
		"", `{}`, `{"origin":"https://dash.example.com"}`, `{"origin":null}`, `{"origin":"https://a","origin":"https://b"}`, `{"Origin":"https://a"}`, `[]`, "\xff",
	} {
		f.Add(seed, "application/json")
	}
	f.Add("x", "text/plain; charset=\x00")
	f.Fuzz(func(t *testing.T, body, contentType string) {
		r := httptest.NewRequest(http.MethodPost, "/v1/tickets", strings.NewReader(body))
		r.Header["Content-Type"] = []string{contentType}
		origin, refused := originOf(httptest.NewRecorder(), r)
		judgeRefusal(t, refused)
		if refused == nil && origin != "" && tickets.CheckOrigin(origin) != nil || refused != nil && origin != "" || refused == nil && len(body) > maxTicketBody {
			t.Fatalf("%q is %q, %+v", body, origin, refused)
		}
	})
}
