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

const at1, at2 = "gw1:80", "gw2:80"

// watch returns a Watcher of the named gateways that is closed with the test.
func watch(t *testing.T, m *memory, opts WatchOptions, names ...string) *Watcher {
	t.Helper()
	urls := make([]string, len(names))
	for i, name := range names {
		urls[i] = "http://" + name
	}
	transport := m.transport()
	opts.HTTPClient = &http.Client{Transport: transport}
	w, err := NewWatcher(urls, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(); transport.CloseIdleConnections() })
	return w
}

func add(t *testing.T, w *Watcher, links ...string) {
	t.Helper()
	if err := w.Add(links...); err != nil {
		t.Fatal(err)
	}
}

// shows waits for what was sent to arrive and compares what a display would show of a link.
func shows(t *testing.T, w *Watcher, link, want string) {
	t.Helper()
	synctest.Wait()
	u, ok := w.Get(link)
	got := "not watched"
	if ok {
		got = u.Status.String()
		if u.Known {
			got += fmt.Sprintf(" %d@%d", u.Count, u.Seq)
		}
	}
	if got != want {
		t.Fatalf("%s shows %q, want %q", link, got, want)
	}
}

func phase(t *testing.T, w *Watcher, want Phase) State {
	t.Helper()
	synctest.Wait()
	s := w.State()
	if s.Phase != want {
		t.Fatalf("phase %v (%s), want %v", s.Phase, s.Reason, want)
	}
	return s
}

func TestWatchFollows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		phase(t, w, PhaseIdle)
		add(t, w, "x7Kp2", "a3bZ9")
		p := g.ready(1)
		p.expect(subscribe("a3bZ9", "x7Kp2"))
		shows(t, w, "x7Kp2", "waiting")
		p.send(wire.AppendSubscribed(nil, wire.Subscribed{
			Links: []wire.LinkCount{{Link: "x7Kp2", Count: 1243, Bots: 31, Seq: 88121}}, Syncing: []string{"a3bZ9"},
		}))
		shows(t, w, "x7Kp2", "live 1243@88121")
		shows(t, w, "a3bZ9", "syncing")
		p.subscribed(wire.LinkCount{Link: "a3bZ9", Count: 5, Seq: 9})
		p.update("x7Kp2", 1247, 4, 88140)
		shows(t, w, "x7Kp2", "live 1247@88140")
		shows(t, w, "a3bZ9", "live 5@9")
		w.Remove("a3bZ9")
		add(t, w, "new")
		p.expect(unsubscribe("a3bZ9"))
		p.expect(subscribe("new"))
		shows(t, w, "a3bZ9", "not watched")
		s := phase(t, w, PhaseLive)
		if s.Gateway != "gw" || s.Connection != "c_1" || s.Epoch != 1 {
			t.Fatalf("state %+v", s)
		}
		if st := w.Stats(); st.Violations != 0 || st.Discarded != 0 || st.Connections != 1 {
			t.Fatalf("stats %+v", st)
		}
	})
}

// A dashboard at 7 reconnects to a gateway that has read up to 5: it must not jump back.
func TestLaggingGatewayIsDiscarded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.ready(1)
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 7, Seq: 70})
		shows(t, w, "a", "live 7@70")
		p.close(wire.CloseServiceRestart)
		p = g.ready(1)
		p.expect(subscribe("a"))
		shows(t, w, "a", "waiting 7@70")
		p.subscribed(wire.LinkCount{Link: "a", Count: 5, Seq: 50})
		shows(t, w, "a", "live 7@70")
		p.update("a", 6, 1, 60)
		shows(t, w, "a", "live 7@70")
		p.update("a", 7, 1, 70)
		shows(t, w, "a", "live 7@70")
		p.update("a", 8, 1, 80)
		shows(t, w, "a", "live 8@80")
		if st := w.Stats(); st.Violations != 0 || st.Discarded != 3 {
			t.Fatalf("stats %+v", st)
		}
	})
}

