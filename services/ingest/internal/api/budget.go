package api

import "sync/atomic"

// budget bounds the memory of all requests that are being read or wait for Kafka, beyond the little that each has for
// free. Without it, every connection could hold a whole body's limit, or a thousand clicks of a dozen bytes each. It is
// asked as the bytes arrive, so a client has to send what it wants to block. When it is used up, requests are refused.
type budget struct {
	limit int64
	used  atomic.Int64
}

func (b *budget) take(n int) bool {
	if b.used.Add(int64(n)) > b.limit {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *budget) give(n int) { b.used.Add(-int64(n)) }

const (
	// freeBody and freeClicks are what a request has for free: a single click, or a small batch.
	freeBody   = 8 << 10
	freeClicks = 16
	// largeBody is the size of the body buffers that are kept for later requests: a batch of some hundred clicks.
	largeBody = 64 << 10
	// clickBytes is about what a click takes from being decoded until it is answered, its body aside.
	clickBytes = 512
)
