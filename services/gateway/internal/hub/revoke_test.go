package hub

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// of returns an identity of a subject that may see everything and does not expire.
func of(subject string) *auth.Identity {
	id := auth.Anybody()
	id.Subject = subject
	return id
}

func isOf(subject string) func(*auth.Identity) bool {
	return func(id *auth.Identity) bool { return id.Subject == subject }
}

// revokedSubjects is what a gateway knows of revocations.
type revokedSubjects struct{ subjects sync.Map }

func (r *revokedSubjects) add(subject string) { r.subjects.Store(subject, true) }

func (r *revokedSubjects) has(id *auth.Identity) bool {
	_, revoked := r.subjects.Load(id.Subject)
	return revoked
}

// A revocation ends the sessions that it is about, on every loop, and no other. When Revoke returns they are sent nothing more,
// not even what changed in that moment.
func TestRevoke(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 3}, func(h *harness) {
		t := h.t
		var thieves, others []*client
		for i := range 200 {
			c := h.connectAs(t, of([]string{"thief", "other"}[i%2]))
			c.session.Subscribe([]string{"a"}, -1)
			if i%2 == 0 {
				thieves = append(thieves, c)
			} else {
				others = append(others, c)
			}
		}
		synctest.Wait()
		h.hub.Revoke(isOf("thief"))
		h.counts.click("a", 1)
		synctest.Wait()
		for _, c := range thieves {
			c.endedBy(t, 2, "token_revoked", 4403)
		}
		for _, c := range others {
			c.alive(t)
			if c.holds("a") != 1 {
				t.Fatalf("a %d, want 1", c.holds("a"))
			}
		}
		if h.metric("sessions_evicted_total", "revoked") != 100 {
			t.Fatal("not counted as revoked")
		}
		time.Sleep(closeGrace * time.Millisecond) // they do not answer the close
		synctest.Wait()
		if n := h.metric("sessions"); n != 100 {
			t.Fatalf("%v sessions, want 100", n)
		}
		h.hub.Revoke(isOf("nobody"))
		synctest.Wait()
		for _, c := range others {
			c.alive(t)
		}
	})
}

// An identity that was revoked after it was verified and before it became a session's is none that is ever ready.
func TestRevokedBeforeItIsASession(t *testing.T) {
	t.Parallel()
	revoked := &revokedSubjects{}
	inBubble(t, Config{Revoked: revoked.has}, func(h *harness) {
		t := h.t
		was := h.connectAs(t, of("thief")) // the test calls no Revoke: only a later refresh finds it
		was.session.Subscribe([]string{"a"}, -1)
		synctest.Wait()
		revoked.add("thief")
		is := h.connectAs(t, of("thief"))
		is.session.Subscribe([]string{"a"}, -1)
		was.session.Refresh(of("thief"))
		synctest.Wait()
		is.endedBy(t, 0, "token_revoked", 4403)
		was.endedBy(t, 2, "token_revoked", 4403)
	})
}

// Whatever comes between what: an identity is verified, revoked and becomes a session's, by a join or a refresh, in each order
// that the contract allows. It never outlives its revocation.
func TestRevokeBesideJoins(t *testing.T) {
	t.Parallel()
	for at, when := range []string{"before the gateway knows", "before Revoke", "behind Revoke"} {
		for _, refresh := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, refresh %v", when, refresh), func(t *testing.T) {
				t.Parallel()
				revoked := &revokedSubjects{}
				inBubble(t, Config{Revoked: revoked.has}, func(h *harness) {
					t := h.t
					id := of("thief")
					if revoked.has(id) {
						t.Fatal("not good at first")
					}
					var c *client
					if refresh {
						c = h.connectAs(t, of("other"))
					}
					for step, do := range []func(){func() {}, func() { revoked.add("thief") }, func() { h.hub.Revoke(isOf("thief")) }} {
						do()
						switch {
						case step != at:
						case refresh:
							c.session.Refresh(id)
						default:
							c = h.connectAs(t, id)
						}
					}
					synctest.Wait()
					if c.closeCode() != 4403 {
						t.Fatalf("goes on: close %d, messages %+v", c.closeCode(), c.all())
					}
					if ready := len(c.of("ready")); at > 0 && (ready > 1 || ready > 0 && !refresh) {
						t.Fatalf("%d ready for what was known to be revoked", ready)
					}
				})
			})
		}
	}
}

// The same with everybody at once, for the race detector and for the orders that nobody thought of.
func TestRevokeRacesWithJoins(t *testing.T) {
	t.Parallel()
	for range 20 {
		revoked := &revokedSubjects{}
		inBubble(t, Config{Loops: 2, Revoked: revoked.has}, func(h *harness) {
			t := h.t
			const joiners, each = 4, 20
			all := make([][]*client, joiners)
			start := make(chan struct{})
			var running sync.WaitGroup
			for j := range all {
				running.Go(func() {
					<-start // all of their identities are verified: none was revoked
					for i := range each {
						c := &client{r: t, start: time.Now(), held: map[string]*held{}}
						first := of("thief")
						if i%2 == 0 {
							first = of("other")
						}
						s, err := h.hub.Join(c, first)
						if err != nil {
							t.Error(err)
							return
						}
						all[j] = append(all[j], c)
						s.Refresh(of("thief"))
						s.Subscribe([]string{"a"}, -1)
					}
				})
			}
			running.Go(func() {
				<-start
				revoked.add("thief")
				h.hub.Revoke(isOf("thief"))
			})
			synctest.Wait()
			close(start)
			running.Wait()
			synctest.Wait()
			for _, c := range slices.Concat(all...) {
				if c.closeCode() != 4403 {
					t.Fatalf("a revoked session goes on: messages %+v", c.all())
				}
			}
		})
	}
}

