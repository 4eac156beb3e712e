package rest

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/tickets"
)

// people are an authenticator: a token is the grants that it has, with dots for commas and colons, or a reason to refuse it.
type people struct {
	issue  error
	issued []string // origins
}

func (p *people) Token(_ context.Context, token string) (*auth.Identity, error) {
	if slices.Contains(auth.Reasons(), auth.Reason(token)) {
		return nil, &auth.RefusedError{Reason: auth.Reason(token), Detail: "refused: " + token}
	}
	var patterns []string
	for g := range strings.SplitSeq(token, ".") {
		patterns = append(patterns, strings.ReplaceAll(g, "~", "*"))
	}
	grants, err := auth.ParseGrants(patterns)
	if err != nil {
		return nil, &auth.RefusedError{Reason: auth.ReasonGrants, Detail: err.Error()}
	}
	return &auth.Identity{Subject: token, Grants: grants}, nil
}

func (p *people) Issue(_ context.Context, _ *auth.Identity, origin string) (string, time.Duration, error) {
	if p.issue != nil {
		return "", 0, p.issue
	}
	p.issued = append(p.issued, origin)
	return strings.Repeat("t", 43), 29_500 * time.Millisecond, nil
}

func guarded(tb testing.TB) (*rig, *people) {
	tb.Helper()
	who := &people{}
	return newRig(tb, func(c *Config) { c.Auth = who }), who
}

// Who may not see a link is told the same whether there is one or not, and sees nothing of it by a tag either.
func TestGrants(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := guarded(t)
		r.ledger.click("a", false)
		r.ledger.click("b", false)
		w := r.get("/links/a/clicks", "Authorization", "Bearer a.x~")
		if got := decode[linkAnswer](t, w); got.Count != 1 {
			t.Fatalf("%+v", got)
		}
		if cc, vary := w.Header().Get("Cache-Control"), w.Header().Get("Vary"); cc != "private, no-cache" || vary != "Origin, Authorization" {
			t.Fatalf("Cache-Control %q, Vary %q", cc, vary)
		}
		tag := w.Header().Get("Etag")
		if w := r.get("/links/a/clicks", "Authorization", "Bearer a", "If-None-Match", tag); w.Code != http.StatusNotModified ||
			w.Header().Get("Cache-Control") != "private, no-cache" {
			t.Fatalf("%d %v", w.Code, w.Header())
		}
		var told []string
		for _, link := range []string{"b", "nobody"} {
			for _, match := range []string{"", "*", tag} {
				w := r.get("/links/"+link+"/clicks", "Authorization", "Bearer a.x~", "If-None-Match", match)
				wantProblem(t, w, http.StatusForbidden, "denied", "")
				if asks := w.Header().Get("WWW-Authenticate"); !strings.Contains(asks, `error="insufficient_scope"`) {
					t.Fatalf("WWW-Authenticate %q", asks)
				}
				told = append(told, w.Body.String())
			}
		}
		if len(slices.Compact(told)) != 1 {
			t.Fatalf("links that there are and others are told apart: %q", told)
		}
		got := decode[batchAnswer](t, r.get("/v1/counts?links=b,a,nobody,x1", "Authorization", "Bearer a.x~"))
		if len(got.Links) != 2 || got.Links[0].Link != "a" || got.Links[1].Link != "x1" || !slices.Equal(got.Denied, []string{"b", "nobody"}) {
			t.Fatalf("%+v", got)
		}
		if got := decode[batchAnswer](t, r.get("/v1/counts?links=b", "Authorization", "Bearer a")); len(got.Links) > 0 || len(got.Denied) != 1 {
			t.Fatalf("%+v", got)
		}
		if n := r.ledger.watches["b"] + r.ledger.watches["nobody"]; n > 0 {
			t.Fatalf("links that were denied are watched %d times", n)
		}
	})
}

// What is denied is part of an answer: whoever has one for another token is not told that nothing has changed.
func TestTagsTellTokensApart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := guarded(t)
		const path = "/v1/counts?links=a,b"
		r.ledger.syncing["b"] = true
		syncing := r.get(path, "Authorization", "Bearer a.b").Header().Get("Etag")
		denied := r.get(path, "Authorization", "Bearer a").Header().Get("Etag")
		if syncing == denied {
			t.Fatal("a link that is syncing and one that is denied have the same tag")
		}
		if w := r.get(path, "Authorization", "Bearer a.c", "If-None-Match", denied); w.Code != http.StatusNotModified {
			t.Fatalf("the same answer for another token: %d", w.Code)
		}
	})
}

