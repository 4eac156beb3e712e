package tally

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// rest is how long a worker that has read all of the log lets it grow before it fetches again. What it folded would only
// wait to be applied, and the fetches of one click each cost it, and the broker, more than all the rest.
const rest = applyEvery

// foldAll folds the log from where the fold is and queues what counts from the offset next on, until it cannot be read
// or ctx ends.
func (w *worker) foldAll(ctx context.Context, next int64, pause *backoff) error {
	reader := feed.NewReader(w.source, w.partition, w.fold.Position())
	defer reader.Close()
	for {
		chunk, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		pause.reset()
		w.end.Store(chunk.Marks.End)
		w.measureLag()
		if chunk.Holes > 0 {
			w.metrics.holes.Add(float64(chunk.Holes))
			w.log.Warn("offsets without a record, fetched twice: a foreign producer writes to the topic",
				zap.Int64("offsets", chunk.Holes), zap.Int64("before", chunk.Next))
		}
		if err := w.cut.check(chunk, next); err != nil {
			return err
		}
		if err := w.queue.room(ctx); err != nil {
			return err
		}
		w.foldChunk(chunk, next)
		if len(chunk.Records) > 0 && chunk.Next >= chunk.Marks.End {
			wait(ctx, rest)
		}
	}
}

// foldChunk folds a chunk; records below next are in the totals already.
func (w *worker) foldChunk(chunk *feed.Chunk, next int64) {
	now := time.Now()
	var counted, duplicates, poison int
	w.queue.add(func(s *stretch) {
		for i := range chunk.Records {
			r := &chunk.Records[i]
			if r.Offset < next {
				w.fold.Warm(*r)
				continue
			}
			switch w.fold.Add(*r) {
			case fold.Counted:
				counted++
				_, bot := w.fold.Last()
				s.count(r, bot, now)
			case fold.Duplicate:
				duplicates++
			case fold.Poison:
				poison++
			case fold.Stale: // a reader never goes back
			}
		}
		w.fold.Skip(chunk.Next)
		if chunk.Next <= next {
			return
		}
		if n := len(chunk.Records); n > 0 && chunk.Records[n-1].Offset >= next {
			w.last = totals.FingerprintOf(chunk.Records[n-1])
		}
		s.end(chunk.Next, w.last)
	})
	w.metrics.counted.Add(float64(counted))
	w.metrics.duplicates.Add(float64(duplicates))
	w.metrics.poison.Add(float64(poison))
}
