package kafkalog

import (
	"fmt"
	"sync"
	"time"
)

// lane is the way to one partition: messages gather in batches, of which one at a time is on its way. Whoever took that
// one from the queue, a shipment or the lane's own goroutine, holds the lane until it settles the batch.
type lane struct {
	p         *Producer
	partition int32

	mu     sync.Mutex // guards what follows; held for a few instructions only
	queue  []*batch   // the last one is open: messages are added to it
	bytes  int        // of the queue and of the batch on its way
	active bool       // it is held, or the dispatcher knows that it has something in the queue
	closed bool
	spare  []byte // a buffer for the next batch
	fit    int    // how large batches are made: BatchBytes, or what the topic was seen to take

	// What follows belongs to who holds the lane.

	session  session
	started  bool // the session is there
	sequence int32
}

func newLane(p *Producer, partition int32) *lane {
	return &lane{p: p, partition: partition, fit: p.cfg.BatchBytes}
}

// add copies a message into the open batch and returns the batch and the message's place in it. It never waits, and the
// dispatcher is to be rung when there are no more messages to add.
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

// open returns a batch with room for size bytes. The caller holds mu.
func (l *lane) open(size int) *batch {
	if n := len(l.queue); n > 0 && len(l.queue[n-1].buf)+size <= l.fit {
		return l.queue[n-1]
	}
	b := newBatch(l.spare, time.Now())
	l.spare = nil
	l.queue = append(l.queue, b)
	if !l.active {
		l.active = true
		l.p.active.Add(1)
		l.p.dispatcher.add(l)
	}
	return b
}

// queued is how many bytes wait for their outcome.
func (l *lane) queued() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bytes
}

// close refuses messages from now on.
func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

// since is when the oldest batch in the queue was opened. There is one.
func (l *lane) since() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue[0].opened
}

// take takes the oldest batch if it has at most so many bytes. From then on it takes no more messages.
func (l *lane) take(most int) (b *batch, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b = l.queue[0]; len(b.buf) > most {
		return nil, false
	}
	n := copy(l.queue, l.queue[1:])
	l.queue[n] = nil
	l.queue = l.queue[:n]
	return b, true
}

// settle tells everybody who waits for the batch, and gives the lane back. The buffer of an attempt that failed may
// still be on its way to a socket, so only that of a clean one is used again.
func (l *lane) settle(b *batch, clean bool) {
	l.mu.Lock()
	l.bytes -= len(b.buf) - setSizeLen - batchHeaderLen
	if clean && l.spare == nil {
		l.spare = b.buf
	}
	l.mu.Unlock()
	close(b.done)
	l.release()
}

// release gives the lane back: to the dispatcher, where there is something in the queue.
func (l *lane) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 {
		l.p.dispatcher.add(l)
		return
	}
	l.active = false
	l.p.active.Done()
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
