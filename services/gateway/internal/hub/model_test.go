package hub

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// findings collects what clients find wrong, for the test to report from its own goroutine.
type findings struct {
	mu   sync.Mutex
	list []string
}

func (f *findings) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

func (f *findings) check(t *rapid.T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) > 0 {
		t.Fatalf("%d findings, the first: %s", len(f.list), f.list[0])
	}
}

// modelClient is a client and what it asked for.
type modelClient struct {
	*client
	identified
	wants   map[string]bool
	stalled bool
	asks    chan func() // done by the client's reader, one at a time
}

// model is a hub under any interleaving of clicks, subscriptions, paces, stalls, lost totals, time, and identities that are
// refreshed, revoked and expire. Its clients check every frame (harness_test.go): no update before its subscribed, previous
// count + delta == count, no write while blocked; and a judge of each (judge_test.go) that nothing is sent that its identity
// does not allow. Whoever's identity has ended must have been told so, and nobody else. At the end, when all are read and all
// is quiet, everybody must have the count of everything that they asked for and may see.
type model struct {
	h       *harness
	found   findings
	links   []string
	revoked *revocations
	issued  int // identities
	clients []*modelClient
}

func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var failed any // rapid ends a run by a panic, which must leave the bubble first
		synctest.Test(t, func(t *testing.T) {
			defer func() { failed = recover() }()
			runModel(t, rt)
		})
		if failed != nil {
			panic(failed)
		}
	})
}

func runModel(t *testing.T, rt *rapid.T) {
	t.Helper()
	m := &model{links: links(0, 6), revoked: newRevocations()}
	m.h = newHarness(t, Config{
		Loops:     rapid.IntRange(1, 3).Draw(rt, "loops"),
		Heartbeat: rapid.SampledFrom([]time.Duration{5 * time.Second, time.Hour}).Draw(rt, "heartbeat"), // ends are near, or beyond some
		Revoked:   m.revoked.has,
	})
	defer m.stop()
	steps := map[string]func(*rapid.T){
		"":            m.check,
		"connect":     m.connect,
		"disconnect":  m.disconnect,
		"click":       m.click,
		"subscribe":   m.subscribe,
		"unsubscribe": m.unsubscribe,
		"stall":       m.stall,
		"resume":      m.resume,
		"land":        m.land,
		"refresh":     m.refresh,
		"revoke":      m.revoke,
		"pass":        m.pass,
	}
	for range 4 { // of some 30 steps each
		rt.Repeat(steps)
	}
	m.settle(rt)
}

func (m *model) check(t *rapid.T) {
	if rapid.Bool().Draw(t, "settle") { // or let what was asked overlap with what is asked next
		synctest.Wait()
		m.verify(t)
	}
	m.found.check(t)
}

func (m *model) connect(t *rapid.T) {
	if len(m.clients) == 5 {
		t.Skip("enough clients")
	}
	c := &modelClient{
		client: &client{r: &m.found, contract: m.h.contract, start: time.Now(), held: map[string]*held{}},
		wants:  map[string]bool{}, asks: make(chan func(), 100),
	}
	c.id = m.identity(t, m.subject(t))
	c.since, c.busy = []*auth.Identity{c.id}, true
	c.judge = newJudge(&m.found, m.revoked, c.id)
	m.h.join(c.client, c.id)
	m.look(c)
	go func() {
		for ask := range c.asks {
			ask()
		}
	}()
	m.clients = append(m.clients, c)
}

func (m *model) pick(t *rapid.T) *modelClient {
	if len(m.clients) == 0 {
		t.Skip("no client")
	}
	return m.clients[rapid.IntRange(0, len(m.clients)-1).Draw(t, "client")]
}

func (m *model) some(t *rapid.T) []string {
	return rapid.SliceOfN(rapid.SampledFrom(m.links), 1, 4).Draw(t, "links")
}

func (m *model) disconnect(t *rapid.T) {
	c := m.pick(t)
	c.asks <- func() { c.session.Gone(1000, "") }
	close(c.asks)
	m.clients = slices.DeleteFunc(m.clients, func(o *modelClient) bool { return o == c })
}

func (m *model) click(t *rapid.T) {
	m.h.counts.click(rapid.SampledFrom(m.links).Draw(t, "link"), rapid.Int64Range(1, 3).Draw(t, "n"))
}

func (m *model) subscribe(t *rapid.T) {
	c, some := m.pick(t), m.some(t)
	pace := rapid.SampledFrom([]time.Duration{-1, -1, 0, 50 * time.Millisecond, time.Second}).Draw(t, "pace")
	var denied []string
	for _, l := range some {
		if c.id.Allows(l) {
			c.wants[l] = true
		} else {
			denied = append(denied, l)
		}
	}
	if len(denied) > 0 {
		c.mu.Lock()
		c.judge.denials = append(c.judge.denials, denied)
		c.mu.Unlock()
	}
	c.asks <- func() { c.session.Subscribe(some, pace) }
}

func (m *model) unsubscribe(t *rapid.T) {
	c, some := m.pick(t), m.some(t)
	for _, l := range some {
		delete(c.wants, l)
	}
	c.asks <- func() { c.session.Unsubscribe(some) }
}

func (m *model) stall(t *rapid.T) {
	c := m.pick(t)
	c.stalled = true
	c.unread = c.unread || c.fate != lives
	c.stall()
}

func (m *model) resume(t *rapid.T) {
	c := m.pick(t)
	c.stalled = false
	c.resume()
}

func (m *model) land(t *rapid.T) {
	m.h.counts.land(rapid.SampledFrom(m.links).Draw(t, "link"), rapid.Bool().Draw(t, "known"))
}

func (m *model) pass(t *rapid.T) {
	m.sleep(time.Duration(rapid.SampledFrom([]int{1, 20, 60, 150, 3000, 7000}).Draw(t, "ms")) * time.Millisecond)
}

// sleep lets time pass, which everything that was asked for is done before. Nobody is silent.
func (m *model) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	m.quiet()
	for _, c := range m.clients {
		c.session.Heard()
		m.look(c)
	}
}

// settle lets everything become known and read, and compares.
func (m *model) settle(t *rapid.T) {
	for _, l := range m.links {
		if !m.h.counts.isKnown(l) { // and no news of the others: it would heal what was forgotten
			m.h.counts.land(l, true)
		}
	}
	for _, c := range m.clients {
		synctest.Wait()
		c.stalled = false
		c.resume()
	}
	m.sleep(2 * time.Second) // the longest pace
	m.found.check(t)
	m.verify(t)
	watched := map[string]bool{}
	for i, c := range m.clients {
		if c.fate != lives {
			continue
		}
		if n := len(c.judge.denials); n > 0 {
			t.Fatalf("client %d was not told of %d denials", i, n)
		}
		for _, l := range m.links {
			want := int64(-1)
			if c.wants[l] {
				want = m.h.counts.count(l)
				watched[l] = true
			}
			if got := c.holds(l); got != want {
				t.Fatalf("client %d holds %d of %s, want %d", i, got, l, want)
			}
		}
	}
	if got := m.h.counts.watched(); got != len(watched) {
		t.Fatalf("%d links are watched, want %d", got, len(watched))
	}
}

func (m *model) stop() {
	for _, c := range m.clients {
		close(c.asks)
	}
	m.h.stop()
	synctest.Wait()
}
