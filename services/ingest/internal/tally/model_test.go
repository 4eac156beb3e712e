package tally

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

var (
	seeds = flag.Int("tally-seeds", 100, "how many lives of a partition to try")
	seed  = flag.Uint64("tally-seed", 0, "try this one only")
)

// TestModel lets everything go wrong that can: calls of the store are lost on their way there or back, the store goes back
// in time or loses everything, owners come and go, overlap, and crash, the log refuses to be read, a leader does not know
// the end of its log, and retention cuts what is old, whether it was tallied or not. At any time the totals must be the
// fold of the log up to their offset, and when it is over, of all of the log; unless that cannot be told any more, and
// then they must not have moved.
func TestModel(t *testing.T) {
	t.Parallel()
	from, to := uint64(1), uint64(*seeds)
	if *seed != 0 {
		from, to = *seed, *seed
	}
	var exact, stopped atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d lives came to the end of their logs, %d were stopped on the way", exact.Load(), stopped.Load())
		if all := exact.Load() + stopped.Load(); all >= 100 && (exact.Load() < all/2 || stopped.Load() == 0) {
			t.Error("a life that is always or never stopped shows little")
		}
	})
	for s := from; s <= to; s++ {
		t.Run(fmt.Sprint("seed=", s), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newLife(t, s)
				l.live()
				if l.isExact() {
					exact.Add(1)
				} else {
					stopped.Add(1)
				}
				if t.Failed() {
					t.Logf("again: go test ./internal/tally -run TestModel -tally-seed %d -v", s)
				}
			})
		})
	}
}

// life is a partition to which much happens.
type life struct {
	*world
	rng    *rand.Rand
	owners []*owner // all there ever were: one that ran may run again
	stops  map[*owner]func()
}

func newLife(t *testing.T, seed uint64) *life {
	t.Helper()
	l := &life{world: newWorld(t, 1+int64(seed%7)), rng: rand.New(rand.NewPCG(seed, seed)), stops: map[*owner]func(){}}
	l.params.Within = time.Minute // longer than a life without what waits for retention, which takes the less time for it
	l.retention = l.params.Within + clockMargin + time.Minute
	l.log.BatchRecords = 1 + l.rng.IntN(6)
	return l
}

func (l *life) live() {
	trouble := 0.5 * l.rng.Float64()
	own := rand.New(rand.NewPCG(l.rng.Uint64(), 0)) // used under the store's lock
	l.store.set(func(m *memory) {
		m.fail = func(string) (before, after error) {
			if own.Float64() > trouble {
				return nil, nil
			}
			if own.IntN(2) == 0 {
				return errLost, nil
			}
			return nil, errLost
		}
	})
	for range 60 {
		l.step()
		time.Sleep(time.Duration(l.rng.Int64N(int64(700 * time.Millisecond))))
		l.exact()
	}
	l.store.set(func(m *memory) { m.fail = nil })
	if len(l.stops) == 0 {
		l.start()
	}
	time.Sleep(lookAgain + 2*soon)
	for _, stop := range l.stops {
		stop()
	}
}

func (l *life) step() {
	switch l.rng.IntN(24) {
	case 0, 1:
		l.start()
	case 2:
		l.stop()
	case 3:
		l.crash()
	case 4, 5:
		l.store.rollBack(1 + l.rng.IntN(3))
	case 6:
		l.store.set(func(m *memory) { m.now, m.history = newMemory().now, nil })
	case 7, 8:
		l.log.Fail(0, 1+l.rng.IntN(3), errLost)
	case 9:
		l.elect()
	case 10:
		if l.rng.IntN(3) == 0 {
			l.retain()
		}
	default:
		for range l.rng.IntN(8) {
			l.click(fmt.Sprintf("%c%d", 'a'+l.rng.IntN(3), l.rng.IntN(5)))
		}
	}
}

// start makes one more process an owner, new or not, up to three at a time.
func (l *life) start() {
	if len(l.stops) == 3 {
		return
	}
	o := l.owner()
	if len(l.owners) > 0 && l.rng.IntN(2) == 0 {
		o = l.owners[l.rng.IntN(len(l.owners))]
	}
	if l.stops[o] != nil {
		return
	}
	l.owners = append(l.owners, o)
	l.stops[o] = o.run()
}

func (l *life) stop() {
	for _, o := range l.owners { // a map has no order that a seed repeats
		if stop := l.stops[o]; stop != nil {
			delete(l.stops, o)
			stop()
			return
		}
	}
}

// crash ends an owner, whose fold is lost, and all calls that it has under way.
func (l *life) crash() {
	var fail func(string) (before, after error)
	l.store.set(func(m *memory) {
		fail = m.fail
		m.fail = func(string) (before, after error) { return errLost, nil }
	})
	l.stop()
	l.owners = slices.DeleteFunc(l.owners, func(o *owner) bool { return l.stops[o] == nil })
	l.store.set(func(m *memory) { m.fail = fail })
}

// elect makes somebody the leader who learns the end of the log only after a while.
func (l *life) elect() {
	records := l.log.Records(0)
	_, end, err := l.whole.Bounds(l.t.Context(), 0)
	if err != nil || len(records) == 0 {
		return
	}
	lag := min(1+l.rng.IntN(4), len(records))
	l.log.Truncate(0, end-int64(lag))
	time.Sleep(time.Duration(l.rng.Int64N(int64(endGrace / 2))))
	for _, r := range records[len(records)-lag:] {
		l.log.Append(0, r)
	}
}

// retain cuts what is older than the retention.
func (l *life) retain() {
	time.Sleep(l.retention + time.Minute)
	start, end, err := l.log.Bounds(l.t.Context(), 0)
	if err != nil || start == end {
		return
	}
	l.log.Cut(0, start+1+l.rng.Int64N(end-start))
}

// isExact tells whether the totals are those of all of the log. Where they are not, it holds that nobody could have told
// how to go on.
func (l *life) isExact() bool {
	l.t.Helper()
	next := l.exact()
	start, end, err := l.log.Bounds(l.t.Context(), 0)
	if err != nil {
		l.t.Fatal(err)
	}
	if next == end {
		return true
	}
	if (next == totals.None && start > 0) || next < start {
		return false
	}
	oldest := time.Now().Add(l.params.Within + clockMargin - l.retention).UnixMilli()
	for _, r := range l.log.Records(0) {
		if start > next-l.params.Window && r.Offset >= next && r.Offset < start+l.params.Window && r.TimeMs < oldest {
			return false
		}
	}
	l.t.Errorf("the totals are those at %d, the log is [%d, %d), and nothing kept anybody from going on", next, start, end)
	return false
}
