package totalscmd

import (
	"context"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

const (
	// holdFor is for how long the lock outlives a process that was killed, and lateFor, which is less, for how long what
	// depends on it may take since it was sure: a process that was stopped meanwhile finds that its time is over.
	holdFor = 2 * time.Minute
	lateFor = 75 * time.Second
	// holdEvery is how often it is extended.
	holdEvery = 15 * time.Second
)

// holder holds the lock that keeps two operators from changing totals at once.
type holder struct {
	lock   *totals.Lock
	cancel context.CancelCauseFunc
	done   chan struct{}
}

// hold takes the lock. The context that it returns ends when the lock is lost.
func (s *session) hold(ctx context.Context) (context.Context, *holder, error) {
	lock, err := s.store.Lock(ctx, "totals", s.env.Owner, holdFor)
	if err != nil {
		return nil, nil, fmt.Errorf("changing totals, which one does at a time (one that was killed counts for %v): %w", holdFor, err)
	}
	h := &holder{lock: lock, done: make(chan struct{})}
	ctx, h.cancel = context.WithCancelCause(ctx)
	go func() {
		defer close(h.done)
		h.keep(ctx)
	}()
	return ctx, h, nil
}

// keep extends the lock until ctx ends. A Redis that is away for a moment is no reason to give up.
func (h *holder) keep(ctx context.Context) {
	for sure := time.Now(); pause(ctx, holdEvery); {
		switch err := h.lock.Extend(ctx); {
		case err == nil:
			sure = time.Now()
		case !totals.IsAway(err) || time.Since(sure) > lateFor:
			h.cancel(err)
			return
		}
	}
}

// sure makes sure that the lock is held, and returns a context that ends before it can be lost. Where the command was told
// to end, ctx is that of [afterwards].
func (h *holder) sure(ctx context.Context) (context.Context, context.CancelFunc, error) {
	ctx, cancel := context.WithTimeout(ctx, lateFor)
	if err := h.lock.Extend(ctx); err != nil {
		cancel()
		return nil, nil, err
	}
	return ctx, cancel, nil
}

// release gives the lock back.
func (h *holder) release(ctx context.Context) {
	h.cancel(nil)
	<-h.done
	late, cancel := afterwards(ctx)
	defer cancel()
	_ = h.lock.Release(late) // it ends by itself
}

// endFor is for how long somebody who told a command to end waits for it at most.
const endFor = 20 * time.Second

// afterwards returns a context for what must be done although ctx has ended.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), endFor)
}