// A client shows 1@1; the totals roll back; the reconnect is told 0@0, which is discarded; two clicks conflate into count 2,
// delta 2. On the wire all is right, 0 + 2 = 2; checked against what is shown it would not be.
func TestDeltaIsCheckedAgainstWhatWasTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.ready(1)
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 1, Seq: 1})
		shows(t, w, "a", "live 1@1")
		p.close(wire.CloseGoingAway)
		p = g.ready(1)
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 0, Seq: 0})
		shows(t, w, "a", "live 1@1")
		p.update("a", 2, 2, 2)
		shows(t, w, "a", "live 2@2")
		if st := w.Stats(); st.Violations != 0 || st.Discarded != 1 {
			t.Fatalf("stats %+v", st)
		}
	})
}

func TestViolationHealsByItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.ready(1)
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 10, Seq: 10})
		p.update("a", 15, 4, 15) // one is missing
		p.expect(subscribe("a"))
		shows(t, w, "a", "waiting 15@15")
		p.update("a", 99, 1, 16) // of the subscription before
		shows(t, w, "a", "waiting 15@15")
		p.subscribed(wire.LinkCount{Link: "a", Count: 16, Seq: 17})
		p.update("a", 17, 1, 18)
		shows(t, w, "a", "live 17@18")
		if st := w.Stats(); st.Violations != 1 {
			t.Fatalf("stats %+v", st)
		}
	})
}

// An update of the first subscription comes between an unsubscribe and the answer to the subscribe after it.
func TestUpdatesOfAnEarlierSubscriptionAreIgnored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.ready(1)
		p.expect(subscribe("a"))
		w.Remove("a")
		p.expect(unsubscribe("a")) // while the answer to the first is still on its way
		add(t, w, "a")
		synctest.Wait()
		p.subscribed(wire.LinkCount{Link: "a", Count: 3, Seq: 3}) // the first answer
		p.update("a", 4, 1, 4)
		shows(t, w, "a", "waiting")
		p.send(wire.AppendUnsubscribed(nil, wire.Unsubscribed{Links: []string{"a"}}))
		p.expect(subscribe("a"))
		p.update("a", 9, 1, 9)
		shows(t, w, "a", "waiting")
		p.subscribed(wire.LinkCount{Link: "a", Count: 5, Seq: 5})
		p.update("a", 6, 1, 6)
		shows(t, w, "a", "live 6@6")
		if st := w.Stats(); st.Violations != 0 {
			t.Fatalf("stats %+v", st)
		}
	})
}

// Removed and added again before the writer looked: the subscription never ended, and needs a count to go on from.
func TestRemoveAndAddAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.ready(1)
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 3, Seq: 3})
		synctest.Wait()
		w.mu.Lock()
		w.ledger.remove("a")
		w.ledger.add("a")
		w.mu.Unlock()
		w.nudge()
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 4, Seq: 4})
		shows(t, w, "a", "live 4@4")
	})
}

func TestEpochs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g1, g2 := newGateway(t, m, at1), newGateway(t, m, at2)
		w := watch(t, m, WatchOptions{}, at1)
		w.urls = []string{"http://" + at1 + "/ws", "http://" + at2 + "/ws"} // tried in this order
		add(t, w, "a")
		// A random one is tried first; whichever it is has epoch 2.
		var p, other *peer
		var next *gateway
		select {
		case p = <-g1.peers:
			next = g2
		case p = <-g2.peers:
			next = g1
		}
		defer p.end()
		p.send(wire.AppendReady(nil, wire.Ready{Protocol: 1, HeartbeatMs: 15000, Epoch: 2}))
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 100, Seq: 100})
		shows(t, w, "a", "live 100@100")
		time.Sleep(time.Minute / 4)
		p.close(wire.CloseServiceRestart)

		// The other gateway has not heard of epoch 2 yet: it must not be believed.
		other = next.ready(1)
		synctest.Wait()
		s := phase(t, w, PhaseReconnecting)
		if !errors.Is(s.Err, errOldEpoch) || w.Stats().OldEpochs != 1 {
			t.Fatalf("state %+v, stats %+v", s, w.Stats())
		}
		shows(t, w, "a", "waiting 100@100")
		other.end()

		// A higher epoch starts afresh, and its lower numbers are shown.
		select {
		case p = <-g1.peers:
		case p = <-g2.peers:
		}
		defer p.end()
		p.send(wire.AppendReady(nil, wire.Ready{Protocol: 1, HeartbeatMs: 15000, Epoch: 3}))
		shows(t, w, "a", "waiting")
		p.expect(subscribe("a"))
		p.subscribed(wire.LinkCount{Link: "a", Count: 2, Seq: 4})
		shows(t, w, "a", "live 2@4")
	})
}

