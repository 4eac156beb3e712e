package ws

import (
	"sync/atomic"
	"time"
)

// bucket is a token bucket, in the form that needs one number: the time, on the handler's clock, until which tokens have
// been used.
type bucket struct{ spent time.Duration }

// take takes a token of a bucket that gets one per every and holds at most burst. It returns how long to wait for the
// token, 0 when one was there. Waiting is the caller's affair: the token is taken.
func (b *bucket) take(now, every time.Duration, burst int) (wait time.Duration) {
	b.spent = max(b.spent, now-time.Duration(burst)*every) + every
	return max(0, b.spent-now)
}

// charge takes more tokens for what turned out to be dearer. Who comes next waits for them.
func (b *bucket) charge(every time.Duration, tokens int) { b.spent += time.Duration(tokens) * every }

// gate is a bucket that takes no more than it has. It is safe for concurrent use.
type gate struct{ spent atomic.Int64 }

// pass takes a token if there is one.
func (g *gate) pass(now, every time.Duration, burst int) bool {
	for {
		spent := g.spent.Load()
		next := max(spent, int64(now-time.Duration(burst)*every)) + int64(every)
		if next > int64(now) {
			return false
		}
		if g.spent.CompareAndSwap(spent, next) {
			return true
		}
	}
}
