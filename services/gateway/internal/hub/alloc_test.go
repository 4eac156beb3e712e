package hub

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// sink is a connection that takes everything and keeps nothing.
type sink struct{ bytes, writes int }

func (s *sink) TryWrite(b []byte, _ bool) (bool, error) {
	s.bytes += len(b)
	s.writes++
	return false, nil
}

func (s *sink) CloseNow()   {}
func (s *sink) Expect() int { return s.writes }

// manual is a loop that a test turns by hand, with sessions that are all subscribed to all links.
type manual struct {
	l      *loop
	counts *fakeCounts
	links  []string
	sinks  []*sink
}

func newManual(tb testing.TB, sessions, subscriptions int) *manual {
	tb.Helper()
	m := &manual{counts: newFakeCounts(), links: links(0, subscriptions)}
	h := New(Config{
		Gateway: "gw", Epoch: 1, Heartbeat: time.Hour, Loops: 1, Counts: m.counts,
		Metrics: NewMetrics(prometheus.NewRegistry()),
	})
	m.l = h.loops[0]
	id := auth.Anybody()
	for range sessions {
		m.join(tb, id, m.links)
	}
	m.turn()
	return m
}

// join adds a session that is subscribed to links.
func (m *manual) join(tb testing.TB, id *auth.Identity, links []string) *Session {
	tb.Helper()
	c := &sink{}
	s, err := m.l.hub.Join(c, id)
	if err != nil {
		tb.Fatal(err)
	}
	m.l.mail.put(post{session: s, kind: postSubscribe, links: links, interval: -1})
	m.sinks = append(m.sinks, c)
	return s
}

// writes returns how many writes there were.
func (m *manual) writes() (n int) {
	for _, c := range m.sinks {
		n += c.writes
	}
	return n
}

// turn turns the loop until there is nothing to do.
func (m *manual) turn() {
	for m.l.turn() {
	}
}

// The way of a change from the follower to the connections allocates nothing, whether a session gets one frame or ten.
func TestFlushDoesNotAllocate(t *testing.T) {
	const sessions, rounds = 300, 20
	for _, k := range []int{1, 4, 10} {
		m := newManual(t, sessions, 1000)
		next := 0
		round := func() {
			for range k { // other links every time: none gets hot
				m.counts.click(m.links[next%len(m.links)], 1)
				next++
			}
			m.turn()
		}
		round()
		before := m.sinks[0].writes
		if n := testing.AllocsPerRun(rounds, round); n != 0 {
			t.Errorf("k = %d: %v allocations for a change that %d sessions are told", k, n, sessions)
		}
		if got := m.sinks[0].writes - before; got != rounds+1 {
			t.Errorf("k = %d: %d writes in %d rounds, want one each", k, got, rounds+1)
		}
	}
}

// BenchmarkFlush is the hub's share of a flush, without the system call: ns/op is for one session.
func BenchmarkFlush(b *testing.B) {
	for _, k := range []int{1, 4, 10} {
		b.Run(fmt.Sprintf("k=%d", k), func(b *testing.B) {
			const sessions = 1000
			m := newManual(b, sessions, 1000)
			next := 0
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += sessions {
				for range k {
					m.counts.click(m.links[next%len(m.links)], 1)
					next++
				}
				m.turn()
			}
		})
	}
}

// BenchmarkSession is what a session with ten subscriptions keeps in the hub, in bytes of heap, beside its connection.
func BenchmarkSession(b *testing.B) {
	const sessions = 10_000
	live := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for range b.N {
		before := live()
		m := newManual(b, sessions, 10)
		b.ReportMetric(float64(live()-before)/sessions, "live-B/session")
		runtime.KeepAlive(m)
	}
}
