package hub

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// may returns an identity that does not expire, with grants.
func may(patterns ...string) *auth.Identity {
	g, err := auth.ParseGrants(patterns)
	if err != nil {
		panic(err)
	}
	return &auth.Identity{Subject: "somebody", Grants: g}
}

// A connection may see some links only; the others are named, whether they exist or not, and no watch is begun for them.
func TestDenied(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 1}, func(h *harness) {
		t := h.t
		all := h.connect(t)
		all.session.Subscribe([]string{"theirs"}, -1)
		h.counts.click("theirs", 7)
		c := h.connectAs(t, may("mine", "my:*"))
		denied := []string{"theirs", "nobodys", "my", "min"}
		c.session.Subscribe(slices.Concat([]string{"mine", "my:own"}, denied), -1)
		synctest.Wait()
		got := c.of("subscribed")
		if len(got) != 1 || !slices.Equal(linkNames(got[0].Links), []string{"mine", "my:own"}) || !slices.Equal(got[0].Denied, denied) {
			t.Fatalf("subscribed %+v, want two links, and %q denied", got, denied)
		}
		if n := h.counts.watched(); n != 3 { // both, and the one of the other connection
			t.Fatalf("%d links watched, want 3", n)
		}
		for _, link := range denied[1:] {
			if h.counts.links[link] != nil {
				t.Fatalf("the counts were asked for %q", link)
			}
		}
		h.counts.click("theirs", 1)
		synctest.Wait()
		if n := len(c.of("click_update")); n != 0 {
			t.Fatalf("%d updates of a denied link", n)
		}
		if n := h.metric("denied_links_total"); n != float64(len(denied)) {
			t.Fatalf("%v links counted as denied, want %d", n, len(denied))
		}
	})
}

// What is answered for a denied link is the same for one that is watched, one that was clicked and one that never was, and
// for one whose total is being read: not a byte differs, and no time.
func TestDeniedTellsNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 1}, func(h *harness) {
		t := h.t
		all := h.connect(t)
		h.counts.click("watched", 3)
		h.counts.land("syncing", false)
		h.counts.click("clicked", 5)
		all.session.Subscribe([]string{"watched", "syncing"}, -1)
		time.Sleep(time.Second)
		c := h.connectAs(t, may("mine"))
		bytes := -1
		for _, link := range []string{"watched", "syncing", "clicked", "unknown"} {
			before, n := c.written(), len(c.of("subscribed"))
			start := c.size()
			c.session.Subscribe([]string{link}, -1)
			synctest.Wait()
			got := c.of("subscribed")[n:]
			if len(got) != 1 || len(got[0].Links)+len(got[0].Syncing) != 0 || !slices.Equal(got[0].Denied, []string{link}) {
				t.Fatalf("%s: subscribed %+v", link, got)
			}
			if c.written()-before != 1 {
				t.Fatalf("%s: %d writes", link, c.written()-before)
			}
			if size := c.size() - start; bytes != -1 && size != bytes {
				t.Fatalf("%s: %d bytes, want %d", link, size, bytes)
			} else {
				bytes = size
			}
		}
	})
}

// The limit is on what a connection may have: links that are denied are none of it.
func TestDeniedLinksAreNoSubscriptions(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connectAs(t, may("link-*"))
		var theirs []string
		for _, l := range links(0, 500) {
			theirs = append(theirs, "their-"+l)
		}
		c.session.Subscribe(links(0, 600), -1)
		c.session.Subscribe(slices.Concat(links(600, 1000), theirs), -1)
		c.session.Subscribe(slices.Concat(links(0, 1000), theirs), -1)
		synctest.Wait()
		if got := h.metric("subscriptions"); got != wire.MaxSubscriptions || len(c.of("error")) != 0 {
			t.Fatalf("%v subscriptions, want %d; errors %+v", got, wire.MaxSubscriptions, c.of("error"))
		}
		c.session.Subscribe(slices.Concat(theirs, []string{"link-1000"}), -1)
		synctest.Wait()
		if errs := c.of("error"); len(errs) != 1 || errs[0].Code != string(wire.ErrTooManySubscriptions) {
			t.Fatalf("errors %+v", errs)
		}
	})
}

