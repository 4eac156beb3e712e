package tally

import (
	"context"
	"sync"
)

// queue is between the folding and the applying of one partition: a stretch that grows while the one before it is being
// applied. Its bound is a stretch; the folding waits while that is full.
type queue struct {
	// filled tells that there is something to apply, full that it must be applied before there can be more, emptied that
	// there is room again, finished that no more comes.
	filled, full, emptied, finished chan struct{}

	mu      sync.Mutex // guards what follows; held while a chunk is folded
	growing *stretch
	spare   *stretch // nil while it is being applied
}

func newQueue(partition int32, next int64) *queue {
	q := &queue{
		filled: make(chan struct{}, 1), full: make(chan struct{}, 1), emptied: make(chan struct{}, 1), finished: make(chan struct{}),
		growing: newStretch(partition), spare: newStretch(partition),
	}
	q.growing.begin(next)
	return q
}

// room waits until the stretch that grows is not full.
func (q *queue) room(ctx context.Context) error {
	for {
		q.mu.Lock()
		full := q.growing.isFull()
		q.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-q.emptied:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// add lets fill work on the stretch that grows.
func (q *queue) add(fill func(*stretch)) {
	q.mu.Lock()
	fill(q.growing)
	isEmpty, isFull := q.growing.isEmpty(), q.growing.isFull()
	q.mu.Unlock()
	if !isEmpty {
		signal(q.filled)
	}
	if isFull {
		signal(q.full)
	}
}

// finish says that nothing is added any more.
func (q *queue) finish() { close(q.finished) }

// take takes the stretch that has grown, nil where there is nothing to apply. It is the caller's until the next call.
func (q *queue) take() *stretch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.growing.isEmpty() {
		return nil
	}
	taken := q.growing
	q.growing, q.spare = q.spare, taken
	q.growing.begin(taken.batch.To)
	signal(q.emptied)
	return taken
}

// signal wakes whoever waits on c, or the next one who will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
