package ws

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// people is an authenticator of whom a test needs: a token "anna.1" is good and of the subject anna, a token that names a
// reason is refused for it. Tickets are like tokens, and bound to https://dash.test.
type people struct {
	mu      sync.Mutex
	revoked map[string]bool // subjects
	asked   int
	gate    chan struct{} // verifying waits for it, nil: it does not
}

func (p *people) Token(ctx context.Context, token string) (*auth.Identity, error) {
	p.mu.Lock()
	p.asked++
	gate := p.gate
	p.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return nil, &auth.RefusedError{Reason: auth.ReasonBusy, Detail: "it took too long"}
		}
	}
	for _, reason := range auth.Reasons() {
		if token == string(reason) || token == "" {
			return nil, &auth.RefusedError{Reason: reason, Detail: "refused: " + string(reason)}
		}
	}
	subject, _, _ := strings.Cut(token, ".")
	return &auth.Identity{Subject: subject, TokenID: token}, nil
}

func (p *people) Ticket(ctx context.Context, ticket, origin string) (*auth.Identity, error) {
	if origin != "https://dash.test" {
		return nil, &auth.RefusedError{Reason: auth.ReasonTicket, Detail: "the ticket is not for this page"}
	}
	return p.Token(ctx, ticket)
}

func (p *people) Revoked(id *auth.Identity) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revoked[id.Subject]
}

func (p *people) revoke(subject string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revoked = map[string]bool{subject: true}
}

// guarded is a server that asks who clients are.
func guarded(t *testing.T, tr transport, change func(*Config)) (*server, *people) {
	t.Helper()
	who := &people{}
	return newServer(t, tr, func(c *Config) {
		c.Auth = who
		c.Origins = []string{"https://dash.test"}
		if change != nil {
			change(c)
		}
	}), who
}

func bearerOf(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func authMessage(token string) []byte { return text(`{"type":"auth","token":"` + token + `"}`) }

// The ways in, and that each leads to a session of whom it names.
func TestWaysIn(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		path    string
		header  http.Header
		message string
	}{
		"header":                      {header: bearerOf("anna.1")},
		"ticket":                      {path: "?ticket=anna.1", header: http.Header{"Origin": {"https://dash.test"}}},
		"message":                     {message: "anna.1"},
		"message, behind a proxy":     {header: http.Header{"Authorization": {"Basic dXNlcjpwYXNz"}}, message: "anna.1"},
		"query, which is switched on": {path: "?access_token=anna.1"},
	} {
		for _, tr := range []transport{overTCP, overPipe} {
			t.Run(name+" over "+string(tr), func(t *testing.T) {
				t.Parallel()
				s, _ := guarded(t, tr, func(c *Config) { c.QueryTokens = true })
				p := s.open("/ws"+tc.path, tc.header)
				if tc.message != "" {
					if n := s.metric("unauthenticated_connections", ""); n != 1 {
						t.Errorf("%v unauthenticated connections, want 1", n)
					}
					go p.send(authMessage(tc.message))
				}
				ses := <-s.sessions
				if ses.id.TokenID != "anna.1" {
					t.Fatalf("a session of %+v", ses.id)
				}
				go p.send(text(`{"type":"unsubscribe","links":["a"]}`))
				if got := <-ses.asked; got != "unsubscribe [a]" {
					t.Fatalf("asked %s", got)
				}
				if n := s.metric("unauthenticated_connections", ""); n != 0 {
					t.Errorf("%v unauthenticated connections, want 0", n)
				}
				_ = p.Close()
				ses.ended(t)
			})
		}
	}
}

// Where authentication is off nobody looks at what a client shows, but a token in the query is refused all the same.
func TestAuthIsOff(t *testing.T) {
	t.Parallel()
	s := newServer(t, overTCP, nil)
	for _, shown := range []struct {
		path   string
		header http.Header
	}{{"", nil}, {"", bearerOf("expired")}, {"?ticket=x", nil}} {
		p := s.open("/ws"+shown.path, shown.header)
		ses := <-s.sessions
		if !ses.id.Grants.CoverAll() || ses.id.Subject != "" {
			t.Fatalf("a session of %+v", ses.id)
		}
		for range wire.MessageBurst { // which costs no more than any message
			p.send(authMessage("expired"))
			if got := <-ses.asked; got != "refresh " {
				t.Fatalf("asked %s", got)
			}
		}
		_ = p.Close()
		ses.ended(t)
	}
	if _, resp, body := s.try("/ws?access_token=x", nil); resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "token_in_query") {
		t.Fatalf("%s %s", resp.Status, body)
	}
}

