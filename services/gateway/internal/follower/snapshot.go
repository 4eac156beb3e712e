package follower

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

const (
	// maxAsked bounds one read of totals: how long the store works on it while it answers nobody else, and how many links
	// land under one hold of the lock.
	maxAsked = 1024
	// stride is how many offsets of the ring are walked under one hold of the lock.
	stride = 4096
	// totalsBackoff is the longest wait between two reads that fail. With the time that a read may take it bounds how
	// long links stay syncing when whatever was wrong with the totals is over.
	totalsBackoff = 500 * time.Millisecond
)

// readTotals reads the totals of links that wait for them, one call at a time, until ctx ends. Links that come during a
// call go into the next one. While reads fail, one link is asked for on behalf of all: what is wrong is wrong with the
// partition, and thousands of links that wait would otherwise be read over and over from a store in trouble.
func (p *partition) readTotals(ctx context.Context) {
	pause := backoff{most: totalsBackoff}
	for {
		most := maxAsked
		if !pause.first() {
			most = 1
		}
		links, life := p.takeWaiting(most)
		if len(links) == 0 {
			pause.reset()
			p.trouble.over(p.reading)
			p.reading = readLanded
			select {
			case <-p.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		result := p.readOnce(ctx, links, life)
		if ctx.Err() != nil {
			return
		}
		if result == readLanded || result == readSuperseded {
			pause.reset()
		} else if !pause.wait(ctx) {
			return
		}
	}
}

// readOnce asks for the totals of links and lands them. It returns one of the read results.
func (p *partition) readOnce(ctx context.Context, links []*Watched, life int) (result string) {
	names := make([]string, len(links))
	for i, w := range links {
		names[i] = w.link
	}
	begun := time.Now()
	sums, pos, err := p.askStore(ctx, names, life)
	if err == nil {
		result = p.land(links, life, sums, pos.Next)
	} else {
		p.askAgain(links)
		result = resultOf(err)
	}
	p.metrics.reads.WithLabelValues(result).Inc()
	p.metrics.readSeconds.Observe(time.Since(begun).Seconds())
	if result != readSuperseded && ctx.Err() == nil {
		p.trouble.change(p.reading, result, zap.Int32("partition", p.id), zap.Int64("totals_at", pos.Next), zap.Error(err))
		p.reading = result
	}
	return result
}

// askStore is a call of the Snapshotter that ends in time, and makes sure that the answer is of the follower's log.
func (p *partition) askStore(ctx context.Context, links []string, life int) (map[string]fold.Total, At, error) {
	if p.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.patience)
		defer cancel()
	}
	sums, at, err := p.snapshots.Totals(ctx, p.id, links)
	if err == nil {
		err = p.prove(ctx, at, life)
	}
	if err != nil {
		return nil, at, err
	}
	return sums, at, nil
}

// prove returns nil where totals are of the log that the follower reads.
//
// What was read from the log is, where that has the follower's id, or where there are no ids still has its last record.
// That is asked for after the totals were read: no log comes back.
//
// What a store keeps is held against the log by the record that it ends with, once in a life: it stays what it was when
// the topic is created anew, and whoever starts after that has nothing else to tell it by. From then on the tally that
// moves it on and the follower of the log each make sure that it is the same.
func (p *partition) prove(ctx context.Context, at At, life int) error {
	last := at.Last
	switch {
	case at.IsRead && !at.Log.IsZero():
		return p.claim(at, at.Log)
	case at.IsRead:
		last = p.lastRead()
	case last.IsZero() || p.proven == life:
		return nil
	case p.lastRead() == last: // the follower has seen the record itself, and the log need not be there
		p.proven = life
		return nil
	}
	shown, err := p.hasRecord(ctx, last)
	if err != nil {
		return fmt.Errorf("holding the totals at %d against the log: %w", at.Next, err)
	}
	if err := p.claim(at, shown); err != nil {
		return err
	}
	p.proven = life
	return nil
}

// claim returns nil unless totals are of another log than the records. The first that is known of either decides.
func (p *partition) claim(at At, log feed.LogID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.origin.IsZero() {
		p.origin = log
	}
	if !log.IsZero() && log != p.origin {
		return fmt.Errorf("the totals at %d are of another log: %w", at.Next, errOtherLog)
	}
	return nil
}

// takeWaiting takes up to most links whose totals are to be read, and the life they are read for.
func (p *partition) takeWaiting(most int) (links []*Watched, life int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == 0 || p.stopped != "" {
		return nil, 0 // nothing to stitch to; begin and resume wake the reader
	}
	for w := range p.waiting {
		if len(links) == most {
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
func (p *partition) land(links []*Watched, life int, read map[string]fold.Total, next int64) (result string) {
	sums := make(map[string]*fold.Total, len(links))
	for _, w := range links {
		sum := read[w.link]
		sums[w.link] = &sum
	}
	for at := next; result == ""; {
		at, result = p.landStride(links, life, sums, at, next)
	}
	return result
}

// floor is the oldest offset from which it is known what was counted. While the fold warms up, what the ring has now is
// not what it will have. The caller holds p.mu.
func (p *partition) floor() int64 { return max(p.fold.Floor(), p.warmUntil) }

func (p *partition) landStride(
	links []*Watched, life int, sums map[string]*fold.Total, at, next int64,
) (reached int64, result string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch position := p.fold.Position(); {
	case p.life != life:
		return at, readSuperseded // begin or stop has put the links back
	case at < p.floor():
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
