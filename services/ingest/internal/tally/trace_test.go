package tally

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// soon is how soon totals must be right once nothing hinders them any more.
const soon = 2 * time.Second

// trace runs a test in virtual time.
func trace(t *testing.T, window int64, f func(t *testing.T, w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t, window)) })
}

func TestCountsWhatIsThereAndWhatComes(t *testing.T) {
	trace(t, 100, func(_ *testing.T, w *world) {
		w.click("a1", "b1", "a1", "a2", "a0")
		defer w.run()()
		w.want(soon)
		w.click("a1", "b2", "b3")
		w.want(soon)
	})
}

// An empty log has totals too: 0, which is not the same as none.
func TestBeginsAtZero(t *testing.T) {
	trace(t, 100, func(_ *testing.T, w *world) {
		defer w.run()()
		w.want(soon)
	})
}

// D = 2 and a1 a2 a1: a worker that starts at 2 and warms up one record less counts a1 again.
func TestWarmsUpTheWholeWindow(t *testing.T) {
	trace(t, 2, func(_ *testing.T, w *world) {
		w.click("a1", "a2")
		w.run()()
		time.Sleep(soon)
		defer w.run()()
		w.want(soon)
		w.click("a1")
		w.want(soon)
	})
}

// An answer that is lost after the batch was applied: the batch comes again and must not count again.
func TestLostAnswer(t *testing.T) {
	trace(t, 100, func(_ *testing.T, w *world) {
		w.click("a1", "a2")
		lose := 3
		w.store.fail = func(call string) (before, after error) {
			if call == "apply" && lose > 0 {
				lose--
				return nil, errLost
			}
			return nil, nil
		}
		defer w.run()()
		w.want(soon)
	})
}

// A store that goes back while clicks come: the worker is refused, and what its fold knows would make a1 its own
// duplicate.
func TestStoreGoesBack(t *testing.T) {
	trace(t, 100, func(t *testing.T, w *world) {
		defer w.run()()
		time.Sleep(soon)
		w.click("a1")
		w.want(soon)
		w.store.rollBack(1)
		if got := w.store.next(); got != 0 {
			t.Fatalf("it went back to %d", got)
		}
		w.click("a2")
		w.want(soon)
	})
}

// A store that goes back on a partition without clicks is refused by nobody.
func TestStoreGoesBackWhileIdle(t *testing.T) {
	trace(t, 100, func(_ *testing.T, w *world) {
		defer w.run()()
		time.Sleep(soon)
		w.click("a1", "a2")
		w.want(soon)
		w.store.rollBack(1)
		w.want(soon)
	})
}

// A store that goes back while the worker warms up, which the log interrupts: the window that it began to read begins too
// late for where the totals are now. D = 4: it warms up from 4 on for totals at 8; for totals at 5 it needs what is from 1 on,
// or the second a2 counts.
func TestStoreGoesBackDuringWarmUp(t *testing.T) {
	trace(t, 4, func(_ *testing.T, w *world) {
		w.log.BatchRecords = 1
		stop := w.run()
		for _, c := range []string{"a1", "a2", "a3", "a4", "a5", "a2", "a7", "a8"} {
			w.click(c)
			time.Sleep(soon)
		}
		stop()
		w.log.Break(0, 4, 1)
		positions := 0
		w.store.fail = func(call string) (before, after error) {
			if call == "position" {
				if positions++; positions == 2 { // the one after the interruption
					n := len(w.store.history) - 3
					w.store.now, w.store.history = w.store.history[n], w.store.history[:n]
				}
			}
			return nil, nil
		}
		defer w.run()()
		w.want(soon)
	})
}

// Everything in the store is gone, and the log has all of it.
func TestStoreIsEmptied(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		defer w.run()()
		w.click("a1", "a2", "b1", "a1", "b2", "a1")
		w.want(soon)
		w.store.set(func(m *memory) { m.now = state{next: totals.None} })
		w.want(soon)
		w.store.set(func(m *memory) { m.now = state{next: totals.None} })
		w.click("c1")
		w.want(soon)
	})
}

// Everything in the store is gone, and so is the beginning of the log: nothing is guessed, and a restore is noticed.
func TestStoreIsEmptiedAndTheLogWasCut(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		defer w.run()()
		w.click("a1", "a2", "b1")
		w.want(soon)
		var backup state
		w.store.set(func(m *memory) { backup = m.now })
		time.Sleep(2 * time.Hour)
		w.log.Cut(0, 2)
		w.click("b2", "b3")
		w.want(soon)
		w.store.set(func(m *memory) { m.now = state{next: totals.None} })
		w.wantStopped(totals.None)
		w.store.set(func(m *memory) { m.now = backup })
		w.want(lookAgain + soon)
	})
}

// The tally was away for longer than the log keeps clicks. Going on at the start of the log would lose them silently.
func TestLogWasCutAheadOfTheTotals(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		stop := w.run()
		w.click("a1")
		w.want(soon)
		stop()
		w.click("a2", "a3")
		w.log.Cut(0, 2)
		defer w.run()()
		w.wantStopped(1)
	})
}

// An owner that was assigned at 0, and retention cuts 0 before it has read it.
func TestLogIsCutUnderAnOwner(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		stop := w.run()
		time.Sleep(soon)
		stop() // the totals are there, at 0
		w.click("a1", "a2")
		w.log.Cut(0, 1)
		defer w.run()()
		w.wantStopped(0)
	})
}

