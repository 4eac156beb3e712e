package follower

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

const (
	// maxAsked bounds one read of totals, and with it the time for which its landing holds the lock.
	maxAsked = 4096
	// stride is how many offsets of the ring are walked under one hold of the lock.
	stride = 4096
)

// readTotals reads the totals of links that wait for them, one call at a time, until ctx ends. Links that come during a
// call go into the next one.
func (p *partition) readTotals(ctx context.Context) {
	var pause backoff
	for {
		links, life := p.takeWaiting()
		if len(links) == 0 {
			select {
			case <-p.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		switch result := p.readOnce(ctx, links, life, pause.first()); result {
		case readLanded, readSuperseded:
			pause.reset()
		default:
			if !pause.wait(ctx) {
				return
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// readOnce asks for the totals of links and lands them. It returns one of the read results.
func (p *partition) readOnce(ctx context.Context, links []*Watched, life int, isFirst bool) (result string) {
	names := make([]string, len(links))
	for i, w := range links {
		names[i] = w.link
	}
	begun := time.Now()
	totals, next, err := p.snapshots.Totals(ctx, p.id, names)
	if err == nil {
		result = p.land(links, life, totals, next)
	} else {
		p.askAgain(links)
		result = readFailed
	}
	p.metrics.reads.WithLabelValues(result).Inc()
	p.metrics.readSeconds.Observe(time.Since(begun).Seconds())
	switch {
	case !isFirst || ctx.Err() != nil: // said already, or on purpose
	case result == readFailed:
		p.log.Warn("totals cannot be read, their links are syncing until they can",
			zap.Int("links", len(links)), zap.Error(err))
	case result == readBehind:
		p.log.Warn("totals are older than the ring, their links are syncing until they have moved on",
			zap.Int("links", len(links)), zap.Int64("totals_at", next))
	}
	return result
}

// takeWaiting takes links whose totals are to be read, and the life they are read for.
func (p *partition) takeWaiting() (links []*Watched, life int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == 0 {
		return nil, 0 // nothing to stitch to yet; begin wakes the reader
	}
	for w := range p.waiting {
		if len(links) == maxAsked {
			break
		}
		delete(p.waiting, w)
		w.state = asked
		links = append(links, w)
	}
	return links, p.life
}

// askAgain puts links that got no answer back on the list.
func (p *partition) askAgain(links []*Watched) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requeue(links)
}

func (p *partition) requeue(links []*Watched) {
	for _, w := range links {
		if w.state == asked { // not released, and not put back by a new start
			p.enqueue(w)
		}
	}
}

// land stitches totals that are true at next to the live records. One walk of the ring serves all links. The lock is
// given back after every stride: a walk of the whole ring would hold up the log and the readers for a millisecond. The
// position may move on between two strides, and so may the floor; what counted at an offset never changes.
func (p *partition) land(links []*Watched, life int, totals map[string]fold.Total, next int64) (result string) {
	sums := make(map[string]*fold.Total, len(links))
	for _, w := range links {
		sum := totals[w.link]
		sums[w.link] = &sum
	}
	for at := next; result == ""; {
		at, result = p.landStride(links, life, sums, at, next)
	}
	return result
}

func (p *partition) landStride(
	links []*Watched, life int, sums map[string]*fold.Total, at, next int64,
) (reached int64, result string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch position := p.fold.Position(); {
	case p.life != life:
		return at, readSuperseded // begin has put the links back
	case at < max(p.fold.Floor(), p.warmUntil): // while it warms up, what the ring has now is not what it will have
		p.requeue(links)
		return at, readBehind
	case at < position:
		to := min(at+stride, position)
		for c := range p.fold.Counted(at, to) {
			if sum := sums[string(c.Link)]; sum != nil {
				sum.Add(c.Bot, c.TimeMs)
			}
		}
		if to < position {
			return to, ""
		}
	}
	for _, w := range links {
		if w.state != asked {
			continue // released meanwhile; whoever watches the link again has a Watched and a read of their own
		}
		w.state, w.total, w.from = known, *sums[w.link], next
		p.metrics.waiting.Dec()
		w.changed()
	}
	return at, readLanded
}
