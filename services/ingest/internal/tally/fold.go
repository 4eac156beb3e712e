package tally

import (
	"cmp"
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// lastRead bounds what a worker does that is told to end while it rests: reading what has come meanwhile. A healthy broker
// takes milliseconds for it.
const lastRead = 500 * time.Millisecond

// foldAll folds the log from where the fold is and queues what counts from the offset next on, until it cannot be read
// or ctx ends.
func (w *worker) foldAll(ctx context.Context, next int64, pause *backoff) error {
	reader := feed.NewReader(w.source, w.partition, w.fold.Position())
	defer reader.Close()
	for {
		chunk, err := w.foldNext(ctx, reader, next)
		if err != nil {
			return err
		}
		pause.reset()
		if len(chunk.Records) == 0 || chunk.Next < chunk.Marks.End {
			continue
		}
		if wait(ctx, rest(w.partition, time.Now())); ctx.Err() != nil {
			return w.foldLast(ctx, reader, next)
		}
	}
}

// foldLast folds what came while the worker rested, so that what was in the log when it was told to end is in the totals
// when it has ended.
func (w *worker) foldLast(ctx context.Context, reader *feed.Reader, next int64) error {
	lastCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastRead)
	defer cancel()
	_, end, err := w.source.Bounds(lastCtx, w.partition)
	for err == nil && w.fold.Position() < end {
		_, err = w.foldNext(lastCtx, reader, next)
	}
	return cmp.Or(err, context.Cause(ctx))
}

// foldNext folds the next chunk.
func (w *worker) foldNext(ctx context.Context, reader *feed.Reader, next int64) (*feed.Chunk, error) {
	chunk, err := reader.Next(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.sameLog(chunk.Marks.Log); err != nil {
		return nil, err
	}
	w.end.Store(chunk.Marks.End)
	w.measureLag()
	if chunk.Holes > 0 {
		w.metrics.holes.Add(float64(chunk.Holes))
		w.log.Warn("offsets without a record, fetched twice: a foreign producer writes to the topic",
			zap.Int64("offsets", chunk.Holes), zap.Int64("before", chunk.Next))
	}
	if err := w.cut.check(chunk, next); err != nil {
		return nil, err
	}
	if err := w.queue.room(ctx); err != nil {
		return nil, err
	}
	w.foldChunk(chunk, next)
	return chunk, nil
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
