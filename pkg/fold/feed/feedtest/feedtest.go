// Package feedtest is a log in memory for tests of what reads one: a [feed.Source] that a test appends to, cuts,
// truncates and breaks. Fetches wait on time and channels, so it works in a synctest bubble.
package feedtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// MaxWait is how long a fetch at the end of the log waits for records.
const MaxWait = 500 * time.Millisecond

// Topic is a log of partitions. It is safe for concurrent use.
type Topic struct {
	// BatchRecords is how many records an answer holds at most; 0 is 1,000. Not to be changed while the log is read.
	BatchRecords int
	// HasIDs makes answers tell which log they are of. Not to be changed while the log is read.
	HasIDs bool

	mu         sync.Mutex // guards what follows
	partitions []shard
	changed    chan struct{} // closed and replaced at every change
}

type shard struct {
	id         feed.LogID
	start, end int64
	records    []fold.Record
	hidden     map[int64]int // offset -> answers that will leave the record out
	broken     map[int64]int // offset -> answers that will end in an error before the record
	err        error         // of the fetches to come
	failures   int           // how many of them fail
}

// New returns a topic of empty partitions.
func New(partitions int) *Topic {
	t := &Topic{partitions: make([]shard, partitions), changed: make(chan struct{})}
	for i := range t.partitions {
		t.partitions[i].id = feed.LogID{1}
	}
	return t
}

// Append appends a copy of a record, whatever its Offset says, and returns the offset that it got.
func (t *Topic) Append(partition int32, r fold.Record) (offset int64) {
	t.change(partition, func(p *shard) {
		r.Offset, offset = p.end, p.end
		r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
		p.records = append(p.records, r)
		p.end++
	})
	return offset
}

// Hole makes the next n offsets hold no record.
func (t *Topic) Hole(partition int32, n int64) {
	t.change(partition, func(p *shard) { p.end += n })
}

// Cut removes the records below start, as retention does.
func (t *Topic) Cut(partition int32, start int64) {
	t.change(partition, func(p *shard) {
		p.start = start
		p.end = max(p.end, start)
		p.keep(func(o int64) bool { return o >= start })
	})
}

// Truncate removes the records from end on.
func (t *Topic) Truncate(partition int32, end int64) {
	t.change(partition, func(p *shard) {
		p.end = end
		p.start = min(p.start, end)
		p.keep(func(o int64) bool { return o < end })
	})
}

// CreateAnew puts another log in the place of a partition's, and records into that, all at once: no fetch fails of it.
func (t *Topic) CreateAnew(partition int32, records ...fold.Record) {
	t.change(partition, func(p *shard) {
		*p = shard{id: p.id}
		p.id[0]++
		for _, r := range records {
			r.Offset = p.end
			p.records = append(p.records, r)
			p.end++
		}
	})
}

// Hide leaves the record at an offset out of the next n answers that would have it.
func (t *Topic) Hide(partition int32, offset int64, n int) {
	t.change(partition, func(p *shard) {
		if p.hidden == nil {
			p.hidden = make(map[int64]int)
		}
		p.hidden[offset] = n
	})
}

// Break makes the next n answers that would have the record at an offset end before it, with [ErrBroken].
func (t *Topic) Break(partition int32, offset int64, n int) {
	t.change(partition, func(p *shard) {
		if p.broken == nil {
			p.broken = make(map[int64]int)
		}
		p.broken[offset] = n
	})
}

// ErrBroken is the error of a batch that does not decode.
var ErrBroken = errors.New("the batch does not decode")

// Fail makes the next n fetches and bounds of a partition fail with err.
func (t *Topic) Fail(partition int32, n int, err error) {
	t.change(partition, func(p *shard) { p.failures, p.err = n, err })
}

// Records returns the records that a partition holds. They are not to be written to.
func (t *Topic) Records(partition int32) []fold.Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]fold.Record(nil), t.partitions[partition].records...)
}