// What is told before the upgrade: status, code and challenge, and that none of it says what was shown.
//
//nolint:tparallel // its cases count in one metric, one after the other
func TestRefusedBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	s, _ := guarded(t, overTCP, nil)
	dash := http.Header{"Origin": {"https://dash.test"}}
	both := http.Header{"Authorization": {"Bearer anna.1"}, "Origin": {"https://dash.test"}}
	for _, tc := range []struct {
		name, path      string
		header          http.Header
		status          int
		code, challenge string
		as              refusal
	}{
		{"expired", "", bearerOf("expired"), 401, "bad_token", "invalid_token", refusedCredential},
		{"signature", "", bearerOf("signature"), 401, "bad_token", "invalid_token", refusedCredential},
		{"revoked", "", bearerOf("revoked"), 401, "token_revoked", "invalid_token", refusedCredential},
		{"no token", "", bearerOf("secr\"et"), 401, "bad_token", "invalid_token", refusedCredential},
		{"two headers", "", http.Header{"Authorization": {"Bearer secret", "Bearer secret"}}, 401, "bad_token", "invalid_token", refusedCredential},
		{"busy", "", bearerOf("busy"), 503, "overloaded", "", refusedUnverified},
		{"keys away", "", bearerOf("keys_away"), 503, "auth_unavailable", "", refusedUnverified},
		{"used ticket", "?ticket=ticket", dash, 401, "bad_ticket", "invalid_token", refusedCredential},
		{"empty ticket", "?ticket=", dash, 401, "bad_token", "invalid_token", refusedCredential},
		{"foreign ticket", "?ticket=secret", nil, 401, "bad_ticket", "invalid_token", refusedCredential},
		{"tickets are away", "?ticket=keys_away", dash, 503, "auth_unavailable", "", refusedUnverified},
		{"two tickets", "?ticket=secret&ticket=secret", dash, 400, "two_credentials", "", refusedCredential},
		{"ticket and token", "?ticket=secret", both, 400, "two_credentials", "", refusedCredential},
		{"token in the query", "?access_token=secret", nil, 400, "token_in_query", "", refusedQueryToken},
		{"beside a good one", "?access_token=secret", bearerOf("anna.1"), 400, "token_in_query", "", refusedQueryToken},
		{"by another name", "?token=secret", nil, 400, "token_in_query", "", refusedQueryToken},
		{"in a query that is none", "?access_token=secret;&x=%zz", nil, 400, "", "", refusedHandshake},
		{"query that is none", "?x=%zz", nil, 400, "bad_query", "", refusedHandshake},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := s.metric("handshakes_refused_total", tc.as.String())
			_, resp, body := s.try("/ws"+tc.path, tc.header)
			asked := resp.Header.Get("WWW-Authenticate")
			if resp.StatusCode != tc.status || !strings.Contains(body, `"code":"`+tc.code) || strings.Contains(asked, "error") != (tc.challenge != "") ||
				!strings.Contains(asked, tc.challenge) || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%s %s, WWW-Authenticate %q; want %d %s %q", resp.Status, body, asked, tc.status, tc.code, tc.challenge)
			}
			if retry := resp.Header.Get("Retry-After"); (tc.status == 503) != (retry == "1") {
				t.Fatalf("Retry-After %q", retry)
			}
			if strings.Contains(body+asked, "secr") {
				t.Fatalf("the answer repeats what was shown: %s", body)
			}
			if n := s.metric("handshakes_refused_total", tc.as.String()); n != before+1 {
				t.Fatalf("%v refused as %s, want one more than %v", n, tc.as, before)
			}
		})
	}
	if n := s.handler.Open(); n != 0 {
		t.Fatalf("%d places are taken", n)
	}
}

