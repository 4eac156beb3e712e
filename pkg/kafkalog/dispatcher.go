package kafkalog

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// patience is how long the answer of a leader is waited for before the batches that gathered meanwhile for its other
	// partitions go out beside it. Waiting is what makes requests few and large; its end keeps a partition whose replicas
	// are slow from holding the others up. Replicas of a healthy cluster answer within it.
	patience = 20 * time.Millisecond
	// requestBytes bounds the records of one request; brokers take a hundred times as much by default. What has no room
	// goes with the next one, and comes first there.
	requestBytes = 1 << 20
	// leadersFor is how long the dispatcher goes by what it knows of the leaders. The library sends requests to whom it
	// knows as the leader itself: here it is only about what goes together.
	leadersFor = 100 * time.Millisecond
)

// dispatcher decides which batches go out together: whatever has gathered for the partitions of a leader while a request
// to it was out makes up the next one. A request costs client and broker about the same with one batch as with ten.
//
// What is not plain sailing it leaves to the lane's own goroutine: see [lane.persist].
type dispatcher struct {
	p     *Producer
	wake  chan struct{} // capacity 1
	ended chan struct{} // closed when no lane will be active any more
	end   func()

	mu    sync.Mutex // guards ready
	ready []*lane    // lanes with something in the queue that nobody holds

	unseen atomic.Bool // there is something in ready; changed under mu
	stale  atomic.Bool // the leaders may have changed

	// What follows belongs to the goroutine.

	waiting []*lane             // what was ready, in that order
	last    map[int32]*shipment // the latest one to each leader
	leaders []int32             // by partition; -1: not known
	asked   time.Time
}

func newDispatcher(p *Producer) *dispatcher {
	d := &dispatcher{p: p, wake: make(chan struct{}, 1), ended: make(chan struct{}), last: map[int32]*shipment{}}
	d.end = sync.OnceFunc(func() { close(d.ended) })
	return d
}

// add notes that a lane has something in the queue and nobody holds it. The dispatcher does not look before it is rung.
func (d *dispatcher) add(l *lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ready = append(d.ready, l)
	d.unseen.Store(true)
}

// ringIfReady rings unless the dispatcher has seen all that is ready. Most messages find their lane waiting already, and
// whoever is awaited there rings: a wake-up for each message would cost as much as adding it.
func (d *dispatcher) ringIfReady() {
	if d.unseen.Load() {
		d.ring()
	}
}

// ring makes the dispatcher look at what is ready.
func (d *dispatcher) ring() {
	select {
	case d.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

func (d *dispatcher) run() {
	for {
		select {
		case <-d.wake:
			d.dispatch()
		case <-d.ended:
			return
		}
	}
}

// dispatch sends what is ready, but for what waits for the answer of its leader.
func (d *dispatcher) dispatch() {
	d.mu.Lock()
	d.waiting = append(d.waiting, d.ready...)
	clear(d.ready)
	d.ready = d.ready[:0]
	d.unseen.Store(false)
	d.mu.Unlock()
	if len(d.waiting) == 0 {
		return
	}
	now := time.Now()
	d.look(now)
	var formed []*shipment
	held := d.waiting[:0]
	for _, l := range d.waiting {
		leader := d.leaders[l.partition]
		if !d.shares(l, leader, now) {
			b, _ := l.take(l.p.cfg.BatchBytes)
			l.alone(b, nil)
			continue
		}
		s := d.last[leader]
		if s == nil || !s.forming && !s.awaited(now) {
			s = &shipment{p: d.p, began: now, forming: true}
			d.last[leader] = s
			formed = append(formed, s)
		}
		if !s.forming || !s.load(l) {
			held = append(held, l)
		}
	}
	clear(d.waiting[len(held):])
	d.waiting = held
	for _, s := range formed {
		s.forming = false
		d.p.done.Go(s.ship)
	}
}

// shares tells whether a lane's next batch may go out with those of others. One that has less time left than a request
// may take goes alone: its end must not be theirs.
func (d *dispatcher) shares(l *lane, leader int32, now time.Time) bool {
	return leader >= 0 && l.started && d.p.ctx.Err() == nil && now.Sub(l.since()) <= d.p.cfg.Deadline-requestTimeout
}

// look brings what is known of the leaders up to date, from what the library has in memory.
func (d *dispatcher) look(now time.Time) {
	stale := d.stale.Swap(false)
	if !stale && d.leaders != nil && now.Sub(d.asked) < leadersFor {
		return
	}
	d.asked = now
	if d.leaders == nil {
		d.leaders = make([]int32, len(d.p.lanes))
	}
	for i := range d.leaders {
		d.leaders[i] = -1
	}
	ctx, cancel := context.WithTimeout(d.p.ctx, cacheTimeout)
	defer cancel()
	parts, err := d.p.client.partitions(ctx)
	if err != nil {
		return // who sends alone finds out why
	}
	for _, p := range parts {
		if p.ID < len(d.leaders) && p.Error == nil && p.Leader.Host != "" {
			d.leaders[p.ID] = int32(p.Leader.ID) //nolint:gosec // an int32 on the wire
		}
	}
}
