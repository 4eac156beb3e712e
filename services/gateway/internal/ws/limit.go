package ws

import (
	"hash/maphash"
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

// gates are a gate for every address, in a table of one size, so that there is nothing to remember of those who have gone
// and nothing that somebody could fill. Addresses that fall on one gate share it: of a flood from one address another one
// in four thousand has a part, and which ones nobody outside can tell.
type gates struct {
	seed  maphash.Seed
	table [1 << 12]gate
}

func (g *gates) of(a address) *gate {
	return &g.table[maphash.Comparable(g.seed, a)%uint64(len(g.table))]
}
