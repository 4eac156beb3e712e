package tally

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

const (
	// idle is how soon a worker without clicks asks the store where the totals are.
	idle = time.Second
	// applyEvery is the time between two batches that are not full, give or take half of it ([rest]). Nobody waits for
	// totals: gateways add what the log has beyond them. So a quarter of a second later costs nobody anything, and spares
	// Redis most of the calls.
	applyEvery = 250 * time.Millisecond
)

// applyAll applies what was folded until no more comes. It returns nil then, and what the store says where that ends it.
func (w *worker) applyAll(ctx context.Context) error {
	timer, pace := time.NewTimer(idle), time.NewTimer(0)
	defer timer.Stop()
	defer pace.Stop()
	for {
		select {
		case <-w.queue.filled:
			select {
			case <-pace.C:
			case <-w.queue.full:
			case <-w.queue.finished:
			}
			if err := w.drain(ctx); err != nil {
				return err
			}
			pace.Reset(rest(w.partition, time.Now())) // not applyEvery: who was late once would stay so
		case <-timer.C:
			if err := w.reread(ctx); err != nil {
				return err
			}
		case <-w.queue.finished:
			return w.drain(ctx)
		}
		timer.Reset(idle)
	}
}

// drain applies what was folded by now.
func (w *worker) drain(ctx context.Context) error {
	for s := w.queue.take(); s != nil; s = w.queue.take() {
		if err := w.apply(ctx, &s.batch); err != nil {
			return err
		}
	}
	return nil
}

// apply applies a batch, however often that has to be tried. A store that does not answer within its own deadline leaves
// the outcome open, which the same batch closes. A call is not broken off when ctx ends: it is short, and the next owner
// would have to wait for its outcome.
func (w *worker) apply(ctx context.Context, b *totals.Batch) error {
	var pause backoff
	begun := time.Now()
	for {
		err := w.store.Apply(context.WithoutCancel(ctx), b)
		var refused *totals.RefusedError
		if errors.As(err, &refused) && refused.Have == b.To {
			err = nil // it was applied: by a call without an answer, or by somebody who counted the same
		}
		if err == nil {
			w.moveTo(b.To)
			w.resume()
			w.metrics.apply(b, time.Since(begun))
			return nil
		}
		if !totals.IsAway(err) {
			return err
		}
		if pause.first() {
			w.log.Warn("totals cannot be stored, trying again until they can", zap.Error(err))
		}
		w.metrics.interruptions.Inc()
		if pause.wait(ctx); ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// reread makes sure that the totals are still where they were left.
func (w *worker) reread(ctx context.Context) error {
	pos, err := w.store.Position(ctx, w.partition)
	switch {
	case errors.Is(err, totals.ErrMissing):
		return &totals.RefusedError{Have: totals.None}
	case err != nil && totals.IsAway(err):
		return nil // whatever it is at, nothing can be done now
	case err != nil:
		return err
	case pos.Next != w.applied.Load():
		return &totals.RefusedError{Have: pos.Next}
	}
	w.resume()
	return nil
}
