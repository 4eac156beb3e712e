package client

import (
	"context"
	"slices"
	"time"
)

// item is a click on its way.
type item struct {
	click    Click
	attempts int
	// doubt is when the first attempt began that may have put it into the log, zero if none did.
	doubt time.Time
}

// loop is what only the Sender's goroutine touches.
type loop struct {
	s *Sender
	// again waits until againAt for another attempt.
	again   []item
	againAt time.Time
	// pauseUntil is when the next request may begin.
	pauseUntil time.Time
	effort     effort
	// clicks is the memory of one request.
	clicks []Click
}

// loop delivers until the Sender is closed and empty, or ctx ends.
func (s *Sender) loop(ctx context.Context) {
	defer close(s.done)
	l := loop{s: s, effort: newEffort(s.opts.MaxBatch)}
	for ctx.Err() == nil {
		pause(ctx, time.Until(l.pauseUntil))
		l.expire()
		batch := l.next()
		if len(batch) > 0 {
			l.send(ctx, batch)
			continue
		}
		if !l.idle(ctx) {
			break
		}
	}
	l.abandon()
}

// idle waits for work. False: there will be none.
func (l *loop) idle(ctx context.Context) bool {
	s := l.s
	s.mu.Lock()
	finished := s.closed && s.pending == 0
	s.mu.Unlock()
	if finished {
		return false
	}
	var due <-chan time.Time
	if len(l.again) > 0 {
		t := time.NewTimer(time.Until(l.againAt))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-s.wake:
	case <-due:
	case <-ctx.Done():
	}
	return true
}

// next takes the clicks of the next request: first those that were tried before, if their time has come.
func (l *loop) next() []item {
	var batch []item
	if !time.Now().Before(l.againAt) {
		n := min(len(l.again), l.effort.limit)
		batch = slices.Clone(l.again[:n])
		l.again = slices.Delete(l.again, 0, n)
	}
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.queue), l.effort.limit-len(batch))
	batch = append(batch, s.queue[:n]...)
	clear(s.queue[:n]) // the array lives on under the rest of the queue
	s.queue = s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil
	}
	return batch
}

// expire gives up what may not be sent again any more.
func (l *loop) expire() {
	l.again = slices.DeleteFunc(l.again, func(it item) bool {
		if it.doubt.IsZero() || time.Since(it.doubt) < RetryHorizon {
			return false
		}
		l.s.drop(it, DropUnknown, nil)
		return true
	})
}

// send makes one request of the batch and settles what it can.
func (l *loop) send(ctx context.Context, batch []item) {
	l.clicks = l.clicks[:0]
	for i := range batch {
		l.clicks = append(l.clicks, batch[i].click)
	}
	begun := time.Now()
	out := l.s.poster.Post(ctx, l.clicks)
	clear(l.clicks)
	retry := slices.Clone(batch[len(out.Fates):]) // did not fit: the next request has them
	delivered, retried, attempts := 0, 0, 0
	for i, fate := range out.Fates {
		it := batch[i]
		if it.attempts > 0 {
			retried++
		}
		it.attempts++
		if out.Unauthorized {
			l.s.drop(it, DropUnauthorized, out.Err)
			continue
		}
		switch fate {
		case FateDelivered:
			delivered++
			continue
		case FateRefused:
			l.s.drop(it, DropRefused, out.Err)
			continue
		case FateUnknown:
			if it.doubt.IsZero() {
				it.doubt = begun
			}
		case FateFailed:
		}
		attempts = max(attempts, it.attempts)
		retry = append(retry, it)
	}
	l.s.account(delivered, retried, out.Err)
	wait := l.effort.after(out, attempts)
	if len(retry) > 0 {
		l.again = append(retry, l.again...)
		l.againAt = time.Now().Add(wait)
	}
	if delivered == 0 {
		l.pauseUntil = time.Now().Add(wait) // otherwise some partitions work, and their clicks do not wait for the others
	}
	if out.Err != nil && ctx.Err() == nil && l.s.opts.OnTrouble != nil {
		l.s.opts.OnTrouble(out.Err, wait)
	}
}

// abandon drops what is left.
func (l *loop) abandon() {
	s := l.s
	s.mu.Lock()
	s.closed = true
	left := slices.Concat(l.again, s.queue)
	s.queue = nil
	s.mu.Unlock()
	for _, it := range left {
		s.drop(it, DropClosed, nil)
	}
	s.abandoned = len(left)
}

// drop settles a click that is not delivered.
func (s *Sender) drop(it item, reason DropReason, err error) {
	s.mu.Lock()
	s.pending--
	s.stats.Dropped[reason]++
	s.mu.Unlock()
	if s.opts.OnDrop != nil {
		s.opts.OnDrop(it.click, reason, err)
	}
}

// account counts a request.
func (s *Sender) account(delivered, retried int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending -= delivered
	s.stats.Requests++
	s.stats.Delivered += int64(delivered)
	s.stats.Retried += int64(retried)
	s.stats.LastError = err
	if err != nil {
		s.stats.Failed++
	}
}
