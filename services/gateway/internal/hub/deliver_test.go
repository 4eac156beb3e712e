package hub

import (
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

func TestReadyComesFirst(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		if len(c.all()) != 1 || c.all()[0].Type != "ready" {
			t.Fatalf("messages %+v, want ready", c.all())
		}
	})
}

// A connection has one name, however often it is told `ready`, and no other has the same.
func TestNameOfAConnection(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 2}, func(h *harness) {
		t := h.t
		owner := map[string]*client{}
		for range 50 {
			c := h.connect(t)
			c.session.Refresh(auth.Anybody())
			synctest.Wait()
			ready := c.of("ready")
			if len(ready) != 2 || !regexp.MustCompile("^c_[0-9a-f]{12}$").MatchString(ready[0].Connection) || ready[1].Connection != ready[0].Connection {
				t.Fatalf("ready %+v, want two with one name", ready)
			}
			if owner[ready[0].Connection] != nil {
				t.Fatalf("two connections are called %s", ready[0].Connection)
			}
			owner[ready[0].Connection] = c
			c.session.Gone(1000, "") // its place is used again
		}
	})
}

func TestUpdateGoesOutAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		h.counts.click("a", 5)
		c.session.Subscribe([]string{"a", "b"}, -1)
		synctest.Wait()
		if c.holds("a") != 5 || c.holds("b") != 0 {
			t.Fatalf("subscribed: a %d b %d, want 5 and 0", c.holds("a"), c.holds("b"))
		}
		start := time.Now()
		h.counts.click("a", 2)
		synctest.Wait()
		if c.holds("a") != 7 || time.Since(start) != 0 {
			t.Fatalf("a %d after %v, want 7 at once", c.holds("a"), time.Since(start))
		}
	})
}

// One write carries all that is owed, and what several links changed at once is one write.
func TestOneWritePerFlush(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 1}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		ten := links(0, 10)
		c.session.Subscribe(ten, -1)
		synctest.Wait()
		c.stall()
		h.counts.click("link-0", 1) // this one blocks the connection
		synctest.Wait()
		for range 3 {
			for _, l := range ten {
				h.counts.click(l, 1)
			}
			synctest.Wait()
		}
		before := c.written()
		c.resume()
		synctest.Wait()
		if got := c.written() - before; got != 2 { // what waited, and everything since
			t.Fatalf("%d writes, want 2", got)
		}
		for i, l := range ten {
			want := int64(3)
			if i == 0 {
				want = 4
			}
			if c.holds(l) != want {
				t.Fatalf("%s %d, want %d", l, c.holds(l), want)
			}
		}
	})
}

// A subscribed waits 100 ms for a total, no longer, and what lands later has one of its own.
func TestSyncingGrace(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		h.counts.land("slow", false)
		h.counts.land("quick", false)
		c := h.connect(t)
		c.session.Subscribe([]string{"known", "slow", "quick"}, -1)
		time.Sleep(50 * time.Millisecond)
		h.counts.land("quick", true)
		synctest.Wait()
		if n := len(c.of("subscribed")); n != 0 {
			t.Fatalf("%d subscribed while a total is being read, want none yet", n)
		}
		time.Sleep(49 * time.Millisecond)
		synctest.Wait()
		if n := len(c.of("subscribed")); n != 0 {
			t.Fatalf("%d subscribed after 99 ms", n)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		got := c.of("subscribed")
		if len(got) != 1 || len(got[0].Links) != 2 || !slices.Equal(got[0].Syncing, []string{"slow"}) {
			t.Fatalf("subscribed %+v, want known and quick, and slow syncing", got)
		}
		h.counts.click("slow", 3) // still not known: no update
		synctest.Wait()
		time.Sleep(time.Second)
		h.counts.land("slow", true)
		synctest.Wait()
		if c.holds("slow") != 3 || len(c.of("click_update")) != 0 {
			t.Fatalf("slow %d, updates %v; want 3 by a subscribed", c.holds("slow"), c.of("click_update"))
		}
	})
}

