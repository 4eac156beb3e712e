package hub

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
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
	wants   map[string]bool
	stalled bool
	asks    chan func() // done by the client's reader, one at a time
}

// model is a hub under any interleaving of clicks, subscriptions, paces, stalls, lost totals and time. Its clients check
// every frame (harness_test.go): no update before its subscribed, previous count + delta == count, no write while
// blocked. At the end, when all are read and all is quiet, everybody must have the count of everything they asked for.
type model struct {
	h       *harness
	found   findings
	links   []string
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
	loops := rapid.IntRange(1, 3).Draw(rt, "loops")
	m := &model{h: newHarness(t, Config{Loops: loops, Heartbeat: time.Hour}), links: links(0, 6)}
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
	}
	m.found.check(t)
}

func (m *model) connect(t *rapid.T) {
	if len(m.clients) == 5 {
		t.Skip("enough clients")
	}
	c := &modelClient{client: m.h.connect(&m.found), wants: map[string]bool{}, asks: make(chan func(), 100)}
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
	for _, l := range some {
		c.wants[l] = true
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
	time.Sleep(time.Duration(rapid.SampledFrom([]int{1, 20, 60, 150, 3000}).Draw(t, "ms")) * time.Millisecond)
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
		c.resume()
	}
	time.Sleep(2 * time.Second) // the longest pace
	synctest.Wait()
	m.found.check(t)
	watched := map[string]bool{}
	for i, c := range m.clients {
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
