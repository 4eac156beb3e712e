package hub

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// Heartbeat and ping ride on one write, every interval exactly, for a client that gets nothing else.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Heartbeat: 16 * time.Second, Loops: 1}, func(h *harness) {
		t := h.t
		h.counts.completeTo = time.Now().Add(-3 * time.Second)
		c := h.connect(t) // its place among the sixteen is the 8th: 8 s and half of 8 s
		for range 8 {
			time.Sleep(8 * time.Second)
			c.session.Heard()
		}
		synctest.Wait()
		beats := c.of("heartbeat")
		if len(beats) != 4 || len(c.kept()) != 4 {
			t.Fatalf("%d heartbeats, %d pings; want 4 of each", len(beats), len(c.kept()))
		}
		for i, b := range beats {
			want := 12*time.Second + time.Duration(i)*16*time.Second
			if b.at != want || c.pings[i] != want || b.write != i+2 {
				t.Fatalf("heartbeat %d at %v with ping at %v in write %d, want both at %v in write %d",
					i, b.at, c.pings[i], b.write, want, i+2)
			}
		}
		if lag := beats[0].LagMs; lag != 15_000 {
			t.Fatalf("lag %d ms, want 15000", lag)
		}
	})
}

// An update late in the interval carries the heartbeat, and the next one is a whole interval away.
func TestHeartbeatRidesOnUpdates(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Heartbeat: 16 * time.Second, Loops: 1}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		c.session.Subscribe([]string{"a"}, -1)
		for range 12 {
			time.Sleep(5 * time.Second)
			h.counts.click("a", 1)
			c.session.Heard()
			synctest.Wait()
		}
		writes := c.written()
		if n := len(c.of("heartbeat")); n != 6 {
			t.Fatalf("%d heartbeats in a minute, want 6", n)
		}
		if want := 1 + 1 + 12; writes != want {
			t.Fatalf("%d writes, want %d: no heartbeat of its own", writes, want)
		}
	})
}

func TestFirstHeartbeatsAreSpread(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Heartbeat: 16 * time.Second, Loops: 1}, func(h *harness) {
		t := h.t
		at := map[time.Duration]int{}
		var all []*client
		for range 32 {
			all = append(all, h.connect(t))
		}
		time.Sleep(16 * time.Second)
		synctest.Wait()
		for _, c := range all {
			at[c.of("heartbeat")[0].at]++
		}
		if len(at) != 16 {
			t.Fatalf("first heartbeats at %d different times, want 16: %v", len(at), at)
		}
	})
}

// A peer is dropped when it has been silent for two intervals, and not a moment before.
func TestSilentPeerIsDropped(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Heartbeat: 10 * time.Second}, func(h *harness) {
		t := h.t
		dead, alive := h.connect(t), h.connect(t)
		time.Sleep(7 * time.Second)
		dead.session.Heard() // the last time
		for range 19 {
			time.Sleep(time.Second)
			alive.session.Heard()
		}
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		if dead.isClosed() {
			t.Fatal("dropped before two intervals of silence")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !dead.isClosed() || alive.isClosed() {
			t.Fatalf("silent peer closed: %v, other: %v", dead.isClosed(), alive.isClosed())
		}
		if n := h.metric("sessions_dropped_total", "silent"); n != 1 {
			t.Fatalf("%v dropped as silent, want 1", n)
		}
	})
}

// A blocked connection gets one heartbeat when it can be written, not one per interval that it missed; and as long as it
// takes bytes it is alive.
func TestBlockedPeerKeepsState(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Heartbeat: 10 * time.Second, Loops: 1}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		c.session.Subscribe([]string{"a"}, -1)
		synctest.Wait()
		for range 5 {
			c.stall()
			h.counts.click("a", 1)
			time.Sleep(18 * time.Second)
			c.resume()
			synctest.Wait()
		}
		if c.isClosed() {
			t.Fatal("a slow peer was cut")
		}
		if got := len(c.of("heartbeat")); got > 6 {
			t.Fatalf("%d heartbeats, want at most one per stall", got)
		}
	})
}

// A pace is the least time between two updates of a link, per link, the last one wins, and the trailing count comes.
func TestPace(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 1}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		c.setPace(time.Second)
		c.session.Subscribe([]string{"a", "b"}, time.Second)
		synctest.Wait()
		start := time.Now()
		for range 250 { // 100 a second
			h.counts.click("a", 1)
			time.Sleep(10 * time.Millisecond)
		}
		h.counts.click("b", 1) // had no update yet: goes out at once
		synctest.Wait()
		if c.holds("b") != 1 {
			t.Fatal("the pace of one link delayed another")
		}
		if got := c.updates("a"); got != 3 { // at 0 s, 1 s, 2 s
			t.Fatalf("%d updates of a in 2.5 s, want 3", got)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if c.holds("a") != 250 || time.Since(start) != 3*time.Second {
			t.Fatalf("a %d, want 250: the trailing update", c.holds("a"))
		}
		// Slower, then none: what waits goes out at once.
		h.counts.click("a", 1)
		c.session.Subscribe([]string{"b"}, time.Hour)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if c.holds("a") != 250 {
			t.Fatal("the longer pace was not kept")
		}
		c.setPace(0)
		c.session.Subscribe([]string{"b"}, 0)
		synctest.Wait()
		if c.holds("a") != 251 {
			t.Fatal("the shorter pace left an update behind")
		}
	})
}

