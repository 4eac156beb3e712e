package client

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Waits between requests to ingest.
const (
	postBackoff    = 100 * time.Millisecond
	postBackoffMax = 5 * time.Second
)

// effort decides how much the next request carries and when it may begin.
type effort struct {
	most     int
	limit    int // most, or less after a request that was too much
	failures int // requests in a row of which nothing was delivered
}

func newEffort(most int) effort { return effort{most: most, limit: most} }

// after takes the outcome of a request into account, whose clicks were sent up to attempts times, and returns how long
// what it did not deliver has to wait.
func (e *effort) after(out Outcome, attempts int) time.Duration {
	switch {
	case out.Err == nil:
		e.failures = 0
		e.limit = min(2*e.limit, e.most)
		return 0
	case out.Unauthorized: // others may be let in later, and ingest is not to be asked for each
		e.failures++
		return jitter(postBackoff, postBackoffMax, e.failures-1)
	case out.TooMuch:
		e.limit = max(1, len(out.Fates)/2)
		return 0
	case slices.Contains(out.Fates, FateRefused): // and nothing else is wrong
		return 0
	case slices.Contains(out.Fates, FateDelivered):
		e.failures = 0
		return out.RetryAfter + jitter(postBackoff, postBackoffMax, attempts-1)
	default:
		e.failures++
		return out.RetryAfter + jitter(postBackoff, postBackoffMax, e.failures-1)
	}
}

// Delivery configures [Poster.Deliver]. Its functions, where they are set, are called before Deliver returns.
type Delivery struct {
	// OnTrouble is told of each request that did not deliver everything, and how long Deliver waits before the next.
	OnTrouble func(err error, wait time.Duration)
	// OnRefused is told of each click that ingest refuses for good, by its index, and why.
	OnRefused func(index int, err error)
}

// Deliver posts clicks, which must have ids, and posts again until each of them is in the log or refused for good, at the
// pace that ingest asks for: it waits where [Sender] drops. It returns early only when ctx ends or when ingest refuses the
// credentials, and then says how far it got: fates[i] is what is known of clicks[i]. The error is that of ctx, or wraps
// [ErrUnauthorized]: then the clicks can be sent again with other credentials.
func (p *Poster) Deliver(ctx context.Context, clicks []Click, d Delivery) (fates []Fate, err error) {
	fates = make([]Fate, len(clicks))
	fill(fates, FateFailed)
	waiting := make([]int, len(clicks)) // the indices of what is not settled
	for i := range waiting {
		waiting[i] = i
	}
	effort := newEffort(maxBatch)
	batch := make([]Click, 0, min(len(clicks), maxBatch))
	for attempts := 1; len(waiting) > 0; attempts++ {
		batch = batch[:0]
		for _, i := range waiting[:min(len(waiting), effort.limit)] {
			batch = append(batch, clicks[i])
		}
		out := p.Post(ctx, batch)
		var again []int
		for n, fate := range out.Fates {
			i := waiting[n]
			if fate != FateFailed || fates[i] != FateUnknown { // a doubt stays until it is settled
				fates[i] = fate
			}
			switch fate {
			case FateRefused:
				if d.OnRefused != nil {
					d.OnRefused(i, out.Err)
				}
			case FateFailed, FateUnknown:
				again = append(again, i)
			case FateDelivered:
			}
		}
		waiting = append(again, waiting[len(out.Fates):]...)
		wait := effort.after(out, attempts)
		if ctx.Err() != nil && len(waiting) > 0 {
			return fates, fmt.Errorf("delivering %d clicks, of which %d are not settled: %w", len(clicks), len(waiting), context.Cause(ctx))
		}
		if out.Unauthorized {
			return fates, fmt.Errorf("delivering %d clicks, of which %d are not settled: %w", len(clicks), len(waiting), out.Err)
		}
		if out.Err != nil && d.OnTrouble != nil {
			d.OnTrouble(out.Err, wait)
		}
		pause(ctx, wait)
	}
	return fates, nil
}
