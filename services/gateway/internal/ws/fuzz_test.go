package ws

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// Whatever a handshake says of where it is to, where it is from and who it is: what is let through names our host and a page
// that may connect, has one credential at most, and one that stands in it; and no answer repeats any of it.
func FuzzExamine(f *testing.F) {
	for _, seed := range [][4]string{
		{"ticket=abc", "", "https://dash.test", "gateway.test:8081"},
		{"", "Bearer abc", "", "gateway.test"},
		{"access_token=abc", "Bearer abc", "null", "gateway.test"},
		{"ticket=a&ticket=b;c=%zz", "bearer  ", "https://dash.test@evil.test", "[gateway.test]:1"},
		{"ticket=", "Basic abc", "https://a.wild.test", "evil.test:gateway.test"},
		{"token=abc", "Bearer a b", "https://gateway.test", "GATEWAY.TEST."},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], len(seed[0])%2 == 0)
	}
	metrics := NewMetrics(prometheus.NewRegistry())
	handlers := map[bool]*Handler{}
	for _, query := range []bool{false, true} {
		handlers[query] = New(Config{
			Accepting: func() error { return nil }, Auth: &people{}, QueryTokens: query, Origins: []string{"https://dash.test", "https://*.wild.test"},
			Hosts: []string{"gateway.test", "::1"}, Log: zap.NewNop(), Metrics: metrics,
		})
	}
	f.Fuzz(func(t *testing.T, query, authorization, origin, host string, inQuery bool) {
		r := &http.Request{
			Method: http.MethodGet, ProtoMajor: 1, ProtoMinor: 1, Host: host, URL: &url.URL{Path: "/ws", RawQuery: query},
			Header: http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
			},
		}
		for name, value := range map[string]string{"Authorization": authorization, "Origin": origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		shown, refused := handlers[inQuery].examine(http.Header{}, r)
		if refused != nil {
			if refused.err == nil || shown != (credential{}) || refused.status != 0 && (refused.status < 400 || refused.status >= 500) {
				t.Fatalf("refused as %+v, with %+v", refused, shown)
			}
			for _, said := range []string{query, authorization, origin, host} {
				if len(said) > 12 && strings.Contains(refused.err.Error(), said) {
					t.Fatalf("the answer repeats %q: %v", said, refused.err)
				}
			}
			return
		}
		judgeExamined(t, r, shown, inQuery)
	})
}

// judgeExamined checks what was let through, by other means than those that let it.
func judgeExamined(t *testing.T, r *http.Request, shown credential, inQuery bool) {
	t.Helper()
	lower := strings.ToLower(r.Host)
	name, _, _ := strings.Cut(lower, ":")
	if name != "gateway.test" && strings.Trim(name, "[]") != "gateway.test" && !strings.Contains(lower, "::1") {
		t.Fatalf("host %q is ours", r.Host)
	}
	if origin := strings.ToLower(r.Header.Get("Origin")); origin != "" {
		_, from, _ := strings.Cut(origin, "://")
		from, _, _ = strings.Cut(from, "/")
		from, _, _ = strings.Cut(from, "?")
		from, _, _ = strings.Cut(from, "#")
		if from != lower && from != "dash.test" && !strings.HasSuffix(from, ".wild.test") {
			t.Fatalf("origin %q may connect", origin)
		}
	}
	query := r.URL.Query()
	switch {
	case shown.token != "" && shown.ticket != "":
		t.Fatalf("two credentials: %+v", shown)
	case shown.ticket != "" && !slices.Contains(query["ticket"], shown.ticket):
		t.Fatalf("ticket %q is of nobody", shown.ticket)
	case shown.token != "" && !strings.Contains(r.Header.Get("Authorization"), shown.token) &&
		(!inQuery || !slices.Contains(query["access_token"], shown.token)):
		t.Fatalf("token %q is of nobody", shown.token)
	case len(shown.token) > auth.MaxToken && !inQuery:
		t.Fatalf("a token of %d bytes", len(shown.token))
	case !inQuery && query.Has("access_token"), query.Has("token"):
		t.Fatal("a token in the query is let through")
	}
}
