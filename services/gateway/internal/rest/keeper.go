package rest

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// keeper keeps the links of one epoch that requests asked for, and lets each go when nobody has asked for a while.
type keeper struct {
	source  Source
	linger  time.Duration
	most    int
	metrics *metrics
	over    chan struct{} // closed when the epoch is
	pasts   atomic.Int64  // histories that are kept

	mu    sync.Mutex // guards what follows and what held says; partitions' locks may be taken under it
	links map[string]*held
	idle  list.List   // of *held that no request uses, the one that is idle for longest in front
	timer *time.Timer // goes off when the front of idle has lingered; nil before the first
}

// held is a link that is watched for requests.
type held struct {
	link    string
	watched Watched
	past    past

	// users is how many requests use it, place where it lies among the idle ones, since when. The keeper's mutex guards
	// them.
	users int
	place *list.Element
	since time.Time

	mu   sync.Mutex    // guards news; no other lock is taken under it
	news chan struct{} // closed at the next change; nil: nobody waits for it
}

func newKeeper(source Source, linger time.Duration, most int, m *metrics) *keeper {
	return &keeper{source: source, linger: linger, most: most, metrics: m, over: make(chan struct{}), links: make(map[string]*held)}
}

// take returns a link for a request, which gives it back. The error is a refusal.
func (k *keeper) take(link string) (*held, *refusal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.links == nil {
		return nil, notReady()
	}
	h := k.links[link]
	if h == nil {
		if len(k.links) >= k.most && !k.makeRoom() {
			return nil, refuse(reasonBusy, "requests under way need all the links that this gateway watches for requests; come again")
		}
		h = &held{link: link}
		k.links[link] = h
		k.metrics.links.Inc()
		h.watched = k.source.Counts.Watch(link, h)
	}
	if h.place != nil {
		k.idle.Remove(h.place)
		h.place = nil
	}
	h.users++
	return h, nil
}

// give takes a link back from a request. It lingers.
func (k *keeper) give(h *held) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h.users--; h.users > 0 || k.links == nil {
		return
	}
	h.since = time.Now()
	h.place = k.idle.PushBack(h)
	switch {
	case k.timer == nil:
		k.timer = time.AfterFunc(k.linger, k.expire)
	case k.idle.Len() == 1:
		k.timer.Reset(k.linger)
	}
}

// expire lets go of what has lingered. It runs when the timer goes off.
func (k *keeper) expire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for front := k.idle.Front(); front != nil; front = k.idle.Front() {
		h := front.Value.(*held)
		if left := k.linger - time.Since(h.since); left > 0 {
			k.timer.Reset(left)
			return
		}
		k.drop(h, evictedIdle)
	}
}

// makeRoom lets go of the link that is idle for longest; false: all are in use. The caller holds k.mu.
func (k *keeper) makeRoom() bool {
	front := k.idle.Front()
	if front != nil {
		k.drop(front.Value.(*held), evictedFull)
	}
	return front != nil
}

// drop lets go of a link. The caller holds k.mu.
func (k *keeper) drop(h *held, why eviction) {
	delete(k.links, h.link)
	if h.place != nil {
		k.idle.Remove(h.place)
		h.place = nil
	}
	k.forget(h)
	h.watched.Release(h)
	k.metrics.links.Dec()
	k.metrics.evicted[why].Inc()
}

// close lets go of everything. Requests that wait are woken.
func (k *keeper) close() {
	close(k.over)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, h := range k.links {
		k.drop(h, evictedEpoch)
	}
	k.links = nil
	if k.timer != nil {
		k.timer.Stop()
	}
}

// Changed implements Watcher.
func (h *held) Changed() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.news != nil {
		close(h.news)
		h.news = nil
	}
}

// changes returns a channel that is closed at the next change.
func (h *held) changes() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.news == nil {
		h.news = make(chan struct{})
	}
	return h.news
}

// await returns once the link has a count, ctx has ended or the epoch is over, and tells whether it has one.
func (k *keeper) await(ctx context.Context, h *held) bool {
	for {
		news := h.changes() // before the look, so that a change after it is heard
		if _, ok := h.watched.Read(); ok {
			return true
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		case <-k.over:
			return false
		}
	}
}
