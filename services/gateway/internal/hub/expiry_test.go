package hub

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// until returns an identity that may see everything and ends at a time from now.
func until(d time.Duration) *auth.Identity {
	id := may("*")
	id.ExpiresAt = time.Now().Add(d - auth.Leeway)
	return id
}

// endedBy fails the test unless the client was told an error and then closed, and nothing else since it had read n messages.
func (c *client) endedBy(t *testing.T, n int, code string, closeCode int) {
	t.Helper()
	got := c.all()
	if len(got) != n+1 || got[n].Type != "error" || got[n].Code != code || c.closeCode() != closeCode {
		t.Fatalf("messages %+v, close %d; want %d, then the error %s and close %d", got, c.closeCode(), n, code, closeCode)
	}
}

// alive fails the test where a client was told that it ends.
func (c *client) alive(t *testing.T) {
	t.Helper()
	if c.closeCode() != 0 || c.isClosed() {
		t.Fatalf("the connection has ended: close %d, messages %+v", c.closeCode(), c.all())
	}
}

// An identity ends when it does, to the millisecond, however near or far that is: within a heartbeat, after some, and after so
// many that the wheel has turned thousands of times.
func TestExpiry(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{
		time.Millisecond, time.Second, 15 * time.Second, 15*time.Second + time.Millisecond, 22 * time.Second, time.Minute, 12 * time.Hour,
	} {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, Config{Heartbeat: 15 * time.Second, Loops: 1}, func(h *harness) {
				t := h.t
				forever := h.connect(t)
				c := h.connectAs(t, until(d))
				c.answerPings()
				forever.answerPings()
				c.session.Subscribe([]string{"a"}, -1)
				forever.session.Subscribe([]string{"a"}, -1)
				time.Sleep(d - time.Millisecond)
				h.counts.click("a", 1)
				synctest.Wait()
				c.alive(t)
				if c.holds("a") != 1 {
					t.Fatalf("a %d, want 1", c.holds("a"))
				}
				n := len(c.all())
				time.Sleep(time.Millisecond)
				synctest.Wait()
				c.endedBy(t, n, "token_expired", 4401)
				h.counts.click("a", 1)
				synctest.Wait()
				if forever.holds("a") != 2 {
					t.Fatalf("a %d for who does not expire, want 2", forever.holds("a"))
				}
				c.session.Gone(1006, "")
				synctest.Wait()
				if h.metric("sessions_evicted_total", "expired") != 1 || h.metric("sessions_closed_total", "4401") != 1 {
					t.Fatal("not counted as expired")
				}
				forever.alive(t)
			})
		})
	}
}

// A refresh moves the end: back, also over many heartbeats, and forward, also in front of an end that was near.
func TestRefreshMovesTheEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ first, after, second time.Duration }{
		{time.Minute, 59 * time.Second, 2 * time.Hour},
		{10 * time.Second, 9 * time.Second, 3 * time.Second},
		{10 * time.Second, time.Second, 3 * time.Second},
		{time.Hour, time.Second, 3 * time.Second},
		{time.Hour, time.Second, 40 * time.Second},
		{0, time.Second, time.Minute},
	} {
		inBubble(t, Config{Heartbeat: 15 * time.Second, Loops: 1}, func(h *harness) {
			t := h.t
			id := until(tt.first)
			if tt.first == 0 {
				id = auth.Anybody()
			}
			c := h.connectAs(t, id)
			c.answerPings()
			time.Sleep(tt.after)
			c.session.Refresh(until(tt.second))
			time.Sleep(tt.second - time.Millisecond)
			synctest.Wait()
			c.alive(t)
			n := len(c.all())
			time.Sleep(time.Millisecond)
			synctest.Wait()
			c.endedBy(t, n, "token_expired", 4401)
		})
	}
}

// A refresh to an identity that does not expire, and one that has expired already.
func TestRefreshEndsTheEnd(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Heartbeat: 15 * time.Second}, func(h *harness) {
		t := h.t
		c := h.connectAs(t, until(10*time.Second))
		c.answerPings()
		c.session.Refresh(auth.Anybody())
		time.Sleep(time.Hour)
		synctest.Wait()
		c.alive(t)
		n := len(c.all())
		c.session.Refresh(until(-time.Second))
		synctest.Wait()
		c.endedBy(t, n, "token_expired", 4401)
	})
}

