package ws

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// What an auth of an authenticated client does.
func TestRefresh(t *testing.T) {
	t.Parallel()
	s, who := guarded(t, overTCP, nil)
	p := s.open("/ws", bearerOf("anna.1"))
	ses := <-s.sessions
	for _, tc := range []struct {
		token, asked, result string
	}{
		{"anna.2", "refresh anna.2", "ok"},
		{"expired", "fail bad_token", "bad_token"},
	} {
		p.send(authMessage(tc.token))
		if got := <-ses.asked; got != tc.asked {
			t.Fatalf("%s: asked %s, want %s", tc.token, got, tc.asked)
		}
		if n := s.metric("token_refreshes_total", tc.result); n != 1 {
			t.Fatalf("%s: %v refreshes ended so", tc.token, n)
		}
	}
	for token, want := range map[string]string{
		"bert.1": "fail bad_token", "busy": "fail overloaded", "keys_away": "fail overloaded", "anna.3": "refresh anna.3",
	} {
		t.Run(token, func(t *testing.T) {
			t.Parallel()
			s, _ := guarded(t, overTCP, nil)
			p := s.open("/ws", bearerOf("anna.1"))
			ses := <-s.sessions
			p.send(append(authMessage(token), text(`{"type":"unsubscribe","links":["a"]}`)...))
			if got := <-ses.asked; got != want {
				t.Fatalf("asked %s, want %s", got, want)
			}
			if got := <-ses.asked; got != "unsubscribe [a]" { // the token before is still good
				t.Fatalf("asked %s", got)
			}
		})
	}
	p.send(authMessage("revoked"))
	if code, texts := p.closeCode(); code != int(wire.CloseRevoked) || !strings.Contains(texts[len(texts)-1], "token_revoked") {
		t.Fatalf("close code %d, messages %q", code, texts)
	}
	if how := ses.ended(t); how != "4403 " || who.asked < 4 {
		t.Fatalf("ended %s", how)
	}
}

// Verifying is dear, so a client may not refresh as often as it may send: 2 at once, then one a second.
func TestRefreshIsDear(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, who := guarded(t, overPipe, nil)
		p := s.open("/ws", bearerOf("anna.1"))
		ses := <-s.sessions
		go func() {
			for {
				if _, err := p.readFrame(); err != nil {
					return
				}
			}
		}()
		start := time.Now()
		p.send(authMessage("anna.1"))
		p.send(authMessage("anna.1"))
		if took := time.Since(start); took != 0 {
			t.Fatalf("two refreshes took %v", took)
		}
		for range 2 {
			if got := <-ses.asked; got != "refresh anna.1" {
				t.Fatalf("asked %s", got)
			}
		}
		go p.send(authMessage("anna.1"))
		if got := <-ses.asked; got != "fail rate_limited" {
			t.Fatalf("asked %s", got)
		}
		<-ses.asked
		if took := time.Since(start); took < 50*time.Millisecond || who.asked != 4 {
			t.Fatalf("the third came after %v, %d tokens were verified", took, who.asked)
		}
		_ = p.Close()
		<-ses.gone
	})
}

// A token that is revoked between its verification and the moment at which the hub knows the connection is closed all
// the same: the hub was told to close what it knew then.
func TestRevokedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*server) *peer{
		"in the handshake": func(s *server) *peer { return s.open("/ws", bearerOf("anna.1")) },
		"in a message": func(s *server) *peer {
			p := s.open("/ws", nil)
			p.send(authMessage("anna.1"))
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, who := guarded(t, overTCP, nil)
			join := s.handler.cfg.Join
			s.handler.cfg.Join = func(c *Conn, id *auth.Identity) (Session, error) {
				who.revoke("anna")
				return join(c, id)
			}
			p := open(s)
			p.send(text(`{"type":"subscribe","links":["a"]}`))
			if code, texts := p.closeCode(); code != int(wire.CloseRevoked) || !strings.Contains(strings.Join(texts, ""), "token_revoked") {
				t.Fatalf("close code %d, messages %q", code, texts)
			}
			ses := <-s.sessions
			if how := ses.ended(t); how != "4403 " {
				t.Fatalf("ended %s", how)
			}
			if got := <-ses.asked; got != "fail token_revoked" || len(ses.asked) > 0 {
				t.Fatalf("asked %s, and %d more", got, len(ses.asked))
			}
		})
	}
	t.Run("in a refresh", func(t *testing.T) {
		t.Parallel()
		s, who := guarded(t, overTCP, nil)
		p := s.open("/ws", bearerOf("anna.1"))
		ses := <-s.sessions
		who.revoke("anna")
		p.send(authMessage("anna.2"))
		if code, _ := p.closeCode(); code != int(wire.CloseRevoked) {
			t.Fatalf("close code %d", code)
		}
		ses.ended(t)
	})
}
