package tally

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seeds = flag.Int("tally-seeds", 100, "how many lives of a partition to try")
	seed  = flag.Uint64("tally-seed", 0, "try this one only")
)

// TestModel lets everything go wrong that can: calls of the store are lost on their way there or back, the store goes back
// in time or loses everything, owners come and go and overlap, the log refuses to be read, and retention cuts what is
// older than duplicates can be. When it is over, the totals must be the fold of the log.
func TestModel(t *testing.T) {
	t.Parallel()
	from, to := uint64(1), uint64(*seeds)
	if *seed != 0 {
		from, to = *seed, *seed
	}
	for s := from; s <= to; s++ {
		t.Run(fmt.Sprint("seed=", s), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1+int64(s%7))
				w.live(rand.New(rand.NewPCG(s, s)))
				if t.Failed() {
					t.Logf("again: go test ./internal/tally -run TestModel -tally-seed %d -v", s)
				}
			})
		})
	}
}

func (w *world) live(rng *rand.Rand) {
	w.log.BatchRecords = 1 + rng.IntN(6)
	trouble := 0.5 * rng.Float64()
	own := rand.New(rand.NewPCG(rng.Uint64(), 0)) // used under the store's lock
	w.store.set(func(m *memory) {
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
	var owners []func()
	stopOne := func() {
		if len(owners) > 0 {
			i := rng.IntN(len(owners))
			owners[i]()
			owners = append(owners[:i], owners[i+1:]...)
		}
	}
	cut := int64(0)
	for range 60 {
		switch rng.IntN(12) {
		case 0:
			if len(owners) < 3 {
				owners = append(owners, w.run())
			}
		case 1:
			stopOne()
		case 2:
			w.store.rollBack(1 + rng.IntN(3))
			w.keepAhead(cut)
		case 3:
			if cut == 0 {
				w.store.set(func(m *memory) { m.now, m.history = newMemory().now, nil })
			}
		case 4:
			w.log.Fail(0, 1+rng.IntN(3), errLost)
		case 5:
			if rng.IntN(4) == 0 {
				cut = w.retain(rng)
			}
		default:
			for range rng.IntN(8) {
				w.click(fmt.Sprintf("%c%d", 'a'+rng.IntN(3), rng.IntN(5)))
			}
		}
		time.Sleep(time.Duration(rng.Int64N(int64(700 * time.Millisecond))))
	}
	w.store.set(func(m *memory) { m.fail = nil })
	if len(owners) == 0 {
		owners = append(owners, w.run())
	}
	w.want(lookAgain + 2*soon)
	for _, stop := range owners {
		stop()
	}
}

// retain cuts what is old enough to be no duplicate of anything that is still to be folded, and returns where.
func (w *world) retain(rng *rand.Rand) (start int64) {
	time.Sleep(w.params.Within + time.Minute)
	start, end, err := w.log.Bounds(w.t.Context(), 0)
	if err != nil {
		return start
	}
	// What a rollback may bring back has to be there: nothing below the oldest state that is kept.
	oldest := w.store.next()
	w.store.set(func(m *memory) {
		for _, s := range m.history {
			oldest = min(oldest, s.next)
		}
	})
	if most := min(oldest, end); most > start {
		start += 1 + rng.Int64N(most-start)
		w.log.Cut(0, start)
	}
	w.keepAhead(start)
	return start
}

// keepAhead takes away what a rollback must not bring back any more: what the log cannot add to.
func (w *world) keepAhead(cut int64) {
	w.store.set(func(m *memory) {
		for len(m.history) > 0 && m.history[0].next < cut {
			m.history = m.history[1:]
		}
	})
}
