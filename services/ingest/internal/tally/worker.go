package tally

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/lineage"
)

// worker tallies one partition. Only its atomics may be used while it runs.
type worker struct {
	partition int32
	params    fold.Params
	source    feed.Source
	store     Store
	retention func(context.Context) (time.Duration, error)
	log       *zap.Logger
	metrics   *partitionMetrics

	// fold is nil until the partition is owned for the first time: it is megabytes. It knows the log from the offset from on,
	// and not what was cut of its first window.
	fold *fold.Fold
	from int64
	cut  cut
	// last is of the last record that the fold knows.
	last totals.Fingerprint
	// origin is the log that the totals are of, where that is known. isDoubted is set when another one is there, until that
	// has shown the record that the totals end with.
	origin    feed.LogID
	isDoubted bool
	// beyondSince is when the log was first seen to end below the totals; zero while it does not.
	beyondSince time.Time
	// stopped is why the worker needs an operator, empty while it does not.
	stopped Reason

	queue *queue
	// applied is where the totals are, as far as the worker knows, end where the log ended when it was last read.
	applied, end atomic.Int64
}

func newWorker(partition int32, cfg Config, deps Deps) *worker {
	return &worker{
		partition: partition, params: cfg.Fold, source: deps.Source, store: deps.Store, retention: deps.Retention,
		log:     deps.Log.With(zap.Int32("partition", partition)),
		metrics: deps.Metrics.of(partition),
	}
}

// run tallies until ctx ends.
func (w *worker) run(ctx context.Context) {
	defer w.metrics.disown()
	w.metrics.own()
	w.beyondSince, w.stopped = time.Time{}, "" // much may have happened while somebody else was the owner
	var pause backoff
	for ctx.Err() == nil {
		if err := w.tally(ctx, &pause); ctx.Err() == nil {
			w.pause(ctx, err, &pause)
		}
	}
}

// pause says what ended the tally and waits until it is to be tried again.
func (w *worker) pause(ctx context.Context, err error, pause *backoff) {
	var stop *StopError
	var refused *totals.RefusedError
	switch {
	case errors.As(err, &stop):
		if w.stopped != stop.Reason {
			w.log.Error("the tally has stopped", zap.Error(err))
		}
		w.stopped = stop.Reason
		w.metrics.stop(stop.Reason)
		wait(ctx, lookAgain)
	case errors.As(err, &refused):
		w.metrics.refuse(refused.Have > w.applied.Load())
		w.log.Info("the totals are somewhere else than expected, going on there",
			zap.Int64("totals_at", refused.Have), zap.Int64("expected_at", w.applied.Load()))
	default:
		if pause.first() {
			w.log.Warn("the tally was interrupted, trying again until it works", zap.Error(err))
		}
		w.metrics.interruptions.Inc()
		pause.wait(ctx)
	}
}

// resume says that nothing needs an operator any more, once something was applied or there was nothing to apply: what stops
// a worker may show only then.
func (w *worker) resume() {
	if w.stopped == "" {
		return
	}
	w.log.Info("the tally goes on", zap.String("stopped", string(w.stopped)))
	w.stopped = ""
	w.metrics.resume()
}

// tally goes on where the totals are, until something is wrong. It returns a *StopError where only an operator can mend
// that.
func (w *worker) tally(ctx context.Context, pause *backoff) error {
	next, err := w.begin(ctx)
	if err != nil {
		return stopFor(err)
	}
	w.queue = newQueue(w.partition, next)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	applied := make(chan error, 1)
	go func() {
		err := w.applyAll(ctx)
		cancel(err) // nothing is folded for a store that has refused it
		applied <- err
	}()
	err = w.foldAll(ctx, next, pause)
	w.queue.finish() // what was folded is applied still
	if applyErr := <-applied; applyErr != nil {
		err = applyErr
	}
	return stopFor(err)
}

// begin finds out where the totals are, makes sure that they are of this log, and makes the fold ready to go on there.
func (w *worker) begin(ctx context.Context) (next int64, err error) {
	start, end, err := w.source.Bounds(ctx, w.partition)
	if err != nil {
		return 0, err
	}
	pos, err := w.store.Position(ctx, w.partition)
	if errors.Is(err, totals.ErrMissing) {
		if err = w.create(ctx, start, end); err == nil {
			pos, err = w.store.Position(ctx, w.partition)
		}
	}
	if err != nil {
		return 0, err
	}
	if err := w.check(ctx, pos, start, end); err != nil {
		return 0, err
	}
	if err := w.align(ctx, pos, start); err != nil {
		return 0, err
	}
	w.end.Store(end)
	w.moveTo(pos.Next)
	return pos.Next, nil
}