// A hot link is capped, its last count comes within the cap, and a cold link beside it never waits.
func TestHotLinkIsCapped(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 1}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		c.session.Subscribe([]string{"hot", "cold"}, -1)
		synctest.Wait()
		for i := range 2000 { // a click every millisecond
			h.counts.click("hot", 1)
			if i%100 == 50 {
				h.counts.click("cold", 1)
				synctest.Wait()
				if got := c.holds("cold"); got != int64(i/100+1) {
					t.Fatalf("cold %d, want %d", got, i/100+1)
				}
			}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		// The burst, and then one per 20 ms.
		if got := c.updates("hot"); got < 100 || got > 25+100+1 {
			t.Fatalf("%d updates in 2 s, want 100 to 126", got)
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if c.holds("hot") != 2000 {
			t.Fatalf("hot %d, want 2000: the trailing update", c.holds("hot"))
		}
		// Cooled down: at once again.
		time.Sleep(time.Second)
		for i := range int64(20) {
			h.counts.click("hot", 1)
			synctest.Wait()
			if c.holds("hot") != 2001+i {
				t.Fatalf("a cold link waits: %d", c.holds("hot"))
			}
			time.Sleep(25 * time.Millisecond)
		}
	})
}

func TestCapGap(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int64{0: 20, 1: 20, 83: 20, 84: 40, 166: 40, 300: 80, 400: 100, 100_000: 100} {
		if got := capGap(n); got != want {
			t.Errorf("capGap(%d) = %d ms, want %d", n, got, want)
		}
	}
}

// A drain tells everybody goodbye within its time, spread, and ends when the last one has gone.
func TestDrain(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 2}, func(h *harness) {
		t := h.t
		var all []*client
		for range 100 {
			c := h.connect(t)
			c.session.Subscribe([]string{"a"}, -1)
			all = append(all, c)
		}
		synctest.Wait()
		start := time.Now()
		drained := make(chan error)
		go func() { drained <- h.hub.Drain(t.Context(), "drain", 5*time.Second) }()
		synctest.Wait()
		if _, err := h.hub.Join(&client{r: t}, auth.Anybody()); !errors.Is(err, ErrDraining) {
			t.Fatalf("Join while draining: %v", err)
		}
		halves := [2]int{}
		for range 500 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
			for _, c := range all {
				if c.closeCode() == 0 || c.isClosed() {
					continue
				}
				if time.Since(start) <= 2500*time.Millisecond {
					halves[0]++
				} else {
					halves[1]++
				}
				c.CloseNow()
				c.session.Gone(1012, "")
			}
		}
		if err := <-drained; err != nil {
			t.Fatal(err)
		}
		if halves[0] < 25 || halves[1] < 25 || halves[0]+halves[1] != 100 {
			t.Fatalf("%v goodbyes in the halves of the drain, want 100, spread", halves)
		}
		after := map[int64]bool{}
		for _, c := range all {
			g := c.of("goodbye")
			if len(g) != 1 || *g[0].Reason != "drain" || c.closeCode() != 1012 || g[0].After >= 1000 {
				t.Fatalf("goodbye %+v, close %d", g, c.closeCode())
			}
			after[g[0].After] = true
		}
		if len(after) < 50 {
			t.Fatalf("%d different reconnect_after_ms for 100 clients", len(after))
		}
	})
}

// A peer that does not answer the close frame, or does not even read it, is dropped two seconds later.
func TestDrainDoesNotWaitForThePeer(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		silent, stalled := h.connect(t), h.connect(t)
		stalled.session.Subscribe([]string{"a"}, -1)
		synctest.Wait()
		stalled.stall()
		h.counts.click("a", 1)
		synctest.Wait()
		start := time.Now()
		if err := h.hub.Drain(t.Context(), "drain", 0); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 2*time.Second+time.Millisecond {
			t.Fatalf("took %v, want 2 s", took)
		}
		if silent.closeCode() != 1012 || !silent.isClosed() || !stalled.isClosed() || stalled.closeCode() != 0 {
			t.Fatalf("silent: code %d closed %v; stalled: code %d closed %v",
				silent.closeCode(), silent.isClosed(), stalled.closeCode(), stalled.isClosed())
		}
	})
}

func TestDrainEndsWithItsContext(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		h.connect(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := h.hub.Drain(ctx, "drain", time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Drain: %v", err)
		}
	})
}

// The end of the hub drops those that are left, and lets nobody wait.
func TestStop(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		h.stop()
		if !c.isClosed() {
			t.Fatal("session outlives the hub")
		}
		c.session.Subscribe([]string{"a"}, -1) // returns
		c.session.Gone(1000, "")
		if _, err := h.hub.Join(c, auth.Anybody()); !errors.Is(err, ErrDraining) {
			t.Fatalf("Join after the end: %v", err)
		}
	})
}