// Who is not known is told so before anything else is looked at, and why.
func TestUnauthorized(t *testing.T) {
	t.Parallel()
	r, who := guarded(t)
	for _, path := range []string{"/links/a/clicks", "/v1/counts?links=a", "/links/a%20b/clicks", "/links/a/clicks?history=1h"} {
		wantProblem(t, r.get(path), http.StatusUnauthorized, "unauthenticated", "")
		wantProblem(t, r.get(path, "Authorization", "Basic eHg="), http.StatusUnauthorized, "unauthenticated", "")
		wantProblem(t, r.get(path, "Authorization", "Bearer a b"), http.StatusUnauthorized, "bad_token", "malformed")
		wantProblem(t, r.get(path, "Authorization", "Bearer expired"), http.StatusUnauthorized, "bad_token", "expired")
		wantProblem(t, r.get(path, "Authorization", "Bearer revoked"), http.StatusUnauthorized, "token_revoked", "")
		wantProblem(t, r.get(path, "Authorization", "Bearer busy"), http.StatusServiceUnavailable, "overloaded", "")
		wantProblem(t, r.get(path, "Authorization", "Bearer keys_away"), http.StatusServiceUnavailable, "auth_unavailable", "")
		w := r.get(path, "If-None-Match", "*")
		wantProblem(t, w, http.StatusUnauthorized, "unauthenticated", "")
		if w.Header().Get("WWW-Authenticate") != `Bearer realm="linkpulse"` || w.Header().Get("Cache-Control") != "no-store" {
			t.Fatalf("%v", w.Header())
		}
	}
	wantProblem(t, r.do(http.MethodPost, "/v1/tickets"), http.StatusUnauthorized, "unauthenticated", "")
	for _, path := range []string{"/links/a/clicks?access_token=secret", "/v1/counts?links=a&access_token=secret", "/v1/counts?links=a&token=secret"} {
		w := r.get(path, "Authorization", "Bearer a")
		wantProblem(t, w, http.StatusBadRequest, "token_in_query", "")
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: the answer repeats what the client sent", path)
		}
	}
	if len(who.issued) > 0 || r.ledger.watched() > 0 {
		t.Fatalf("%d tickets, %d links are watched", len(who.issued), r.ledger.watched())
	}
}

