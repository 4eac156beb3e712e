package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"
)

// alone has the lane's own goroutine see to a batch that does not go with those of others, or did and came to nothing.
// failed is that trial; nil where there was none.
func (l *lane) alone(b *batch, failed *trial) {
	l.p.done.Go(func() {
		l.persist(b, failed)
		l.settle(b, false)
		l.p.dispatcher.ring()
	})
}

// persist tries to append a batch, in requests of its own, until it is acknowledged, hopeless, or out of time, and sets
// its outcome. failed is the trial in a request with others, if there was one: this goes on from it.
func (l *lane) persist(b *batch, failed *trial) {
	ctx, cancel := context.WithDeadline(l.p.ctx, b.opened.Add(l.p.cfg.Deadline))
	defer cancel()
	e := effort{lane: l, batch: b, sealed: failed != nil}
	if failed != nil && !e.goOn(ctx, failed) {
		return
	}
	for {
		if ctx.Err() != nil && !e.perhaps { // it waited too long behind others, or the producer was closed
			b.err = l.giveUp(false, context.Cause(ctx))
			return
		}
		if !e.sealed {
			if err := l.ensureSession(ctx, &e.pause); err != nil {
				b.err = l.giveUp(e.perhaps, err) // never perhaps: a batch is sealed anew only while it is not
				return
			}
			b.seal(l.session, l.sequence)
			e.sealed = true
		}
		t := l.attempt(ctx, b)
		if t.verdict == acked {
			b.offset = t.offset
			l.taken(b)
			return
		}
		if !e.goOn(ctx, &t) {
			return
		}
	}
}

// effort is what is done about one batch.
type effort struct {
	lane    *lane
	batch   *batch
	pause   backoff
	perhaps bool // a trial may have been appended
	sealed  bool // the batch's bytes are final
}

// goOn draws the consequence of a trial that came to nothing. It tells whether there is to be another one, and has
// waited for its time; if not, the batch has its outcome.
func (e *effort) goOn(ctx context.Context, t *trial) bool {
	l, b := e.lane, e.batch
	l.p.health.failed(l.partition, t.began, t.err)
	switch t.verdict {
	case uncertain:
		e.perhaps = true
	case desync:
		// The broker's idea of the sequence is not ours. A fresh session is right from its first batch on; this batch
		// may go with it, unless a trial may have been appended under the old one.
		l.started, e.sealed = false, false
		if e.perhaps {
			b.err = l.giveUp(true, t.err)
			return false
		}
	case tainted:
		if !e.perhaps && b.count > 1 {
			l.sendParts(b, !errors.Is(t.err, kafka.InvalidRecord))
			return false
		}
		fallthrough
	case hopeless:
		b.err = l.giveUp(e.perhaps, t.err)
		return false
	case refused, acked:
	}
	if l.p.client.c.ctx.Err() != nil { // nothing will come of another one
		b.err = l.giveUp(e.perhaps, errClusterClosed)
		return false
	}
	if !e.pause.wait(ctx) {
		b.err = l.giveUp(e.perhaps, fmt.Errorf("within %v: %w", l.p.cfg.Deadline, t.err))
		return false
	}
	return true
}

// attempt sends the batch once, in a request of its own.
func (l *lane) attempt(ctx context.Context, b *batch) trial {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	s := &shipment{p: l.p, cargo: []cargo{{lane: l, batch: b}}}
	s.attempt(ctx)
	return s.cargo[0].trial
}

// giveUp returns the outcome of a batch that is not tried again.
func (l *lane) giveUp(perhaps bool, err error) error {
	if perhaps {
		return l.unknown(err)
	}
	return fmt.Errorf("%w: %w", ErrNotAppended, err)
}

// unknown gives up on a batch that may have been appended. The session ends with it: the broker's next expected sequence
// is not known either.
func (l *lane) unknown(err error) error {
	l.started = false
	l.p.metrics.unknown.Inc()
	l.p.log.Warn("whether a batch was appended is not known",
		zap.String("topic", l.p.cfg.Topic), zap.Int32("partition", l.partition), zap.Error(err))
	return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
}

// greet asks for a producer id before there is anything to send, so that the first message need not wait for it: on a
// fresh cluster it takes a second. Where it fails, that message asks again. It gives the lane back.
func (l *lane) greet() {
	if s, err := l.p.client.newSession(l.p.intake); err == nil {
		l.session, l.sequence, l.started = s, 0, true
	}
	l.release()
	l.p.dispatcher.ring()
}

// ensureSession makes sure of a producer id, for as long as ctx lasts.
func (l *lane) ensureSession(ctx context.Context, pause *backoff) error {
	for !l.started {
		began := time.Now()
		s, err := l.p.client.newSession(ctx)
		if err == nil {
			l.session, l.sequence, l.started = s, 0, true
			return nil
		}
		l.p.metrics.retries.WithLabelValues("session").Inc()
		l.p.health.failed(l.partition, began, err)
		l.p.client.refresh(err)
		if v, _ := judge(err); v == hopeless || !pause.wait(ctx) {
			return err
		}
	}
	return nil
}

// backoff waits longer from one failure to the next, with full jitter: the partitions of a broker that died fail
// together and must not come back together.
type backoff struct{ failures int }

const (
	backoffBase = 20 * time.Millisecond
	backoffMost = time.Second
)

// wait waits, and returns false if ctx ended instead.
func (b *backoff) wait(ctx context.Context) bool {
	most := min(backoffMost, backoffBase<<min(b.failures, 10))
	b.failures++
	timer := time.NewTimer(backoffBase/2 + rand.N(most)) //nolint:gosec // spreads load; nothing depends on it being hard to guess
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
