package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"go.uber.org/zap"
)

// lane is the way to one partition: messages gather in batches, one goroutine sends one batch at a time.
type lane struct {
	p         *Producer
	partition int32
	wake      chan struct{} // capacity 1: there is a batch, or the lane was closed
	ended     chan struct{} // closed when the goroutine has returned

	mu     sync.Mutex // guards what follows; held for a few instructions only
	queue  []*batch   // the last one is open: messages are added to it
	bytes  int        // of the queue and of the batch on its way
	closed bool
	spare  []byte // a buffer for the next batch
	fit    int    // how large batches are made: BatchBytes, or what the topic was seen to take

	// What follows belongs to the goroutine.

	session  session
	started  bool // the session is there
	sequence int32
}

func newLane(p *Producer, partition int32) *lane {
	return &lane{p: p, partition: partition, fit: p.cfg.BatchBytes, wake: make(chan struct{}, 1), ended: make(chan struct{})}
}

// add copies a message into the open batch and returns the batch and the message's place in it. It never waits.
func (l *lane) add(m *Message) (*batch, int32, error) {
	size := m.sizeBound()
	if size > l.p.cfg.BatchBytes {
		return nil, 0, fmt.Errorf("%w: about %d bytes of %d", ErrTooLarge, size, l.p.cfg.BatchBytes)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, 0, ErrClosed
	}
	if l.bytes+size > l.p.cfg.QueueBytes {
		l.p.metrics.queueFull.Inc()
		return nil, 0, ErrQueueFull
	}
	b := l.open(size)
	before := len(b.buf)
	place := b.add(m)
	l.bytes += len(b.buf) - before
	return b, place, nil
}

// queued is how many bytes wait for their outcome.
func (l *lane) queued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

// open returns a batch with room for size bytes. The caller holds mu. Whoever opens a batch wakes the goroutine, and
// nobody else needs to: it takes batches until there is none.
func (l *lane) open(size int) *batch {
	if n := len(l.queue); n > 0 && len(l.queue[n-1].buf)+size <= l.fit {
		return l.queue[n-1]
	}
	b := newBatch(l.spare, time.Now())
	l.spare = nil
	l.queue = append(l.queue, b)
	l.ring()
	return b
}

func (l *lane) ring() {
	select {
	case l.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// close refuses messages from now on; the goroutine ends when the queue is empty.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.ring()
}

func (l *lane) run() {
	defer close(l.ended)
	l.greet()
	for {
		b, more := l.next()
		switch {
		case b != nil:
			l.settle(b, l.send(b))
		case !more:
			return
		default:
			<-l.wake
		}
	}
}

// next takes the oldest batch, which takes no more messages then. more is false when the lane is closed and empty.
func (l *lane) next() (b *batch, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil, !l.closed
	}
	b = l.queue[0]
	n := copy(l.queue, l.queue[1:])
	l.queue[n] = nil
	l.queue = l.queue[:n]
	return b, true
}

// settle tells everybody who waits for the batch. The buffer of an attempt that failed may still be on its way to a
// socket, so only that of a clean one is used again.
func (l *lane) settle(b *batch, clean bool) {
	size := len(b.buf) - setSizeLen - batchHeaderLen
	l.mu.Lock()
	l.bytes -= size
	if clean && l.spare == nil {
		l.spare = b.buf
	}
	l.mu.Unlock()
	close(b.done)
}

// taken notes that a batch was acknowledged.
func (l *lane) taken(b *batch) {
	m := l.p.metrics
	m.records.Add(float64(b.count))
	m.batchRecords.Observe(float64(b.count))
	m.ackSeconds.Observe(time.Since(b.opened).Seconds())
	l.sequence = nextSequence(l.sequence, b.count)
	l.p.health.succeeded(l.partition)
}

// send tries to append a batch until it is acknowledged, hopeless, or out of time, and sets its outcome. clean tells that
// the first attempt was answered, so that nobody holds its bytes any more.
func (l *lane) send(b *batch) (clean bool) {
	ctx, cancel := context.WithDeadline(l.p.ctx, b.opened.Add(l.p.cfg.Deadline))
	defer cancel()
	var (
		pause   backoff
		perhaps bool // an attempt may have been appended
		sealed  bool
	)
	for attempt := 0; ; attempt++ {
		if ctx.Err() != nil && !perhaps { // it waited too long behind others, or the producer was closed
			b.err = l.giveUp(false, context.Cause(ctx))
			return false
		}
		if !sealed {
			if err := l.ensureSession(ctx, &pause); err != nil {
				b.err = l.giveUp(perhaps, err) // never perhaps: a batch is sealed anew only while it is not
				return false
			}
			b.seal(l.session, l.sequence)
			sealed = true
		}
		began := time.Now()
		v, err := l.attempt(ctx, b, attempt == 0)
		if v == acked {
			l.taken(b)
			return attempt == 0
		}
		l.p.health.failed(l.partition, began, err)
		switch v {
		case uncertain:
			perhaps = true
		case desync:
			// The broker's idea of the sequence is not ours. A fresh session is right from its first batch on; this batch
			// may go with it, unless an attempt may have been appended under the old one.
			l.started, sealed = false, false
			if perhaps {
				b.err = l.giveUp(perhaps, err)
				return false
			}
		case tainted:
			if !perhaps && b.count > 1 {
				l.sendParts(b, !errors.Is(err, kafka.InvalidRecord))
				return false
			}
			fallthrough
		case hopeless:
			b.err = l.giveUp(perhaps, err)
			return false
		case refused, acked:
		}
		if l.p.client.c.ctx.Err() != nil { // nothing will come of another attempt
			b.err = l.giveUp(perhaps, errClusterClosed)
			return false
		}
		if !pause.wait(ctx) {
			b.err = l.giveUp(perhaps, fmt.Errorf("within %v: %w", l.p.cfg.Deadline, err))
			return false
		}
	}
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

// attempt sends the batch once.
func (l *lane) attempt(ctx context.Context, b *batch, first bool) (verdict, error) {
	began := time.Now()
	sent := &body{bytes: b.buf}
	res, err := l.p.client.client().RawProduce(ctx, &kafka.RawProduceRequest{
		Topic: l.p.cfg.Topic, Partition: int(l.partition), RequiredAcks: kafka.RequireAll,
		RawRecords: protocol.RawRecordSet{Reader: sent},
	})
	v, reason := judge(res, err)
	if v == uncertain && sent.revoke() {
		v = refused // whatever went wrong, no broker has seen it
	}
	if v == acked {
		if res != nil && res.Error == nil {
			b.offset = res.BaseOffset
			if first { // the answer to a retry may tell when an earlier attempt was appended
				l.p.health.appended(res.LogAppendTime, began, time.Now())
			}
		}
		return v, nil
	}
	if err == nil {
		err = res.Error
	}
	err = l.p.client.explain(ctx, err)
	l.p.metrics.retries.WithLabelValues(reason).Inc()
	l.p.client.refresh(err)
	return v, err
}

// greet asks for a producer id before there is anything to send, so that the first message need not wait for it: on a
// fresh cluster it takes a second. Where it fails, that message asks again.
func (l *lane) greet() {
	if s, err := l.p.client.newSession(l.p.intake); err == nil {
		l.session, l.sequence, l.started = s, 0, true
	}
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
		if v, _ := judge(nil, err); v == hopeless || !pause.wait(ctx) {
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