// What a first message is answered with, where it does not say who the client is.
func TestFirstMessage(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		send []byte
		code wire.CloseCode
		text string
		as   parting
	}{
		{"subscribe", text(`{"type":"subscribe","links":["a"]}`), 4401, `"bad_message"`, partedOther},
		{"unsubscribe", text(`{"type":"unsubscribe","links":[]}`), 4401, `"bad_message"`, partedOther},
		{"an auth that is none", text(`{"type":"auth","tokn":"secret"}`), 4401, `"bad_message"`, partedOther},
		{"a token that is too long", authMessage(strings.Repeat("a", wire.MaxTokenLen+1)), 4401, `"bad_message"`, partedOther},
		{"a bad link", text(`{"type":"subscribe","links":["a b"]}`), 4401, `"bad_link"`, partedOther},
		{"no JSON", text("secret"), 4401, `"bad_message"`, partedOther},
		{"binary", masked(0x82, []byte("{\xff}")), 4401, `"bad_message"`, partedOther},
		{"expired", authMessage("expired"), 4401, `"bad_token","message":"refused: expired"`, partedToken},
		{"no token", authMessage(""), 4401, `"bad_token"`, partedToken},
		{"revoked", authMessage("revoked"), 4403, `"token_revoked"`, partedRevoked},
		{"busy", authMessage("busy"), 1013, `"overloaded"`, partedUnverified},
		{"keys away", authMessage("keys_away"), 1013, `"overloaded"`, partedUnverified},
		{"8 KiB and a byte", text(strings.Repeat(" ", wire.MaxFirstMessage) + "1"), 1009, "", partedGone},
		{"8 KiB", text(strings.Repeat(" ", wire.MaxFirstMessage)), 4401, `"bad_message"`, partedOther},
		{"8 KiB in fragments", append(masked(0x01, nil), repeat(masked(0x00, make([]byte, 1000)), 9)...), 1009, "", partedGone},
		{"bad UTF-8", text("{\"type\":\"\xff\"}"), 1007, "", partedGone},
		{"pings", repeat(masked(0x89, nil), 50), 1008, "", partedGone},
		{"a reserved bit", masked(0xc1, []byte("{}")), 1002, "", partedGone},
		{"no mask", []byte{0x81, 0x02, '{', '}'}, 1002, "", partedGone},
		{"a length of 2^63", []byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1002, "", partedGone},
		{"a close", masked(0x88, []byte{0x03, 0xe8}), 1000, "", partedGone},
	} {
		for _, tr := range []transport{overTCP, overPipe} {
			t.Run(tc.name+" over "+string(tr), func(t *testing.T) {
				t.Parallel()
				s, who := guarded(t, tr, nil)
				p := s.open("/ws", nil)
				// What comes behind a first message that is refused is never looked at.
				go p.send(slices.Concat(tc.send, authMessage("anna.1")))
				code, texts := p.closeCode()
				got := strings.Join(texts, "\n")
				if code != int(tc.code) || !strings.Contains(got, tc.text) || (tc.text == "") != (got == "") {
					t.Fatalf("close code %d, messages %q; want %d, %q", code, got, tc.code, tc.text)
				}
				if strings.Contains(got, "secret") {
					t.Fatalf("the answer repeats what was sent: %s", got)
				}
				s.handler.Wait()
				if who.asked > 1 || len(s.sessions) > 0 {
					t.Fatalf("%d tokens were verified, %d sessions", who.asked, len(s.sessions))
				}
				if s.metric("unauthenticated_closed_total", tc.as.String()) != 1 || s.metric("unauthenticated_connections", "") != 0 {
					t.Fatalf("%v closed as %s, %v unauthenticated", s.metric("unauthenticated_closed_total", tc.as.String()), tc.as,
						s.metric("unauthenticated_connections", ""))
				}
			})
		}
	}
}

// Nobody is waited for longer than five seconds from the handshake on, whatever they send meanwhile but an auth.
func TestAuthDeadline(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(*peer){
		"silence": func(*peer) {},
		"pings": func(p *peer) {
			for range 4 {
				p.send(masked(0x89, nil))
				time.Sleep(time.Second)
			}
		},
		"an auth that trickles in": func(p *peer) {
			for _, b := range authMessage("anna.1") {
				p.send([]byte{b})
				time.Sleep(time.Second)
			}
		},
		"fragments": func(p *peer) {
			p.send(masked(0x01, []byte("{")))
			for range 20 {
				p.send(masked(0x00, []byte(" ")))
				time.Sleep(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, who := guarded(t, overPipe, nil)
				p := s.open("/ws", nil)
				start := time.Now()
				var sending sync.WaitGroup
				sending.Go(func() { meanwhile(p) })
				defer sending.Wait()
				code, texts := p.closeCode()
				if took := time.Since(start); code != int(wire.CloseAuthDeadline) || len(texts) > 0 || took < wire.AuthDeadline ||
					took > wire.AuthDeadline+50*time.Millisecond { // which the test's client takes to hang up
					t.Fatalf("close code %d, messages %q, after %v", code, texts, took)
				}
				s.handler.Wait()
				if who.asked != 0 || s.metric("unauthenticated_closed_total", "deadline") != 1 {
					t.Fatalf("%d tokens were verified", who.asked)
				}
			})
		})
	}
}