// One whose identity ends between its verification and its session is never ready.
func TestJoinTooLate(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connectAs(t, until(0))
		c.session.Subscribe([]string{"a"}, -1)
		synctest.Wait()
		c.endedBy(t, 0, "token_expired", 4401)
		if h.counts.watched() != 0 {
			t.Fatal("its subscription is watched")
		}
	})
}

// A connection that does not read when its identity ends gets nothing of what waited, only why, and no more time than any other.
func TestExpiryOfAStalledConnection(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 1}, func(h *harness) {
		t := h.t
		stalled := []*client{h.connectAs(t, until(time.Second)), h.connectAs(t, until(time.Second))}
		for _, c := range stalled {
			c.session.Subscribe([]string{"a"}, -1)
			synctest.Wait()
			c.stall()
			h.counts.click("a", 1) // blocks it
			synctest.Wait()
			h.counts.click("a", 1)
			c.session.Subscribe([]string{"b"}, -1)
		}
		n := len(stalled[0].all())
		time.Sleep(time.Second)
		synctest.Wait()
		stalled[0].resume()
		synctest.Wait()
		stalled[0].endedBy(t, n+1, "token_expired", 4401) // behind the update that the connection had taken
		time.Sleep(2*time.Second - time.Millisecond)
		synctest.Wait()
		if stalled[1].isClosed() {
			t.Fatal("dropped before its time to read is over")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !stalled[1].isClosed() || stalled[1].closeCode() != 0 || h.metric("sessions_dropped_total", "unanswered") != 2 {
			t.Fatal("not dropped")
		}
	})
}

// jumpyClock is a time of day that a test moves.
type jumpyClock struct{ ahead atomic.Int64 }

func (c *jumpyClock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *jumpyClock) jump(d time.Duration) { c.ahead.Add(int64(d)) }

