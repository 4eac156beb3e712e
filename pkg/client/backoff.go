package client

import (
	"context"
	"math/rand/v2"
	"time"
)

// jitter returns a random wait before attempt n, counted from 0: anything from 0 to base·2^n, at most limit. The full
// range spreads clients that lost the same server at the same moment; half of it still makes them come in waves.
func jitter(base, limit time.Duration, n int) time.Duration {
	const doublings = 30 // beyond which any base is over any limit
	most := limit
	if d := base << min(n, doublings); n < doublings && d > 0 && d < limit {
		most = d
	}
	return rand.N(most + 1) //nolint:gosec // spreads load, guards nothing
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
