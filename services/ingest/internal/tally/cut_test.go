package tally

import (
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// D = 3, W = 1 h, and a log that keeps records for 4 h: a1 was counted, then sent again, and nobody tallied until the first
// one was cut. Whoever has not seen it would count the second.
func TestTooFarBehindWhatWasCut(t *testing.T) {
	trace(t, 3, func(t *testing.T, w *world) {
		w.retention = 4 * time.Hour
		first := w.owner()
		stop := first.run()
		w.click("a1")
		w.want(soon)
		stop()
		time.Sleep(10 * time.Minute)
		w.click("a1")
		time.Sleep(w.retention - 5*time.Minute)
		w.log.Cut(0, 1)

		second := w.owner()
		stop = second.run()
		w.wantStopped(1)
		if n := second.metric("stopped", string(Lost)); n != 1 {
			t.Errorf("stopped is %v", n)
		}
		stop()
		defer first.run()() // this one remembers
		w.want(soon)
	})
}

// A tally that was away for a while, not for nearly a whole retention: what was cut is too old to matter.
func TestBehindWhatWasCut(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		w.retention = 4 * time.Hour
		stop := w.run()
		w.click("a1", "a2")
		w.want(soon)
		stop()
		time.Sleep(w.retention - w.params.Within)
		w.click("a2", "a1", "a3")
		time.Sleep(w.params.Within)
		w.log.Cut(0, 2)
		defer w.run()()
		w.want(soon)
	})
}

// The log of a partition that nobody clicks on is empty after a while, and begins at its end.
func TestAllOfTheLogWasCut(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		w.retention = 4 * time.Hour
		stop := w.run()
		w.click("a1", "a2")
		w.want(soon)
		stop()
		time.Sleep(2 * w.retention)
		w.log.Cut(0, 2)
		defer w.run()()
		w.want(soon)
		w.click("a1", "a3", "a3")
		w.want(soon)
	})
}

func TestCutCheck(t *testing.T) {
	t.Parallel()
	c := cut{below: 13, notBeforeMs: 1000}
	for _, test := range []struct {
		name           string
		offset, timeMs int64
		stops          bool
	}{
		{"in the totals already", 9, 999, false},
		{"old, and a window begins before the log", 12, 999, true},
		{"young", 12, 1000, false},
		{"old, and its window is there", 13, 999, false},
	} {
		err := c.check(&feed.Chunk{Records: []fold.Record{{Offset: test.offset, TimeMs: test.timeMs}}}, 10)
		if (err != nil) != test.stops {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
