// Package recount computes totals the slow way that needs nobody's word: it folds a partition from the start of its log.
// It is how totals are read where no store keeps them, and how totals that a store keeps are verified.
package recount

import (
	"context"
	"fmt"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// Request says what to count.
type Request struct {
	Partition int32
	// Links to count; nil counts every link, and then memory grows with their number.
	Links []string
	// Progress, if not nil, is called after each chunk with the position and the end that is to be reached.
	Progress func(position, end int64)
}

// Result is what the log held.
type Result struct {
	// Totals by link, of the records [Start, Next). A link without clicks is not in it.
	Totals map[string]fold.Total
	// Start is the first offset of the log. Where it is not 0, the totals are those of what retention has left, not of
	// the link's whole life.
	Start int64
	// Next is the offset at which the totals are true: at least the end that the log had at the call.
	Next int64
	// Duplicates, Poison and Holes are how many offsets of [Start, Next) did not count, and why.
	Duplicates, Poison, Holes int64
}

// Run folds a partition from the start of its log to the end that the log has now. It takes f for it, which saves the
// memory of a new one, and leaves it at Next. Errors of the source are returned as they come: nothing is tried again. It
// uses f and source until it returns.
func Run(ctx context.Context, source feed.Source, f *fold.Fold, req Request) (Result, error) {
	start, end, err := source.Bounds(ctx, req.Partition)
	if err != nil {
		return Result{}, fmt.Errorf("recounting partition %d: %w", req.Partition, err)
	}
	res := Result{Start: start, Next: start, Totals: make(map[string]fold.Total, len(req.Links))}
	totals := make(map[string]*fold.Total, len(req.Links))
	for _, link := range req.Links {
		totals[link] = new(fold.Total)
	}
	f.Reset(start)
	reader := feed.NewReader(source, req.Partition, start)
	defer reader.Close()
	for res.Next < end {
		chunk, err := reader.Next(ctx)
		if err != nil {
			return Result{}, fmt.Errorf("recounting: %w", err)
		}
		res.count(f, chunk, totals, req.Links == nil)
		if req.Progress != nil {
			req.Progress(res.Next, end)
		}
	}
	for link, t := range totals {
		if t.Count > 0 {
			res.Totals[link] = *t
		}
	}
	return res, nil
}

func (r *Result) count(f *fold.Fold, chunk *feed.Chunk, totals map[string]*fold.Total, all bool) {
	for i := range chunk.Records {
		rec := &chunk.Records[i]
		switch f.Add(*rec) {
		case fold.Counted:
			t := totals[string(rec.Key)]
			if t == nil && all {
				t = new(fold.Total)
				totals[string(rec.Key)] = t
			}
			if t != nil {
				_, bot := f.Last()
				t.Add(bot, rec.TimeMs)
			}
		case fold.Duplicate:
			r.Duplicates++
		case fold.Poison:
			r.Poison++
		case fold.Stale: // a reader never goes back
		}
	}
	f.Skip(chunk.Next)
	r.Holes += chunk.Holes
	r.Next = chunk.Next
}
