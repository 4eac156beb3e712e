package keyring

import (
	"sync/atomic"
	"time"
)

// limit is how many clicks a key may send. The zero value is any number.
type limit struct {
	each  time.Duration // a click takes this long to be forgotten
	burst int           // clicks at once
}

// bucket holds what a key has sent and is not forgotten yet, as the time by which it is: one word, so that requests of a key
// neither wait for each other nor share a lock (the generic cell rate algorithm). It is safe for concurrent use.
type bucket struct {
	began time.Time    // times are counted from here, by the monotonic clock
	empty atomic.Int64 // nanoseconds since then
}

// wait returns how long it is until there is room for so many; 0: there is. More than a burst never has room.
func (b *bucket) wait(l limit, n int, now time.Time) time.Duration {
	if l.each == 0 {
		return 0
	}
	_, wait := b.next(l, n, now, b.empty.Load())
	return wait
}

// take is wait, and puts them in if there is room.
func (b *bucket) take(l limit, n int, now time.Time) time.Duration {
	if l.each == 0 {
		return 0
	}
	for {
		empty := b.empty.Load()
		next, wait := b.next(l, n, now, empty)
		if wait > 0 {
			return wait
		}
		if b.empty.CompareAndSwap(empty, next) {
			return 0
		}
	}
}

func (b *bucket) next(l limit, n int, now time.Time, empty int64) (next int64, wait time.Duration) {
	n = min(n, l.burst+1) // which is too many already, and no product that overflows
	since := int64(now.Sub(b.began))
	next = max(since, empty) + int64(n)*int64(l.each)
	return next, max(0, time.Duration(next-since)-time.Duration(l.burst)*l.each)
}
