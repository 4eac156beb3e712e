package follower

import (
	"cmp"
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// startAt returns where a partition is read from and where its warm-up ends, for a log that holds [start, end). The
// package's documentation says why there.
func startAt(start, end, window int64) (from, warmUntil int64) {
	from = max(start, end-2*window)
	if from == 0 {
		return 0, 0 // nothing came before: all of it can be counted
	}
	return from, max(from, end-window)
}

// follow reads the partition until ctx ends, and begins again after a loss.
func (p *partition) follow(ctx context.Context) {
	var pause backoff
	for {
		err := p.live(ctx, &pause)
		if ctx.Err() != nil {
			return
		}
		p.logRestart(err, &pause)
		if !pause.wait(ctx) {
			return
		}
	}
}

func (p *partition) logRestart(err error, pause *backoff) {
	switch {
	case errors.Is(err, feed.ErrLost):
		p.metrics.resyncs.WithLabelValues(resyncLost).Inc()
		p.log.Error("the log was cut before it was read, reading all totals again", zap.Error(err))
	case pause.first():
		p.log.Warn("the partition cannot be read, trying again until it can", zap.Error(err))
	}
}

// live starts the fold and feeds it until something is wrong that only a new start can mend.
func (p *partition) live(ctx context.Context, pause *backoff) error {
	start, end, err := p.source.Bounds(ctx, p.id)
	if err != nil {
		p.metrics.fetchErrors.Inc()
		return err
	}
	from, warmUntil := startAt(start, end, p.window)
	p.begin(from, warmUntil)
	if from >= end {
		p.caughtUp.Store(true) // there is nothing to catch up with
	}
	p.log.Debug("following", zap.Int64("log_start", start), zap.Int64("log_end", end),
		zap.Int64("from", from), zap.Int64("counted_from", warmUntil))
	reader := feed.NewReader(p.source, p.id, from)
	defer func() { reader.Close() }()
	read := &trail{next: from, answered: time.Now()}
	p.mu.Lock()
	p.read = read
	p.mu.Unlock()
	for {
		chunk, err := reader.Next(ctx)
		if err == nil {
			err = p.check(ctx, read, chunk)
		}
		switch {
		case err == nil:
			*pause = backoff{}
			p.resume()
			p.applyChunk(chunk, end)
			p.mu.Lock()
			read.keep(chunk)
			p.mu.Unlock()
		case ctx.Err() != nil, errors.Is(err, feed.ErrLost):
			return err
		default:
			if !p.retry(ctx, read, err, pause) {
				return ctx.Err()
			}
			reader.Close() // a chunk that was refused is read again
			reader = feed.NewReader(p.source, p.id, read.next)
		}
	}
}

// retry says what is wrong with the log and waits until it is to be tried again; it tells whether ctx still lives.
func (p *partition) retry(ctx context.Context, read *trail, err error, pause *backoff) bool {
	if pause.first() {
		p.log.Warn("the partition cannot be read, trying again until it can", zap.Error(err))
	}
	p.metrics.fetchErrors.Inc()
	p.suspect(read, err)
	if errors.Is(err, errOtherLog) {
		pause.most = lookAgain
	}
	return pause.wait(ctx)
}

// applyChunk applies a chunk and publishes how far that leads; firstEnd is the end that the log had at the start.
func (p *partition) applyChunk(chunk *feed.Chunk, firstEnd int64) {
	v := p.apply(chunk.Records, chunk.Next)
	p.metrics.count(v, chunk.Holes)
	p.position.Set(float64(chunk.Next))
	p.lag.Set(float64(max(chunk.Marks.End-chunk.Next, 0)))
	if chunk.Holes > 0 {
		p.log.Warn("offsets without a record, fetched twice: a foreign producer writes to the topic",
			zap.Int64("offsets", chunk.Holes), zap.Int64("before", chunk.Next))
	}
	if chunk.Next >= chunk.Marks.End {
		p.completeTo.Store(max(p.completeTo.Load(), chunk.Marks.AsOf.UnixNano()))
	}
	if chunk.Next >= firstEnd {
		p.caughtUp.Store(true)
	}
}

const (
	backoffLeast = 50 * time.Millisecond
	backoffMost  = 500 * time.Millisecond
)

// backoff doubles from one wait to the next, up to half a second: what it has grown to is waited for once more when the
// fault has ended, and leaders that move several times in a row let it grow. The zero value begins at the least.
type backoff struct {
	next time.Duration
	most time.Duration // 0: backoffMost
}

// first tells whether the next wait is the first of a row: the time to say something.
func (b *backoff) first() bool { return b.next == 0 }

func (b *backoff) reset() { b.next = 0 }

// wait waits and tells whether ctx still lives.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(backoffLeast, 2*b.next), cmp.Or(b.most, backoffMost))
	timer := time.NewTimer(b.next)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