// Pings are answered before auth too, and what a client sends behind its auth is done once it is known.
func TestGuestsArePeers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, who := guarded(t, overPipe, nil)
		who.gate = make(chan struct{})
		p := s.open("/ws", nil)
		p.send(masked(0x89, []byte("here?")))
		if f, err := p.readFrame(); err != nil || f.first != 0x8a || string(f.payload) != "here?" {
			t.Fatalf("%x %q, %v; want a pong", f.first, f.payload, err)
		}
		time.Sleep(wire.AuthDeadline - time.Millisecond)
		go p.send(append(authMessage("anna.1"), text(`{"type":"subscribe","links":["a"]}`)...))
		time.Sleep(3 * time.Second) // the auth came in time, however long it takes to verify it
		if len(s.sessions) > 0 {
			t.Fatal("a session of a token that was not verified")
		}
		close(who.gate)
		ses := <-s.sessions
		if got := <-ses.asked; got != "subscribe [a] -1ns" {
			t.Fatalf("asked %s", got)
		}
		time.Sleep(time.Hour) // the deadline is gone
		p.send(text(`{"type":"unsubscribe","links":["a"]}`))
		if got := <-ses.asked; got != "unsubscribe [a]" {
			t.Fatalf("asked %s", got)
		}
		_ = p.Close()
		if how := ses.ended(t); how != "1006 lost" {
			t.Fatalf("ended %s", how)
		}
	})
}

// A drain sends those elsewhere whom the hub does not know, and whoever comes in meanwhile.
func TestDismiss(t *testing.T) {
	t.Parallel()
	for _, tr := range []transport{overTCP, overPipe} {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			s, _ := guarded(t, tr, nil)
			p := s.open("/ws", nil)
			s.handler.Dismiss()
			for i, late := range []*peer{p, s.open("/ws", nil)} {
				code, texts := late.closeCode()
				if code != int(wire.CloseServiceRestart) || len(texts) != 1 || !strings.Contains(texts[0], `"goodbye","reason":"drain"`) {
					t.Fatalf("peer %d: close code %d, messages %q", i, code, texts)
				}
			}
			s.handler.Wait()
			if n := s.metric("unauthenticated_closed_total", "unavailable"); n != 2 {
				t.Fatalf("%v were sent elsewhere, want 2", n)
			}
		})
	}
}

// Where the drain begins while a token is verified, its connection is sent elsewhere too.
func TestUnavailableAfterAuth(t *testing.T) {
	t.Parallel()
	s, _ := guarded(t, overTCP, func(c *Config) {
		c.Join = func(*Conn, *auth.Identity) (Session, error) { return nil, ErrUnavailable }
		c.Limits.PerSubject = 1
	})
	for range 2 { // the place of the subject is given back
		p := s.open("/ws", nil)
		p.send(authMessage("anna.1"))
		if code, texts := p.closeCode(); code != int(wire.CloseServiceRestart) || len(texts) != 1 || !strings.Contains(texts[0], `"goodbye"`) {
			t.Fatalf("close code %d, messages %q", code, texts)
		}
		s.handler.Wait()
	}
}

// FuzzFirstMessage feeds any bytes to a connection that nobody has authenticated: it must end or go on, never hang, and
// nobody becomes a session whose token was not verified.
func FuzzFirstMessage(f *testing.F) {
	for _, seed := range [][]byte{
		authMessage("anna.1"), authMessage("expired"), text("{}"), masked(0x82, []byte("x")), masked(0x89, nil), masked(0x88, []byte{3, 0xe8}), {0xff},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, who := guarded(t, overPipe, nil)
		p := s.open("/ws", nil)
		go func() {
			p.send(b)
			_ = p.Close()
		}()
		for {
			if _, err := p.readFrame(); err != nil {
				break
			}
		}
		s.handler.Wait()
		if len(s.sessions) > 0 && who.asked == 0 {
			t.Fatalf("% x becomes a session", b)
		}
	})
}