// Revocations that come at once are one walk through the sessions, and each caller waits for its own.
func TestRevocationsAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 2}, func(h *harness) {
		t := h.t
		var all []*client
		for i := range 50 {
			all = append(all, h.connectAs(t, of(strconv.Itoa(i))))
		}
		var revoking sync.WaitGroup
		for i := range 40 {
			revoking.Go(func() { h.hub.Revoke(isOf(strconv.Itoa(i))) })
		}
		revoking.Wait()
		synctest.Wait()
		for i, c := range all {
			if want := i < 40; want != (c.closeCode() == 4403) {
				t.Fatalf("session %d: close %d", i, c.closeCode())
			}
		}
	})
}

// Revoke lets nobody wait for a hub that has ended, or that ends meanwhile.
func TestRevokeAtTheEnd(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{Loops: 2}, func(h *harness) {
		done := make(chan struct{})
		go func() {
			for range 100 {
				h.hub.Revoke(isOf("thief"))
			}
			close(done)
		}()
		h.stop()
		h.hub.Revoke(isOf("thief"))
		<-done
	})
}

// revokeMany is a loop with sessions to be revoked, and some that stay: the first has a link of its own, the others share one
// with those that go.
type revokeMany struct {
	*manual
	narrow *sink
	wide   []*sink
	gone   []*sink
	looked int
	done   chan struct{}
}

func newRevokeMany(tb testing.TB, sessions int) *revokeMany {
	tb.Helper()
	m := &revokeMany{manual: newManual(tb, 0, 0), done: make(chan struct{})}
	stays, goes := of("other"), of("thief")
	m.join(tb, stays, []string{"narrow"})
	for range portion - 2*dismissals {
		m.join(tb, stays, []string{"wide"})
	}
	m.narrow, m.wide = m.sinks[0], m.sinks[1:]
	for range sessions {
		m.join(tb, goes, []string{"wide"})
	}
	m.gone = m.sinks[1+len(m.wide):]
	m.turn()
	match := func(id *auth.Identity) bool {
		m.looked++
		return id == goes
	}
	m.l.mail.put(post{kind: postRevoke, revocation: &revocation{match: match, done: m.done}})
	return m
}

// isDone tells whether all sessions have been looked at.
func (m *revokeMany) isDone() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// However many sessions a revocation ends, each turn looks at some and tells a few, and who stays is told of every change in
// the turn that it comes in. Who goes is sent nothing but why, once Revoke has returned.
func TestRevokeInPortions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const sessions = 3 * sweepPortion
		m := newRevokeMany(t, sessions)
		why := wire.AppendTextFrame(nil, wire.AppendError(nil, wire.Error{Code: evictedRevoked.code(), Message: evictedRevoked.message()}))
		why = wire.AppendCloseFrame(why, wire.CloseRevoked, "revoked")
		before := make([]sink, len(m.gone))
		turns, told := 0, 0
		for more := true; more; turns++ {
			narrow, wide, looked, done, toldBefore := m.narrow.writes, m.wide[0].writes, m.looked, m.isDone(), told
			for i, c := range m.gone {
				before[i] = *c
			}
			m.counts.click("narrow", 1)
			if done {
				m.counts.click("wide", 1)
			}
			more = m.l.turn()
			time.Sleep(capEvery * time.Millisecond) // the links are not hot
			switch {
			case m.narrow.writes != narrow+1:
				t.Fatalf("turn %d: who stays was not told of a change", turns)
			case done && m.wide[0].writes != wide+1:
				t.Fatalf("turn %d: who stays was not told of a change of a popular link", turns)
			case m.looked-looked > sweepPortion:
				t.Fatalf("turn %d: looked at %d sessions", turns, m.looked-looked)
			}
			for i, c := range m.gone {
				switch n := c.bytes - before[i].bytes; {
				case n == len(why):
					told++
				case n != 0:
					t.Fatalf("turn %d: who goes was sent %d bytes, want %d", turns, n, len(why))
				}
			}
			if told-toldBefore > dismissals {
				t.Fatalf("turn %d: %d were told", turns, told-toldBefore)
			}
			if turns > sessions/sweepPortion+1 && !done {
				t.Fatalf("turn %d: not all have been looked at", turns)
			}
		}
		if told != sessions {
			t.Fatalf("%d were told, want %d", told, sessions)
		}
	})
}

// BenchmarkRevoke is a revocation of 20,000 sessions of one loop, without the system calls: how long the longest turn takes,
// which is for how long anybody else's update waits, and how many turns there are. A real turn has the writes to at most
// dismissals sessions beside it.
func BenchmarkRevoke(b *testing.B) {
	const sessions = 20_000
	var cut time.Duration
	longest, turns := make([]time.Duration, b.N), 0
	for i := range b.N {
		b.StopTimer()
		m := newRevokeMany(b, sessions)
		runtime.GC()
		b.StartTimer()
		start, done := time.Now(), false
		for more := true; more; turns++ {
			m.counts.click("narrow", 1)
			began := time.Now()
			more = m.l.turn()
			longest[i] = max(longest[i], time.Since(began))
			if !done && m.isDone() {
				done = true
				cut += time.Since(start)
			}
		}
	}
	slices.Sort(longest)
	b.ReportMetric(float64(longest[len(longest)/2].Microseconds()), "longest-turn-µs")
	b.ReportMetric(float64(cut.Microseconds())/float64(b.N), "until-cut-off-µs")
	b.ReportMetric(float64(turns)/float64(b.N), "turns")
}