// A refresh swaps what a connection may see: what the new identity covers goes on where it was, and of what it does not the
// client is told in front of the `ready`, whatever state it was in.
func TestRefresh(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 1}, func(h *harness) {
		t := h.t
		h.counts.land("a:syncing", false)
		h.counts.land("b:syncing", false)
		h.counts.land("a:asked", false)
		h.counts.land("b:asked", false)
		c := h.connectAs(t, may("a:*", "b:*"))
		c.session.Subscribe([]string{"a:1", "a:2", "b:1", "b:2", "a:syncing", "b:syncing"}, -1)
		time.Sleep(time.Second)
		h.counts.click("b:1", 2)
		h.counts.click("a:1", 1)
		synctest.Wait()
		c.stall()
		for range 2 { // the first one blocks the connection, so the second is owed when the refresh comes
			h.counts.click("a:1", 1)
			h.counts.click("b:1", 1)
			synctest.Wait()
		}
		c.session.Subscribe([]string{"a:asked", "b:asked"}, -1)
		c.session.Refresh(may("b:*"))
		h.counts.click("a:1", 1)
		h.counts.click("b:1", 1)
		for _, link := range []string{"a:syncing", "b:syncing", "a:asked", "b:asked"} {
			h.counts.land(link, true)
		}
		synctest.Wait()
		c.resume()
		synctest.Wait()

		var types []string
		for _, m := range c.all() {
			types = append(types, m.Type)
		}
		last := slices.Index(types, "unsubscribed")
		if last < 0 || !slices.Equal(types[last-1:last+2], []string{"subscribed", "unsubscribed", "ready"}) {
			t.Fatalf("messages %v, want unsubscribed and ready behind the answer that was asked for before", types)
		}
		dropped := c.all()[last]
		if want := []string{"a:1", "a:2", "a:asked", "a:syncing"}; !slices.Equal(linkNames(dropped.Links), want) || dropped.Reason == nil || *dropped.Reason != "grant" {
			t.Fatalf("unsubscribed %q for %v, want %q for a grant", linkNames(dropped.Links), dropped.Reason, want)
		}
		for _, m := range c.all()[last+1:] {
			if strings.HasPrefix(m.Link, "a:") || len(linkNames(m.Links)) > 0 && strings.HasPrefix(linkNames(m.Links)[0], "a:") {
				t.Fatalf("%+v behind the unsubscribed", m)
			}
		}
		if got := c.holds("b:1"); got != 5 { // and the client has added up the deltas
			t.Fatalf("b:1 %d, want 5", got)
		}
		if c.holds("b:asked") != 0 || c.holds("b:syncing") != 0 {
			t.Fatalf("b:asked %d, b:syncing %d: what is kept never got its count", c.holds("b:asked"), c.holds("b:syncing"))
		}
		if n := h.counts.watched(); n != 4 {
			t.Fatalf("%d links watched, want 4", n)
		}
		if n := h.metric("withdrawn_subscriptions_total"); n != 4 {
			t.Fatalf("%v subscriptions counted as withdrawn, want 4", n)
		}
		c.session.Subscribe([]string{"a:1", "b:1"}, -1)
		synctest.Wait()
		if got := c.of("subscribed"); !slices.Equal(got[len(got)-1].Denied, []string{"a:1"}) {
			t.Fatalf("subscribed %+v: the new identity does not decide", got[len(got)-1])
		}
	})
}

// A refresh that covers all that there is says nothing but `ready`.
func TestRefreshThatKeepsEverything(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connectAs(t, may("a", "b"))
		c.session.Subscribe([]string{"a", "b"}, -1)
		c.session.Refresh(may("*"))
		c.session.Subscribe([]string{"c"}, -1)
		synctest.Wait()
		if len(c.of("ready")) != 2 || len(c.of("unsubscribed")) != 0 || c.holds("a") != 0 || c.holds("c") != 0 {
			t.Fatalf("messages %+v", c.all())
		}
	})
}

// The longest list that a refresh can withdraw is one message that a client can read.
func TestRefreshThatDropsEverything(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		long := links(0, wire.MaxSubscriptions)
		for i, l := range long {
			long[i] = l + strings.Repeat("x", 128-len(l))
		}
		for part := range slices.Chunk(long, 100) {
			c.session.Subscribe(part, -1)
		}
		synctest.Wait()
		before := c.size()
		c.session.Refresh(may("other"))
		synctest.Wait()
		got := c.of("unsubscribed")
		if len(got) != 1 || !slices.Equal(linkNames(got[0].Links), slices.Sorted(slices.Values(long))) {
			t.Fatalf("%d unsubscribed, want one with every link", len(got))
		}
		if size := c.size() - before; size > wire.MaxServerMessage {
			t.Fatalf("%d bytes, and a client takes %d", size, wire.MaxServerMessage)
		}
		if h.counts.watched() != 0 || h.metric("subscriptions") != 0 {
			t.Fatalf("%d links watched, %v subscriptions; want none", h.counts.watched(), h.metric("subscriptions"))
		}
	})
}

// `ready` says when the token expires, which is before the connection ends: clocks differ.
func TestReadySaysWhenTheTokenExpires(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(h *harness) {
		t := h.t
		c := h.connect(t)
		id := may("a")
		id.ExpiresAt = time.Now().Add(time.Hour)
		c.session.Refresh(id)
		synctest.Wait()
		ready := c.of("ready")
		if len(ready) != 2 || ready[0].ExpiresAt != 0 || ready[1].ExpiresAt != id.ExpiresAt.UnixMilli() {
			t.Fatalf("ready %+v, want the second to expire at %d", ready, id.ExpiresAt.UnixMilli())
		}
	})
}

// An unsubscribe of links that a grant does not cover is answered like any other.
func TestUnsubscribeOfDeniedLinks(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 1}, func(h *harness) {
		t := h.t
		all, c := h.connect(t), h.connectAs(t, may("a"))
		all.session.Subscribe([]string{"a", "b"}, -1)
		c.session.Subscribe([]string{"a"}, -1)
		c.session.Unsubscribe([]string{"b", "a", "c"})
		synctest.Wait()
		got := c.of("unsubscribed")
		if len(got) != 1 || !slices.Equal(linkNames(got[0].Links), []string{"a", "b", "c"}) || got[0].Reason != nil {
			t.Fatalf("unsubscribed %+v", got)
		}
		if all.holds("b") != 0 || h.counts.watched() != 2 {
			t.Fatal("somebody else's subscription ended")
		}
	})
}