func (t *Topic) change(partition int32, f func(*shard)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.partitions[partition])
	close(t.changed)
	t.changed = make(chan struct{})
}

func (p *shard) keep(wanted func(offset int64) bool) {
	var kept []fold.Record
	for _, r := range p.records {
		if wanted(r.Offset) {
			kept = append(kept, r)
		}
	}
	p.records = kept
}

func (p *shard) failure() error {
	if p.failures == 0 {
		return nil
	}
	p.failures--
	return p.err
}

// Bounds implements [feed.Source].
func (t *Topic) Bounds(ctx context.Context, partition int32) (start, end int64, err error) {
	if ctx.Err() != nil {
		return 0, 0, context.Cause(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.partitions[partition]
	if err := p.failure(); err != nil {
		return 0, 0, err
	}
	return p.start, p.end, nil
}

// Open implements [feed.Source].
func (t *Topic) Open(partition int32, from int64) feed.Log {
	return &cursor{topic: t, partition: partition, next: from}
}

type cursor struct {
	topic     *Topic
	partition int32
	next      int64
}

func (c *cursor) Close() {}

// Fetch implements [feed.Log].
func (c *cursor) Fetch(ctx context.Context) (feed.Batch, error) {
	timer := time.NewTimer(MaxWait)
	defer timer.Stop()
	for waited := false; ; {
		b, changed, err := c.answer()
		if err != nil || waited || b.marks.Next > c.next {
			if err != nil {
				return nil, err
			}
			c.next = b.marks.Next
			return b, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			waited = true
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// answer returns what a fetch finds now, and a channel that is closed when something changes.
func (c *cursor) answer() (*batch, <-chan struct{}, error) {
	t := c.topic
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.partitions[c.partition]
	if err := p.failure(); err != nil {
		return nil, nil, err
	}
	switch {
	case c.next < p.start:
		return nil, nil, fmt.Errorf("offset %d, log start %d: %w", c.next, p.start, feed.ErrLost)
	case c.next > p.end:
		return nil, nil, fmt.Errorf("offset %d, log end %d: %w", c.next, p.end, feed.ErrBeyondEnd)
	}
	limit := t.BatchRecords
	if limit == 0 {
		limit = 1000
	}
	b := &batch{marks: feed.Marks{Start: p.start, End: p.end, Next: c.next, AsOf: time.Now()}}
	if t.HasIDs {
		b.marks.Log = p.id
	}
	stale := 0
	for i, r := range p.records {
		switch {
		case r.Offset < c.next:
			// A broker answers with whole batches: sometimes with records from before the offset.
			if i+2 >= len(p.records) || p.records[i+2].Offset >= c.next {
				b.records = append(b.records, r)
				stale++
			}
			continue
		case len(b.records)-stale >= limit:
			return b, t.changed, nil
		case p.broken[r.Offset] > 0:
			p.broken[r.Offset]--
			b.err = ErrBroken
			b.marks.Next = p.end // the header of a batch says so, whatever is in it
			return b, t.changed, nil
		case p.hidden[r.Offset] > 0:
			p.hidden[r.Offset]--
		default:
			b.records = append(b.records, r)
		}
		b.marks.Next = r.Offset + 1
	}
	b.marks.Next = p.end
	return b, t.changed, nil
}

type batch struct {
	records []fold.Record
	marks   feed.Marks
	lent    fold.Record
	err     error
}

func (b *batch) Next(r *fold.Record) bool {
	// What was lent is borrowed until now: whoever still looks at it shall see that.
	clear(b.lent.Key)
	clear(b.lent.Value)
	if len(b.records) == 0 {
		return false
	}
	b.lent = b.records[0]
	b.lent.Key, b.lent.Value = bytes.Clone(b.lent.Key), bytes.Clone(b.lent.Value)
	b.records = b.records[1:]
	*r = b.lent
	return true
}

func (b *batch) Err() error {
	if len(b.records) > 0 {
		return nil
	}
	return b.err
}

func (b *batch) Marks() feed.Marks { return b.marks }