// The topic was created anew, and is shorter than the totals.
func TestLogIsShorterThanTheTotals(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		defer w.run()()
		w.click("a1", "a2", "a3")
		w.want(soon)
		w.log.Truncate(0, 0)
		w.log.Append(0, fold.Record{TimeMs: time.Now().UnixMilli(), Key: []byte("z"), Value: nil})
		w.wantStopped(3)
	})
}

// The topic was created anew, and is as long as the totals or longer: only the record that was counted last tells.
func TestAnotherLogOfTheSameLength(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		stop := w.run()
		w.click("a1", "a2", "a3")
		w.want(soon)
		stop()
		w.log.Truncate(0, 0)
		w.click("b1", "b2", "b3", "b4")
		defer w.run()()
		w.wantStopped(3)
	})
}

// A new leader that does not know the end of its log yet is no reason to stop.
func TestLogIsShorterForAMoment(t *testing.T) {
	trace(t, 3, func(t *testing.T, w *world) {
		stop := w.run()
		w.click("a1", "a2", "a3")
		w.want(soon)
		stop()
		records := w.log.Records(0)
		w.log.Truncate(0, 2)
		defer w.run()()
		time.Sleep(endGrace / 2)
		w.log.Append(0, records[2])
		w.want(soon)
		if w.store.next() != 3 {
			t.Fatal("it did not go on")
		}
	})
}

// Two owners at once, both believing that the partition is theirs.
func TestTwoOwners(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		defer w.run()()
		defer w.run()()
		for range 20 {
			w.click("a1", "b1", "a2", "a1", "b2", "b1", "c1")
			time.Sleep(100 * time.Millisecond)
		}
		w.want(soon)
	})
}

// A store that is away for an hour holds nothing up but the totals, and they are right soon after.
func TestStoreIsAway(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		defer w.run()()
		w.click("a1")
		w.want(soon)
		w.store.set(func(m *memory) { m.fail = func(string) (before, after error) { return errLost, nil } })
		for range 60 {
			w.click("a1", "a2", "b1")
			time.Sleep(time.Minute)
		}
		w.store.set(func(m *memory) { m.fail = nil })
		w.want(soon)
	})
}

// While the store is away the worker folds on, and stops where a batch has as many links as it may.
func TestStoreIsAwayWhileManyLinksAreClicked(t *testing.T) {
	trace(t, 100, func(t *testing.T, w *world) {
		defer w.run()()
		time.Sleep(soon)
		w.store.set(func(m *memory) { m.fail = func(string) (before, after error) { return errLost, nil } })
		for i := range 3 * maxEntries {
			r := fold.Record{TimeMs: time.Now().UnixMilli(), Key: fmt.Appendf(nil, "link-%d", i), Value: (&click.Record{}).Append(nil)}
			w.log.Append(0, r)
			w.whole.Append(0, r)
		}
		time.Sleep(soon)
		w.store.set(func(m *memory) { m.fail = nil })
		w.want(soon)
		w.store.set(func(m *memory) {
			if most := maxEntries + 2*feed.MaxRecords; m.largest > most || m.largest < maxEntries {
				t.Errorf("the largest batch had %d entries, want %d to %d", m.largest, maxEntries, most)
			}
		})
	})
}

// Another rule, or a key of something else: the worker stops and changes nothing.
func TestStoreOfSomethingElse(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"another rule": &totals.RuleError{Have: "1/2/3", Want: "4/5/6"},
		"another type": &totals.KeyError{Key: "k", Problem: "it is a list and no hash"},
	} {
		for _, call := range []string{"position", "apply"} {
			t.Run(name+" at "+call, func(t *testing.T) {
				trace(t, 3, func(_ *testing.T, w *world) {
					w.store.fail = func(c string) (before, after error) {
						if c == call {
							return err, nil
						}
						return nil, nil
					}
					w.click("a1")
					defer w.run()()
					w.wantStopped(totals.None)
					w.store.set(func(m *memory) {
						if m.calls > 20 {
							w.t.Errorf("a stopped worker asked %d times in half a minute", m.calls)
						}
						m.fail = nil
					})
					w.want(lookAgain + soon)
				})
			})
		}
	}
}

// Offsets without a record, and records that are no clicks, move the totals on.
func TestOffsetsThatCountNothing(t *testing.T) {
	trace(t, 3, func(t *testing.T, w *world) {
		defer w.run()()
		w.click("a1")
		w.want(soon)
		for _, l := range []interface{ Hole(int32, int64) }{w.log, w.whole} {
			l.Hole(0, 2)
		}
		w.want(soon)
		w.store.set(func(m *memory) {
			if m.now.last.Offset != 0 || m.now.last.IsZero() {
				t.Errorf("the last record that was counted is said to be %v", m.now.last)
			}
		})
		for range 2 {
			r := fold.Record{TimeMs: time.Now().UnixMilli(), Key: []byte("no link!"), Value: []byte("no click")}
			w.log.Append(0, r)
			w.whole.Append(0, r)
		}
		w.want(soon)
		w.click("a1") // too far from the first one to be its duplicate
		w.want(soon)
		_, end, err := w.log.Bounds(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		w.log.Hide(0, end, 1) // an answer without a record that is there
		w.click("a2", "a3")
		w.want(soon)
	})
}