// The time of day jumps an hour ahead, as after a machine slept: who has expired by it is told within a heartbeat, and nobody
// else notices. Heartbeats, paces and deltas do not go by it.
func TestClockJumpsAhead(t *testing.T) {
	t.Parallel()
	const beat = 15 * time.Second
	clock := &jumpyClock{}
	inBubble(t, Config{Heartbeat: beat, TimeOfDay: clock.now}, func(h *harness) {
		t := h.t
		var short, long []*client
		for range 20 {
			a, b := h.connectAs(t, until(50*time.Minute)), h.connectAs(t, until(70*time.Minute))
			for _, c := range []*client{a, b} {
				c.answerPings()
				c.session.Subscribe([]string{"a"}, -1)
			}
			short, long = append(short, a), append(long, b)
			time.Sleep(beat / 7)
		}
		near := h.connectAs(t, until(10*time.Second)) // its entry is in the wheel when the clock jumps
		clock.jump(time.Hour)
		time.Sleep(beat)
		h.counts.click("a", 1)
		synctest.Wait()
		for _, c := range append(short, near) {
			if c.closeCode() != 4401 {
				t.Fatal("goes on a heartbeat after its identity ended")
			}
		}
		for _, c := range long {
			c.alive(t)
			if c.holds("a") != 1 {
				t.Fatalf("a %d, want 1", c.holds("a"))
			}
			if beats := len(c.of("heartbeat")); beats > 5 {
				t.Fatalf("%d heartbeats in a minute", beats)
			}
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		for _, c := range long {
			if c.closeCode() != 4401 {
				t.Fatal("does not end by the time of day")
			}
		}
	})
}

// Whoever asks for something after the jump is not answered: that it has expired is found before the heartbeat.
func TestAskAfterTheClockJumped(t *testing.T) {
	t.Parallel()
	clock := &jumpyClock{}
	inBubble(t, Config{TimeOfDay: clock.now}, func(h *harness) {
		t := h.t
		for _, ask := range []func(*client){
			func(c *client) { c.session.Subscribe([]string{"a"}, -1) },
			func(c *client) { c.session.Unsubscribe([]string{"a"}) },
			func(c *client) { c.session.Refresh(auth.Anybody()) },
		} {
			c := h.connectAs(t, until(time.Minute))
			clock.jump(time.Hour)
			ask(c)
			synctest.Wait()
			c.endedBy(t, 1, "token_expired", 4401)
			clock.jump(-time.Hour)
		}
		if h.counts.watched() != 0 {
			t.Fatal("its subscription is watched")
		}
	})
}

// The time of day jumps back: identities are good for as long as it says, also where their end was a heartbeat away.
func TestClockJumpsBack(t *testing.T) {
	t.Parallel()
	const beat = 15 * time.Second
	clock := &jumpyClock{}
	clock.jump(3 * time.Hour)
	inBubble(t, Config{Heartbeat: beat, TimeOfDay: clock.now}, func(h *harness) {
		t := h.t
		near, far := h.connectAs(t, until(3*time.Hour+10*time.Second)), h.connectAs(t, until(3*time.Hour+time.Minute))
		near.answerPings()
		far.answerPings()
		clock.jump(-time.Hour)
		near.session.Subscribe([]string{"a"}, time.Minute)
		time.Sleep(time.Hour + 10*time.Second - time.Millisecond)
		h.counts.click("a", 1)
		synctest.Wait()
		near.alive(t)
		if near.holds("a") != 1 {
			t.Fatalf("a %d, want 1", near.holds("a"))
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if near.closeCode() != 4401 {
			t.Fatal("does not end by the time of day")
		}
		far.alive(t)
		clock.jump(-time.Minute)
		time.Sleep(49 * time.Second)
		far.alive(t)
		clock.jump(time.Minute + time.Second) // its entry had been looked at, and put off
		time.Sleep(beat)
		synctest.Wait()
		if far.closeCode() != 4401 {
			t.Fatal("does not end by the time of day")
		}
	})
}

// Tokens of one second expire in one millisecond. Everybody is cut off in that turn, and told in portions, so that the others
// are told counts in every turn meanwhile.
func TestManyExpireAtOnce(t *testing.T) {
	t.Parallel()
	const sessions = 5000
	synctest.Test(t, func(t *testing.T) {
		m := newManual(t, 1, 1)
		kept := m.sinks[0]
		id := until(10 * time.Second)
		for range sessions {
			m.join(t, id, m.links)
		}
		m.turn()
		time.Sleep(10 * time.Second)
		turns, told := 0, m.writes()-kept.writes
		for more := true; more; turns++ {
			m.counts.click("link-0", 1)
			before := kept.writes
			more = m.l.turn()
			time.Sleep(capEvery * time.Millisecond) // the link is not hot
			if kept.writes != before+1 {
				t.Fatalf("turn %d: %d writes to who stays, want 1", turns, kept.writes-before)
			}
			if n := m.writes() - kept.writes - told; n > dismissals*(turns+1) {
				t.Fatalf("turn %d: %d sessions were written to", turns, n)
			}
		}
		if want := (sessions + dismissals - 1) / dismissals; turns < want || turns > want+2 {
			t.Fatalf("%d turns, want %d", turns, want)
		}
	})
}

// Identities that end far off take no room in the wheel, and however often and to whatever end one is refreshed, its entries are
// no more than there are seconds in a heartbeat.
func TestExpiryInTheWheel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(t *testing.T) {
			defer func() { failed = recover() }()
			m := newManual(t, 0, 0)
			m.l.hub.beatEvery = 15_000
			s := m.join(t, until(12*time.Hour), nil)
			m.turn()
			if n := m.l.wheel.entries(); n != 1 {
				rt.Fatalf("%d entries, want the heartbeat's", n)
			}
			for range 300 {
				in := time.Duration(rapid.IntRange(1, 30).Draw(rt, "in")) * time.Second
				m.l.mail.put(post{session: s, kind: postRefresh, id: until(in)})
				time.Sleep(time.Duration(rapid.IntRange(0, 500).Draw(rt, "ms")) * time.Millisecond)
				s.Heard()
				m.turn()
				if n := m.l.wheel.entries(); n > 1+16 {
					rt.Fatalf("%d entries", n)
				}
			}
		})
		if failed != nil {
			panic(failed)
		}
	})
}

// entries counts what is in the wheel.
func (w *wheel) entries() int {
	n := max(0, len(w.nodes)-1)
	for i := w.free; i != 0; i = w.nodes[i].next {
		n--
	}
	return n
}

// A session has the size of one of the allocator's classes: one byte more costs every connection 16.
func TestSessionSize(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(Session{}); size > 160 {
		t.Errorf("%d bytes, want at most 160", size)
	}
}