// All totals there before the 100 ms are over: the answer does not wait for the rest of them.
func TestAnswerAsSoonAsAllIsKnown(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		h.counts.land("a", false)
		h.counts.land("b", false)
		c := h.connect(t)
		c.session.Subscribe([]string{"a", "b"}, -1)
		time.Sleep(10 * time.Millisecond)
		h.counts.land("a", true)
		h.counts.land("b", true)
		synctest.Wait()
		got := c.of("subscribed")
		if len(got) != 1 || len(got[0].Links) != 2 || got[0].at != 10*time.Millisecond {
			t.Fatalf("subscribed %+v, want both after 10 ms", got)
		}
	})
}

// Answers come in the order of the requests: the next request makes the waiting answer go out as it stands.
func TestAnswersInOrder(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		h.counts.land("slow", false)
		c := h.connect(t)
		c.session.Subscribe([]string{"slow"}, -1)
		c.session.Unsubscribe([]string{"slow"})
		c.session.Subscribe([]string{"slow"}, -1)
		h.counts.land("slow", true)
		synctest.Wait()
		var types []string
		for _, m := range c.all() {
			types = append(types, m.Type)
		}
		if want := []string{"ready", "subscribed", "unsubscribed", "subscribed"}; !slices.Equal(types, want) {
			t.Fatalf("messages %v, want %v", types, want)
		}
		if s := c.all()[1].Syncing; !slices.Equal(s, []string{"slow"}) {
			t.Fatalf("first answer: syncing %v", s)
		}
		if c.holds("slow") != 0 {
			t.Fatal("the last subscribed has no count")
		}
	})
}

// A subscription that is made anew states the count again, and deltas start there: no update may come before.
func TestResubscribe(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		c.session.Subscribe([]string{"a"}, -1)
		c.stall()
		h.counts.click("a", 1)
		synctest.Wait()
		h.counts.click("a", 1) // dirty, and then asked for again
		c.session.Subscribe([]string{"a"}, -1)
		h.counts.click("a", 1)
		synctest.Wait()
		c.resume()
		synctest.Wait()
		if c.holds("a") != 3 {
			t.Fatalf("a %d, want 3", c.holds("a"))
		}
		if n := h.metric("subscriptions"); n != 1 {
			t.Fatalf("%v subscriptions, want 1", n)
		}
	})
}

// The same while the answer waits for another link: what was owed from before the request is not sent in front of it.
func TestResubscribeBesideASlowLink(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		h.counts.land("slow", false)
		c := h.connect(t)
		c.session.Subscribe([]string{"a"}, -1)
		c.stall()
		h.counts.click("a", 1)
		synctest.Wait()
		h.counts.click("a", 1)
		synctest.Wait()
		c.session.Subscribe([]string{"a", "slow"}, -1)
		c.resume()
		h.counts.click("a", 1)
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if n := len(c.of("click_update")); n != 1 { // the one that blocked the connection
			t.Fatalf("%d updates before the subscribed, want 1", n)
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		if c.holds("a") != 3 || len(c.of("subscribed")) != 2 {
			t.Fatalf("a %d, want 3 by a subscribed", c.holds("a"))
		}
	})
}

// A total that is lost again while an answer waits is waited for again.
func TestTotalLostWhileTheAnswerWaits(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		h.counts.land("b", false)
		c := h.connect(t)
		c.session.Subscribe([]string{"a", "b"}, -1)
		synctest.Wait()
		h.counts.land("a", false)
		synctest.Wait()
		h.counts.land("b", true)
		synctest.Wait()
		if n := len(c.of("subscribed")); n != 0 {
			t.Fatalf("%d answers without the total of a", n)
		}
		h.counts.land("a", true)
		synctest.Wait()
		if got := c.of("subscribed"); len(got) != 1 || len(got[0].Links) != 2 {
			t.Fatalf("subscribed %+v, want both", got)
		}
	})
}

