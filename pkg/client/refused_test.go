package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// stopped waits for the Watcher to end and returns why.
func stopped(t *testing.T, w *Watcher) *StoppedError {
	t.Helper()
	why := (*StoppedError)(nil)
	if s := phase(t, w, PhaseClosed); !errors.As(s.Err, &why) || !strings.Contains(s.Reason, why.Reason) {
		t.Fatalf("state %+v", s)
	}
	return why
}

// A token that was never accepted is a mistake: without another one there is nothing to wait for.
func TestRefusedTokenStops(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]TokenSource{
		"none": nil, "static": StaticToken("t0p"), "the same again": gives("t0p"), "no other": gives("t0p", ErrNoToken),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				g := newGateway(t, m, at1)
				asked := make(chan struct{}, 2)
				g.refuse = func(w http.ResponseWriter, _ *http.Request) {
					asked <- struct{}{}
					w.WriteHeader(http.StatusUnauthorized)
					_, _ = w.Write([]byte(`{"status":401,"code":"bad_token","detail":"the audience is another one"}`))
				}
				w := watch(t, m, WatchOptions{Tokens: source}, at1)
				add(t, w, "a")
				why := stopped(t, w)
				reason := "the audience is another one"
				if source == nil {
					reason = noTokens
				}
				if why.Status != http.StatusUnauthorized || why.Reason != reason || len(asked) != 1 || strings.Contains(why.Error(), "t0p") {
					t.Fatalf("%+v after %d handshakes", why, len(asked))
				}
			})
		})
	}
}

// A source that has another token has it tried, with pauses that grow: it may be as wrong as the one before.
func TestRefusedTokenIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		came := make(chan string, 5)
		g.refuse = func(w http.ResponseWriter, r *http.Request) {
			came <- r.Header.Get("Authorization")
			w.WriteHeader(http.StatusUnauthorized)
		}
		source := gives("t1", "t2", "t3", "t4", "t5", "t6")
		w := watch(t, m, WatchOptions{Tokens: source}, at1)
		add(t, w, "a")
		most := watchBackoff
		for i := range cap(came) {
			if got, want := <-came, fmt.Sprint("Bearer t", i+1); got != want {
				t.Fatalf("it came with %s, want %s", got, want)
			}
			s := phase(t, w, PhaseReconnecting)
			if wait := time.Until(s.RetryAt); wait > most {
				t.Fatalf("after %d tokens it waits %v, at most %v", i+1, wait, most)
			}
			most *= 2
		}
		if got := source.told(); got != " t1 t2 t3 t4 t5" {
			t.Fatalf("the source was told of %s", got)
		}
		w.Close() // before anybody waits for room in came
	})
}

// A gateway that refuses for what no token changes is not asked again with another one.
func TestForbiddenStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		g.refuse = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }
		source := gives("t1", "t2")
		w := watch(t, m, WatchOptions{Tokens: source}, at1)
		add(t, w, "a")
		if why := stopped(t, w); why.Status != http.StatusForbidden || source.asked() != 1 {
			t.Fatalf("%+v, the source was told of %q", why, source.told())
		}
	})
}

// A token that was good and has expired is waited for: whatever renews it is late. Nothing is dialled meanwhile.
func TestExpiredTokenIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		source := gives("t1")
		w := watch(t, m, WatchOptions{Tokens: source}, at1)
		add(t, w, "a")
		expires := time.Now().Add(hour)
		p := g.admit("t1", expires)
		beats(p, 0)
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 7, Seq: 7})
		time.Sleep(time.Until(expires))
		p.refuse(wire.ErrTokenExpired, "the token has expired", wire.CloseUnauthenticated)
		s := phase(t, w, PhaseReconnecting)
		if !strings.HasSuffix(s.Reason, "the token has expired; "+errSameToken.Error()) || !s.ExpiresAt.IsZero() {
			t.Fatalf("state %+v", s)
		}
		shows(t, w, "a", "waiting 7@7")
		time.Sleep(5 * time.Minute) // a connection would fail the test: nobody takes it
		phase(t, w, PhaseReconnecting)
		source.give("t2")
		p = g.admit("t2", time.Now().Add(hour))
		p.expect(subscribe("a"))
		phase(t, w, PhaseLive)
	})
}

func TestExpiredStaticTokenStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{Tokens: StaticToken("t1")}, at1)
		add(t, w, "a")
		expires := time.Now().Add(hour)
		p := g.admit("t1", expires)
		beats(p, 0)
		p.expect(subscribe("a"))
		time.Sleep(time.Until(expires))
		if s := phase(t, w, PhaseLive); !strings.HasSuffix(s.TokenProblem, ErrNoToken.Error()) {
			t.Fatalf("state %+v", s)
		}
		p.refuse(wire.ErrTokenExpired, "the token has expired", wire.CloseUnauthenticated)
		if why := stopped(t, w); why.Code != wire.CloseUnauthenticated || why.Reason != "the token has expired" {
			t.Fatalf("%+v", why)
		}
	})
}

// A token that was revoked was so on purpose: the same one again ends it, and another one is tried.
func TestRevokedToken(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		gives []any
		goes  bool
	}{{[]any{"t1"}, false}, {[]any{"t1", "t2"}, true}} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			g := newGateway(t, m, at1)
			w := watch(t, m, WatchOptions{Tokens: gives(tt.gives...)}, at1)
			add(t, w, "a")
			p := g.admit("t1", time.Now().Add(hour))
			p.expect(subscribe("a"))
			p.refuse(wire.ErrTokenRevoked, "the token was revoked", wire.CloseRevoked)
			if tt.goes {
				p = g.admit("t2", time.Now().Add(hour))
				p.expect(subscribe("a"))
				return
			}
			if why := stopped(t, w); why.Code != wire.CloseRevoked || why.Reason != "the token was revoked" {
				t.Fatalf("%+v", why)
			}
		})
	}
}

// Too many connections of a subject pass, when others have gone.
func TestTooManyConnectionsBackOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{Tokens: StaticToken("t1")}, at1)
		add(t, w, "a")
		p := g.next()
		p.refuse(wire.ErrTooManyConnections, "you have 100 connections", wire.CloseTooMany)
		s := phase(t, w, PhaseReconnecting)
		if wait := time.Until(s.RetryAt); wait < backOffLeast || wait > backOffMost || !strings.HasSuffix(s.Reason, "4429 too_many: you have 100 connections") {
			t.Fatalf("state %+v", s)
		}
		g.admit("t1", time.Time{})
		phase(t, w, PhaseLive)
	})
}

// A source that is away at first passes, one that never has a token does not.
func TestSourceWithoutAToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{Tokens: gives(errors.New("the issuer is away"), "not a token", "t1")}, at1)
		add(t, w, "a")
		s := phase(t, w, PhaseReconnecting)
		if wait := time.Until(s.RetryAt); wait < backOffLeast || s.Reason != "getting a token: the issuer is away" {
			t.Fatalf("state %+v", s)
		}
		g.admit("t1", time.Time{})
		phase(t, w, PhaseLive)
		w = watch(t, m, WatchOptions{Tokens: gives(ErrNoToken)}, at1)
		add(t, w, "a")
		if why := stopped(t, w); !strings.HasSuffix(why.Reason, ErrNoToken.Error()) {
			t.Fatalf("%+v", why)
		}
	})
}

// A link that is subscribed anew when a token no longer covers it: the answer to the subscribe counts, not the end of the
// subscription before.
func TestGrantEndsWhileAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a", "b")
		p := g.ready(1)
		p.expect(subscribe("a", "b"))
		p.send(wire.AppendSubscribed(nil, wire.Subscribed{Links: []wire.LinkCount{{Link: "a", Count: 10, Seq: 10}}, Syncing: []string{"b"}}))
		p.update("a", 15, 4, 15) // one is missing
		p.expect(subscribe("a"))
		p.send(wire.AppendUnsubscribed(nil, wire.Unsubscribed{Links: []string{"a", "b"}, Reason: wire.ReasonGrant}))
		shows(t, w, "a", "waiting 15@15")
		shows(t, w, "b", "denied")
		p.send(wire.AppendSubscribed(nil, wire.Subscribed{Denied: []string{"a"}}))
		shows(t, w, "a", "denied")
	})
}
