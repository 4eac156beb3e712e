package client

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

const hour = time.Hour

// within lets time pass up to the client's next message and says how much did.
func within(p *peer, want string) time.Duration {
	p.t.Helper()
	begun := time.Now()
	p.expect(want)
	return time.Since(begun)
}

// beats sends heartbeats until the end of the test, so that the client does not take the gateway for dead.
func beats(p *peer, ahead time.Duration) {
	p.t.Helper()
	go func() {
		tick := time.NewTicker(15 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				now := time.Now().Add(ahead).UnixMilli()
				_ = p.conn.Write(p.t.Context(), 1, wire.AppendHeartbeat(nil, wire.Heartbeat{At: now, CompleteTo: now})) // it may be over
			case <-p.done:
				return
			}
		}
	}()
}

// A token is replaced in the last quarter of its life, on the same connection. What the new one does not cover is gone
// from the screen, and what was denied is asked for again.
func TestTokenIsRenewedInBand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		source := gives("t1", "t2")
		w := watch(t, m, WatchOptions{Tokens: source}, at1)
		add(t, w, "a", "b", "c")
		expires := time.Now().Add(hour)
		p := g.admit("t1", expires)
		beats(p, 0)
		p.expect(subscribe("a", "b", "c"))
		p.send(wire.AppendSubscribed(nil, wire.Subscribed{
			Links: []wire.LinkCount{{Link: "a", Count: 1, Seq: 1}, {Link: "b", Count: 2, Seq: 2}}, Denied: []string{"c"},
		}))
		shows(t, w, "b", "live 2@2")
		shows(t, w, "c", "denied")
		if s := phase(t, w, PhaseLive); !s.ExpiresAt.Equal(expires.Truncate(time.Millisecond)) {
			t.Fatalf("expires at %v, want %v", s.ExpiresAt, expires)
		}
		if after := within(p, auth("t2")); after < 45*time.Minute || after > 54*time.Minute {
			t.Fatalf("renewed after %v", after)
		}
		p.send(wire.AppendUnsubscribed(nil, wire.Unsubscribed{Links: []string{"b"}, Reason: wire.ReasonGrant}))
		p.ready(1, expires.Add(hour))
		p.expect(subscribe("b", "c"))
		shows(t, w, "a", "live 1@1")
		shows(t, w, "b", "denied")
		p.send(wire.AppendSubscribed(nil, wire.Subscribed{
			Links: []wire.LinkCount{{Link: "c", Count: 3, Seq: 3}}, Denied: []string{"b"},
		}))
		shows(t, w, "b", "denied")
		shows(t, w, "c", "live 3@3")
		p.update("a", 2, 1, 4)
		shows(t, w, "a", "live 2@4")
		s := phase(t, w, PhaseLive)
		if st := w.Stats(); st.Connections != 1 || st.Violations != 0 || s.TokenProblem != "" || !s.ExpiresAt.After(expires) {
			t.Fatalf("state %+v, stats %+v", s, st)
		}
		if source.told() != " t1" {
			t.Fatalf("the source was told of %q", source.told())
		}
	})
}

// A source that is away, has nothing new or gives what the gateway does not take is asked again, and the connection goes
// on meanwhile.
func TestRenewalIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		source := gives("t1", errors.New("the issuer is away"), "t1", "bad", "bad", "t3")
		w := watch(t, m, WatchOptions{Tokens: source}, at1)
		add(t, w, "a")
		p := g.admit("t1", time.Now().Add(hour))
		beats(p, 0)
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 1, Seq: 1})
		for source.asked() < 2 {
			time.Sleep(time.Second)
		}
		if s := phase(t, w, PhaseLive); s.TokenProblem != "getting a token: the issuer is away" {
			t.Fatalf("state %+v", s)
		}
		for source.asked() < 3 {
			time.Sleep(time.Second)
		}
		if s := phase(t, w, PhaseLive); s.TokenProblem != errSameToken.Error() {
			t.Fatalf("state %+v", s)
		}
		p.expect(auth("bad"))
		p.send(wire.AppendError(nil, wire.Error{Code: wire.ErrBadToken, Message: "it is signed by nobody"}))
		if s := phase(t, w, PhaseLive); !strings.HasSuffix(s.TokenProblem, "it is signed by nobody") {
			t.Fatalf("state %+v", s)
		}
		p.expect(auth("t3")) // and not the bad one again
		p.send(wire.AppendError(nil, wire.Error{Code: wire.ErrOverloaded, Message: "later"}))
		p.expect(auth("t3"))
		p.ready(1, time.Now().Add(hour))
		s := phase(t, w, PhaseLive)
		shows(t, w, "a", "live 1@1")
		if s.TokenProblem != "" || source.told() != " t1 t1 t1 bad bad bad" {
			t.Fatalf("state %+v, the source was told of %q", s, source.told())
		}
	})
}

// A gateway that does not answer to a token is offered it again.
func TestRenewalWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{Tokens: gives("t1", "t2")}, at1)
		add(t, w, "a")
		p := g.admit("t1", time.Now().Add(hour))
		beats(p, 0)
		p.expect(subscribe("a"))
		p.expect(auth("t2"))
		if after := within(p, auth("t2")); after < 11*time.Second || after > 13*time.Second {
			t.Fatalf("again after %v", after)
		}
	})
}

// A machine whose clock is half an hour late would renew a token that has expired long ago. The gateway's heartbeats say
// what time it is.
func TestRenewalGoesByTheGatewaysClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{Tokens: gives("t1", "t2", "t3")}, at1)
		add(t, w, "a")
		const ahead = 30 * time.Minute
		p := g.admit("t1", time.Now().Add(ahead+hour))
		beats(p, ahead)
		p.expect(subscribe("a"))
		if after := within(p, auth("t2")); after < 45*time.Minute || after > 54*time.Minute {
			t.Fatalf("renewed after %v", after)
		}
		// And a token that seems to be over when it comes is no reason to ask without a pause.
		p.ready(1, time.Now().Add(-hour))
		if after := within(p, auth("t3")); after < renewLeast {
			t.Fatalf("renewed after %v", after)
		}
	})
}

func TestNoTokenNoHeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.next()
		if p.auth != "" {
			t.Fatalf("the client came with %q", p.auth)
		}
		p.ready(1, time.Now().Add(time.Minute)) // a client without tokens has none to renew
		beats(p, 0)
		p.expect(subscribe("a"))
		time.Sleep(2 * time.Minute)
		phase(t, w, PhaseLive)
	})
}
