package hub

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

func TestTooManySubscriptions(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		c.session.Subscribe(links(0, 600), -1)
		c.session.Subscribe(links(500, 1000), -1) // 100 of them anew
		synctest.Wait()
		if got := h.metric("subscriptions"); got != wire.MaxSubscriptions {
			t.Fatalf("%v subscriptions, want %d", got, wire.MaxSubscriptions)
		}
		c.session.Subscribe([]string{"link-1", "one-more"}, time.Hour)
		c.session.Subscribe([]string{"link-1"}, -1)
		synctest.Wait()
		errs := c.of("error")
		if len(errs) != 1 || errs[0].Code != string(wire.ErrTooManySubscriptions) || !strings.Contains(errs[0].Message, "1000") {
			t.Fatalf("errors %+v", errs)
		}
		if n := len(c.of("subscribed")); n != 3 {
			t.Fatalf("%d subscribed, want 3: nothing of the refused one", n)
		}
		h.counts.click("link-1", 1)
		synctest.Wait()
		h.counts.click("link-1", 1)
		synctest.Wait()
		if got := c.updates("link-1"); got != 2 {
			t.Fatalf("%d updates, want 2: the refused message's pace does not count", got)
		}
	})
}

// A session whose answers are not read is not listened to: its lane is bounded, and nothing of it is lost.
func TestFullLaneParksTheReader(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		c.stall()
		names := make([]string, 100)
		for i := range names {
			names[i] = strings.Repeat("x", 100) + links(i, i+1)[0]
		}
		asked := make(chan int, 100)
		go func() {
			for i := range cap(asked) {
				c.session.Subscribe(names, -1)
				asked <- i
			}
			close(asked)
		}()
		synctest.Wait()
		before := len(asked)
		if before == 0 || before > 12 {
			t.Fatalf("%d requests taken with nobody reading the answers, want a few", before)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(asked) != before {
			t.Fatal("the reader went on without room")
		}
		c.resume()
		synctest.Wait()
		if got := len(c.of("subscribed")); got != 100 {
			t.Fatalf("%d answers, want 100", got)
		}
	})
}

// What a stalled session owes is bounded by one write, however much changes: the rest is state.
func TestStalledSessionKeepsOneWrite(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		all := links(0, 1000)
		c.session.Subscribe(all, -1)
		synctest.Wait()
		c.stall()
		for range 3 {
			for _, l := range all {
				h.counts.click(l, 1)
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if c.waiting() > chunk+256 {
			t.Fatalf("%d bytes wait, want at most %d", c.waiting(), chunk+256)
		}
		c.resume()
		synctest.Wait()
		for _, l := range all {
			if c.holds(l) != 3 {
				t.Fatalf("%s %d, want 3", l, c.holds(l))
			}
		}
	})
}

// After its close frame a session is told nothing, and asks for nothing.
func TestNothingFollowsAClose(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		if n := h.metric("sessions"); n != 1 {
			t.Fatalf("%v sessions, want 1", n)
		}
		c.session.Subscribe([]string{"a"}, -1)
		c.session.Fail("bad_message", "no")
		c.session.Close(wire.ClosePolicyViolation)
		c.session.Subscribe([]string{"b"}, -1)
		c.session.Close(wire.CloseTooBig)
		h.counts.click("a", 1)
		time.Sleep(time.Second)
		synctest.Wait() // the client fails on a write behind the close frame
		if c.closeCode() != int(wire.ClosePolicyViolation) || len(c.of("error")) != 1 || len(c.of("subscribed")) != 1 {
			t.Fatalf("close %d, messages %+v", c.closeCode(), c.all())
		}
		c.session.Gone(wire.CloseNormal, "")
		synctest.Wait()
		if n := h.metric("sessions_closed_total", "1008"); n != 1 {
			t.Fatalf("%v sessions closed with 1008, want 1", n)
		}
		if n := h.metric("sessions"); n != 0 {
			t.Fatalf("%v sessions are left", n)
		}
	})
}

// A client may close with any code there is, and no label is its choice.
func TestLabelsOfCloseCodes(t *testing.T) {
	t.Parallel()
	labels := map[string]bool{}
	for code := range 1 << 16 {
		labels[codeLabel(wire.CloseCode(code))] = true
	}
	if n := len(wire.CloseTable()) + 1; len(labels) != n || !labels["other"] || !labels["1000"] {
		t.Fatalf("%d labels, want %d", len(labels), n)
	}
}
