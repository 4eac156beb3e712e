package tally

import (
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// anew puts another log in the place of the one that was counted, all at once: the worker meets no error, and goes on
// where it was. The clicks are not those of w.whole.
func (w *world) anew(clicks ...string) {
	w.t.Helper()
	next := newWorld(w.t, 3)
	time.Sleep(time.Second) // of another time
	next.click(clicks...)
	w.log.CreateAnew(0, next.log.Records(0)...)
}

// The topic is created anew and is as long again, or longer, while the worker rests between two fetches.
func TestTopicCreatedAnewBetweenTwoFetches(t *testing.T) {
	t.Parallel()
	for name, clicks := range map[string][]string{
		"as long":          {"b1", "b2", "b3"},
		"longer":           {"b1", "b2", "b3", "a4", "a5"},
		"the same clicks":  {"a1", "a2", "a3", "a4"},
		"shorter at first": {"b1"},
	} {
		t.Run(name, func(t *testing.T) {
			trace(t, 3, func(t *testing.T, w *world) {
				w.log.HasIDs = true
				o := w.owner()
				defer o.run()()
				w.click("a1", "a2", "a3")
				w.want(soon)
				w.anew(clicks...)
				if name == "shorter at first" {
					w.wantStopped(3)
					for range 5 {
						w.log.Append(0, fold.Record{TimeMs: time.Now().UnixMilli(), Key: []byte("z"), Value: nil})
					}
				}
				w.wantStopped(3)
				w.exact()
				if got := o.metric("stopped", string(Recreated)); got != 1 {
					t.Errorf("%v workers have stopped as %s", got, Recreated)
				}
			})
		})
	}
}

// Retention has cut what was counted, of the old log and of the new one, and there is no record to compare.
func TestTopicCreatedAnewAndCut(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		w.log.HasIDs = true
		w.click("a1", "a2", "a3")
		w.run()()
		defer w.run()()
		w.want(soon)
		w.log.Cut(0, 3)
		w.log.Fail(0, 1, errLost) // it looks again
		time.Sleep(soon)
		w.anew("b1", "b2", "b3", "b4", "b5")
		w.log.Cut(0, 3)
		w.wantStopped(3)
	})
}

// The log of another cluster that has the same records is as good.
func TestCopyOfTheLogIsAsGood(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		w.log.HasIDs = true
		defer w.run()()
		w.click("a1", "a2", "a3")
		w.want(soon)
		w.log.CreateAnew(0, w.log.Records(0)...)
		w.click("a4", "a4")
		w.want(soon)
	})
}
