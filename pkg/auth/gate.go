package auth

import (
	"context"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// gateQueue is how many verifications may wait. A thousand dashboards that come back at once are served by their
	// retries; without a bound all of them would wait until they have given up, and their signatures be verified for
	// nobody.
	gateQueue = 256
	// gatePatience is how long one waits.
	gatePatience = time.Second
)

// gate lets as many verifications in as there are cores: each is nothing but computing, so more at a time would only make
// all of them late, and whatever else the process does.
type gate struct {
	slots   chan struct{}
	waiting atomic.Int64
}

func newGate() *gate { return &gate{slots: make(chan struct{}, runtime.GOMAXPROCS(0))} }

// enter waits for a place, and tells whether there is one: leave gives it back.
func (g *gate) enter(ctx context.Context) bool {
	select {
	case g.slots <- struct{}{}:
		return true
	default:
	}
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > gateQueue {
		return false
	}
	timer := time.NewTimer(gatePatience)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		return true
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
}

func (g *gate) leave() { <-g.slots }
