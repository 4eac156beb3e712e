package ws

import (
	"sync"
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

// places counts the connections that there are, for the limit on them and for who waits for their end.
type places struct {
	mu    sync.Mutex // guards what follows
	n     int
	empty chan struct{} // closed when n falls to 0, nil while nobody waits
}

// enter takes a place unless most are taken.
func (p *places) enter(most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n >= most {
		return false
	}
	p.n++
	return true
}

// leave gives a place back.
func (p *places) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n--; p.n == 0 && p.empty != nil {
		close(p.empty)
		p.empty = nil
	}
}

func (p *places) taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// wait returns at a moment at which no place is taken.
func (p *places) wait() {
	p.mu.Lock()
	if p.n == 0 {
		p.mu.Unlock()
		return
	}
	if p.empty == nil {
		p.empty = make(chan struct{})
	}
	empty := p.empty
	p.mu.Unlock()
	<-empty
}