// post asks for a ticket.
func (r *rig) post(body string, header ...string) *httptest.ResponseRecorder {
	r.tb.Helper()
	req := httptest.NewRequest(http.MethodPost, "/v1/tickets", strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	err := r.contract.CheckRequest(req)
	r.router.ServeHTTP(w, req)
	r.contract.ValidateRecorded(r.tb, req, w)
	if err != nil && w.Code < 400 {
		r.tb.Errorf("answered with %d although the contract does not allow it: %v", w.Code, err)
	}
	return w
}

func TestTickets(t *testing.T) {
	t.Parallel()
	r, who := guarded(t)
	const token, object = "Bearer a", "application/json"
	for _, tc := range []struct{ body, origin string }{
		{"", ""},
		{"{}", ""},
		{`{"origin":"https://dash.example.com"}`, "https://dash.example.com"},
		{`{"origin":"http://localhost:5173"}`, "http://localhost:5173"},
	} {
		who.issued = nil
		w := r.post(tc.body, "Authorization", token, "Content-Type", object+"; charset=utf-8")
		var got struct {
			Ticket    string
			ExpiresIn int `json:"expires_in_ms"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK || len(got.Ticket) != 43 || got.ExpiresIn != 29_500 {
			t.Fatalf("%s: %d %s", tc.body, w.Code, w.Body)
		}
		if w.Header().Get("Cache-Control") != "no-store" || !slices.Equal(who.issued, []string{tc.origin}) {
			t.Fatalf("%s: Cache-Control %q, issued for %q", tc.body, w.Header().Get("Cache-Control"), who.issued)
		}
	}
	who.issued = nil
	for body, want := range map[string]string{
		"x": "", "null": "", "[]": "", `"x"`: "", "{": "", `{"origins":"https://a"}`: "", `{"origin":"https://a","x":1}`: "",
		`{"origin":1}`: "origin", `{"origin":null}`: "origin", `{"origin":""}`: "origin", `{"origin":"null"}`: "origin",
		`{"origin":"https://a/"}`: "origin", `{"origin":"https://*.a"}`: "origin", `{"origin":"secret"}`: "origin",
	} {
		w := r.post(body, "Authorization", token, "Content-Type", object)
		wantProblem(t, w, http.StatusBadRequest, "bad_body", want)
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s: the answer repeats what the client sent", body)
		}
	}
	wantProblem(t, r.post("{}", "Authorization", token), http.StatusUnsupportedMediaType, "unsupported_media_type", "")
	wantProblem(t, r.post("{}", "Authorization", token, "Content-Type", "text/plain"), http.StatusUnsupportedMediaType, "unsupported_media_type", "")
	wantProblem(t, r.post(strings.Repeat(" ", maxTicketBody+1), "Authorization", token), http.StatusRequestEntityTooLarge, "body_too_large", "")
	who.issue = &auth.RefusedError{Reason: auth.ReasonKeysAway, Detail: "away"}
	wantProblem(t, r.post("", "Authorization", token), http.StatusServiceUnavailable, "auth_unavailable", "")
	who.issue = &auth.RefusedError{Reason: auth.ReasonExpired, Detail: "over"}
	wantProblem(t, r.post("", "Authorization", token), http.StatusUnauthorized, "bad_token", "expired")
	who.issue = tickets.ErrNone
	wantProblem(t, r.post("", "Authorization", token), http.StatusNotImplemented, "no_tickets", "")
	off := newRig(t, nil)
	wantProblem(t, off.post("", "Authorization", token), http.StatusNotImplemented, "no_tickets", "")
	if len(who.issued) > 0 {
		t.Fatalf("issued for %q", who.issued)
	}
}

// A page of an allowed origin may ask for a ticket with a token, and one of another may not.
func TestTicketsCrossOrigin(t *testing.T) {
	t.Parallel()
	r, _ := guarded(t)
	for origin, allowed := range map[string]bool{"https://a.dash.example": true, "https://evil.example": false} {
		h := r.do(http.MethodOptions, "/v1/tickets", "Origin", origin).Header()
		if (h.Get("Access-Control-Allow-Methods") == "POST") != allowed ||
			(h.Get("Access-Control-Allow-Headers") == "Authorization, Content-Type") != allowed ||
			(h.Get("Access-Control-Allow-Origin") == origin) != allowed || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("preflight from %s: %v", origin, h)
		}
		h = r.post("", "Authorization", "Bearer a", "Origin", origin).Header()
		if (h.Get("Access-Control-Allow-Origin") == origin) != allowed {
			t.Errorf("POST from %s: %v", origin, h)
		}
	}
}

// A body that trickles in holds neither the request nor the place that it takes for longer than it may.
func TestTicketBodyIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := guarded(t)
		client, server := net.Pipe()
		conns := make(chan net.Conn, 1)
		conns <- server
		srv := httpserver.New(r.router, zap.NewNop())
		l := oneConn{conns: conns, closed: make(chan struct{})}
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = srv.Serve(l) // ends by Close
		}()
		defer func() {
			_ = client.Close()
			_ = srv.Close()
			<-served
		}()
		start := time.Now()
		go func() {
			_, _ = io.WriteString(client, "POST /v1/tickets HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nContent-Length: 100\r\n\r\n{")
		}()
		answer, err := io.ReadAll(client)
		if err != nil || !strings.Contains(string(answer), "400 Bad Request") {
			t.Fatalf("%q, %v", answer, err)
		}
		if took := time.Since(start); took < ticketBodyTime || took > ticketBodyTime+time.Second {
			t.Fatalf("answered after %v", took)
		}
	})
}

// oneConn is a listener of connections that are there already.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l oneConn) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l oneConn) Close() error   { close(l.closed); return nil }
func (l oneConn) Addr() net.Addr { return &net.TCPAddr{} }