// waits closes a connection with each code and looks when the client comes back.
func TestUnknownMessagesAndErrorsGoOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.ready(1)
		p.expect(subscribe("a"))
		p.send([]byte(`{"type":"weather","sun":true}`))
		p.send(wire.AppendError(nil, wire.Error{Code: "later", Message: "of a later version"}))
		p.subscribed(wire.LinkCount{Link: "a", Count: 1, Seq: 1})
		shows(t, w, "a", "live 1@1")
		if st := w.Stats(); st.Errors != 1 || st.LastError.Code != "later" || st.Messages != 4 {
			t.Fatalf("stats %+v", st)
		}
		p.send([]byte(`no JSON`))
		phase(t, w, PhaseReconnecting)
	})
}

func TestUpdatesConflate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a", "b")
		var got []string
		ended := make(chan struct{})
		release := make(chan struct{})
		go func() {
			defer close(ended)
			for u, err := range w.Updates(t.Context()) {
				if err != nil {
					t.Errorf("iterator: %v", err)
				}
				got = append(got, fmt.Sprintf("%s %d %+d %v", u.Link, u.Count, u.Delta, u.Status))
				if u.Link == "b" && u.Count == 1 {
					<-release
				}
			}
		}()
		p := g.ready(1)
		p.expect(subscribe("a", "b"))
		synctest.Wait()
		p.subscribed(wire.LinkCount{Link: "a", Count: 10, Seq: 1}, wire.LinkCount{Link: "b", Count: 1, Seq: 1})
		synctest.Wait() // the reader is stuck; a thousand changes leave one each
		for i := range int64(1000) {
			p.update("a", 11+i, 1, 2+i)
			p.update("b", 2+i, 1, 2+i)
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		w.Close()
		<-ended
		want := "a 0 +0 waiting, b 0 +0 waiting, a 10 +0 live, b 1 +0 live, a 1010 +1000 live, b 1001 +1000 live"
		// The end of the connection is a change too: nothing is live any more.
		want += ", a 1010 +0 waiting, b 1001 +0 waiting"
		if s := sortedTail(got); s != want {
			t.Fatalf("got  %s\nwant %s", s, want)
		}
	})
}

// sortedTail joins what an iterator gave; the last two may come in any order.
func sortedTail(got []string) string {
	if n := len(got); n >= 2 && got[n-2] > got[n-1] {
		got[n-2], got[n-1] = got[n-1], got[n-2]
	}
	return strings.Join(got, ", ")
}

func TestManyLinksFitTheLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{Interval: time.Second}, at1)
		links := make([]string, wire.MaxSubscriptions)
		for i := range links {
			links[i] = fmt.Sprintf("%0128d", i)
		}
		add(t, w, links...)
		if err := w.Add("more"); !errors.Is(err, ErrTooManyLinks) {
			t.Fatalf("Add = %v", err)
		}
		if err := w.Add("not a link"); err == nil {
			t.Fatal("a bad link was taken")
		}
		p := g.ready(1)
		p.expect(`{"type":"subscribe","links":[],"interval_ms":1000}`)
		seen := map[string]bool{}
		tokens, last := float64(wire.MessageBurst-1), time.Now()
		for len(seen) < len(links) {
			_, b, err := p.conn.Read(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tokens = min(wire.MessageBurst, tokens+float64(time.Since(last))/float64(wire.MessageInterval)) - 1
			if last = time.Now(); tokens < 0 || len(b) > wire.MaxClientMessage {
				t.Fatalf("a gateway would refuse %d bytes with %.1f messages left", len(b), tokens)
			}
			msg, err := wire.DecodeClient(b)
			if err != nil {
				t.Fatal(err)
			}
			for _, link := range msg.Links {
				seen[link] = true
			}
		}
	})
}