// moveTo remembers where the totals are.
func (w *worker) moveTo(next int64) {
	w.applied.Store(next)
	w.metrics.position.Set(float64(next))
	w.measureLag()
}

func (w *worker) measureLag() { w.metrics.lag.Set(float64(max(w.end.Load()-w.applied.Load(), 0))) }

// create begins totals where the whole log is there to be counted, unless somebody else was faster.
func (w *worker) create(ctx context.Context, start, end int64) error {
	if start > 0 {
		return stopMissing(start)
	}
	if end > 0 { // of an empty log there are none
		w.log.Warn("redis has no totals of this partition: counting its log from the start", zap.Int64("log_end", end))
	}
	err := w.store.Apply(ctx, &totals.Batch{Partition: w.partition, From: totals.None})
	if _, refused := errors.AsType[*totals.RefusedError](err); refused {
		return nil
	}
	return err
}

// errBehind passes by itself, or becomes a *StopError.
var errBehind = errors.New("the log ends below the totals; its leader may be new and not know better yet")

// check makes sure that the totals are of this log and that the log has all they lack.
func (w *worker) check(ctx context.Context, pos totals.Position, start, end int64) error {
	if pos.Next > end {
		if w.beyondSince.IsZero() {
			w.beyondSince = time.Now()
		}
		if time.Since(w.beyondSince) < endGrace {
			return errBehind
		}
		return stopBeyondEnd(pos.Next, end)
	}
	w.beyondSince = time.Time{}
	if pos.Next < start {
		return stopLost(pos.Next, start)
	}
	found, log, err := lineage.Find(ctx, w.source, w.partition, pos.Last)
	switch {
	case err != nil:
		return err
	case found == lineage.Other:
		return stopOtherRecord(pos.Last)
	case found == lineage.Short:
		return errBehind
	case found == lineage.There:
		w.origin, w.isDoubted = log, false
	case pos.Next == 0: // nothing was counted: any log will do
		w.origin, w.isDoubted = feed.LogID{}, false
	}
	return nil
}

// errOtherLog ends a tally, and the next one finds out what the totals are of.
var errOtherLog = errors.New("the topic was created anew")

// sameLog makes sure that what was read is of the log that the totals are of, however fast another one has grown.
func (w *worker) sameLog(log feed.LogID) error {
	switch {
	case log.IsZero() || log == w.origin:
		return nil
	case w.origin.IsZero():
		w.origin = log
		return nil
	case w.isDoubted: // it was looked for, and retention has cut it
		return stopOtherLog()
	default:
		w.isDoubted = true
		return errOtherLog
	}
}

// align makes the fold ready to go on at pos. Where the totals are ahead of it by less than a window, reading on is all it
// takes. Where they are behind it, it knows what it must not know.
func (w *worker) align(ctx context.Context, pos totals.Position, start int64) error {
	warmFrom := max(start, pos.Next-w.params.Window)
	keep, err := w.canKeep(ctx, pos, warmFrom, start)
	if err != nil {
		return err
	}
	if !keep {
		if w.cut, err = w.findCut(ctx, warmFrom, pos.Next); err != nil {
			return err
		}
		w.metrics.warmUps.Inc()
		if w.fold == nil {
			w.fold = fold.New(w.params)
		}
		w.fold.Reset(warmFrom)
		w.from = warmFrom
	}
	w.last = pos.Last
	return nil
}

// canKeep tells whether the fold knows all that it must from warmFrom on, and nothing from pos on.
func (w *worker) canKeep(ctx context.Context, pos totals.Position, warmFrom, start int64) (bool, error) {
	if w.fold == nil {
		return false, nil
	}
	at := w.fold.Position()
	switch {
	case w.from > warmFrom, at < warmFrom, at > pos.Next:
		return false, nil
	case at == pos.Next:
		return w.last == pos.Last, nil
	}
	if w.last.Offset < start {
		return true, nil
	}
	// Others have gone on for so long that the fold may be of a log which is no more.
	found, _, err := lineage.Find(ctx, w.source, w.partition, w.last)
	return found == lineage.There || found == lineage.Unasked || found == lineage.Cut, err
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

const (
	backoffLeast = 50 * time.Millisecond
	backoffMost  = 500 * time.Millisecond
)

// backoff doubles from one wait to the next, up to half a second: totals must be right soon after a fault has ended.
type backoff struct{ next time.Duration }

// first tells whether the next wait is the first of a row: the time to say something.
func (b *backoff) first() bool { return b.next == 0 }

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(backoffLeast, 2*b.next), backoffMost)
	wait(ctx, b.next)
}
