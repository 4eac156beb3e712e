package tally

import (
	"context"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// clockMargin is for the clocks that stamp records and the one that retention goes by.
const clockMargin = time.Hour

// cut is what retention has taken out of the window that a fold was warmed up with. What is missing there can only have
// made clicks duplicates that are nearly as old: to a worker that is not a whole retention behind it does not matter. The
// zero value is of a window that is whole.
type cut struct {
	// Records below this offset whose time is before notBeforeMs may be duplicates of what is missing.
	below       int64
	notBeforeMs int64
}

// findCut returns what is missing in the window before next of a fold that begins at from.
func (w *worker) findCut(ctx context.Context, from, next int64) (cut, error) {
	if from <= max(0, next-w.params.Window) {
		return cut{}, nil
	}
	retention, err := w.retention(ctx)
	if err != nil || retention == 0 {
		return cut{}, err
	}
	gone := time.Now().Add(-retention) // what was cut is older
	return cut{
		below:       from + w.params.Window,
		notBeforeMs: gone.Add(w.params.Within + clockMargin).UnixMilli(),
	}, nil
}

// check returns a *StopError where it cannot be told whether a record of the chunk, from next on, counts.
func (c cut) check(chunk *feed.Chunk, next int64) error {
	for i := range chunk.Records {
		r := &chunk.Records[i]
		if r.Offset >= c.below {
			return nil
		}
		if r.Offset >= next && r.TimeMs < c.notBeforeMs {
			return stopTooFarBehind(r.Offset, time.UnixMilli(r.TimeMs), chunk.Marks.Start)
		}
	}
	return nil
}