// The last unsubscribe ends the watch: nothing of a link is kept until somebody asks again.
func TestUnsubscribeForgets(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 2}, func(h *harness) {
		t := h.t
		a, b := h.connect(t), h.connect(t)
		for _, c := range []*client{a, b} {
			c.session.Subscribe(links(0, 5), -1)
		}
		synctest.Wait()
		a.session.Unsubscribe([]string{"link-1", "link-3", "never"})
		synctest.Wait()
		if got := a.of("unsubscribed"); len(got) != 1 || len(got[0].Links) != 3 {
			t.Fatalf("unsubscribed %+v, want all three", got)
		}
		for _, l := range links(0, 5) {
			h.counts.click(l, 1)
		}
		synctest.Wait()
		if n := len(a.of("click_update")); n != 3 {
			t.Fatalf("%d updates, want 3", n)
		}
		b.session.Gone(1000, "")
		a.session.Unsubscribe(links(0, 5))
		synctest.Wait()
		if n := h.counts.watched(); n != 0 || h.metric("topics") != 0 || h.metric("subscriptions") != 0 {
			t.Fatalf("%d links watched, %v topics, %v subscriptions; want none", n, h.metric("topics"), h.metric("subscriptions"))
		}
	})
}

// What a blocked session is owed of a link survives that its subscription takes another one's place.
func TestUnsubscribeKeepsWhatIsOwedOfOthers(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		c.session.Subscribe(links(0, 3), -1)
		synctest.Wait()
		c.stall()
		h.counts.click("link-1", 1) // blocks the connection
		synctest.Wait()
		h.counts.click("link-2", 1)
		synctest.Wait()
		c.session.Unsubscribe([]string{"link-0"}) // link-2 takes its place
		c.resume()
		synctest.Wait()
		if c.holds("link-2") != 1 {
			t.Fatalf("link-2 %d, want 1", c.holds("link-2"))
		}
	})
}

// A total that is lost again, as after a loss in the log, stops updates until it is there.
func TestTotalLostAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		c.session.Subscribe([]string{"a"}, -1)
		synctest.Wait()
		h.counts.land("a", false)
		h.counts.click("a", 2)
		synctest.Wait()
		if n := len(c.of("click_update")); n != 0 {
			t.Fatalf("%d updates without a total", n)
		}
		h.counts.land("a", true)
		synctest.Wait()
		if c.holds("a") != 2 {
			t.Fatalf("a %d, want 2", c.holds("a"))
		}
	})
}

// One who does not read costs the others nothing, and gets the newest count when it reads again.
func TestSlowClientBlocksNobody(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 2}, func(h *harness) {
		t := h.t
		var slow []*client
		for range 500 {
			c := h.connect(t)
			c.session.Subscribe([]string{"a"}, -1)
			c.stall()
			slow = append(slow, c)
		}
		quick := h.connect(t)
		quick.session.Subscribe([]string{"a"}, -1)
		synctest.Wait()
		start := time.Now()
		for i := range int64(20) {
			h.counts.click("a", 1)
			synctest.Wait()
			if quick.holds("a") != i+1 || time.Since(start) != 0 {
				t.Fatalf("after %d clicks: %d in %v", i+1, quick.holds("a"), time.Since(start))
			}
		}
		if got := h.metric("sessions_blocked"); got != 500 {
			t.Fatalf("%v sessions blocked, want 500", got)
		}
		for _, c := range slow {
			c.resume()
		}
		synctest.Wait()
		for _, c := range slow {
			if c.holds("a") != 20 || c.updates("a") > 2 {
				t.Fatalf("%d in %d updates, want 20 in at most 2", c.holds("a"), c.updates("a"))
			}
		}
		if got := h.metric("sessions_blocked"); got != 0 {
			t.Fatalf("%v sessions blocked, want 0", got)
		}
	})
}
