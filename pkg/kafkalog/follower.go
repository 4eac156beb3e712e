package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

const (
	// fetchWait is how long a broker holds an answer while there is nothing new. New records end the wait at once, so it
	// is no latency; it bounds how long the watermark of a quiet partition stands still.
	fetchWait = 500 * time.Millisecond
	// fetchTimeout is how long an answer may take in all: a connection that is dead is given up after it.
	fetchTimeout = fetchWait + 1500*time.Millisecond
	// fetchBytes bounds an answer. One batch that is larger comes whole all the same (KIP-74).
	fetchBytes = 1 << 20
)

// Source gives the partitions of a topic to whoever folds them. It is safe for concurrent use.
func (c *Cluster) Source(topic string) feed.Source { return source{c: c, topic: topic} }

type source struct {
	c     *Cluster
	topic string
}

// Bounds implements [feed.Source].
func (s source) Bounds(ctx context.Context, partition int32) (start, end int64, err error) {
	b, err := s.c.Bounds(ctx, s.topic, partition)
	return b.Start, b.End, err
}

// Open implements [feed.Source].
func (s source) Open(partition int32, from int64) feed.Log {
	return &Follower{c: s.c, topic: s.topic, partition: partition, next: from}
}

// Follow returns a cursor in a partition. It does no I/O.
func (c *Cluster) Follow(topic string, partition int32, from int64) *Follower {
	return &Follower{c: c, topic: topic, partition: partition, next: from}
}

// Follower is a cursor in a partition: it fetches what lies there, then waits for more. Fetches are answered as soon as a
// record arrives. It is not safe for concurrent use.
type Follower struct {
	c         *Cluster
	topic     string
	partition int32
	next      int64
	batch     Batch
}

// Close implements [feed.Log].
func (f *Follower) Close() { f.batch.release(&f.c.sets) }

// Fetch returns the records at the cursor and moves it behind them; the batch is valid until the next call. It waits up
// to half a second for records and answers with none then. An error that wraps [feed.ErrLost] or [feed.ErrBeyondEnd]
// stays; any other passes by itself, and a later call goes on where this one stood.
//
// Where the brokers have topic ids, the batch is of the topic whose id its marks tell, and of no other that has the name.
// Where the topic was created anew, a fetch fails, and those behind it are of the new one: at the cursor there.
//
// The batch's time AsOf is when the request was sent: the broker looked at its log after that, how long after is not
// known. What had been acknowledged by then is below the end that it tells, with one exception. A replica that has just
// become the leader has all that was acknowledged, but learns from the others how much of it that is, and tells too low an
// end until it knows. Where that shows, because the end is below the cursor, AsOf is the beginning of time. Where it
// does not, what it leaves out follows with the next answers.
func (f *Follower) Fetch(ctx context.Context) (feed.Batch, error) {
	f.batch.release(&f.c.sets)
	t, err := f.c.topic(f.topic)
	if err != nil {
		return nil, err
	}
	// The library tells the broker to wait for at most half of what is left of a deadline. Under ctx's own the waits
	// would halve until they are none, and fetches spin.
	fetchCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	id, err := t.id(fetchCtx)
	var res *fetchResponse
	sent := time.Now()
	if err == nil {
		res, err = t.fetch(fetchCtx, id, f.partition, f.next)
	}
	switch {
	case err == nil:
	case errors.Is(err, kafka.OffsetOutOfRange):
		return nil, f.outOfRange(ctx)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("fetching %s/%d at %d: %w", f.topic, f.partition, f.next, context.Cause(ctx))
	default:
		err = t.explain(ctx, t.forget(id, err))
		t.refresh(err)
		return nil, fmt.Errorf("fetching %s/%d at %d: %w", f.topic, f.partition, f.next, err)
	}
	b := &f.batch
	if err := b.read(res, f.next); err != nil {
		return nil, fmt.Errorf("reading %s/%d at %d: %w", f.topic, f.partition, f.next, err)
	}
	b.marks.Log, b.marks.AsOf = id, sent
	if b.marks.End < f.next {
		b.marks.AsOf = time.Unix(0, 0)
	}
	f.next = b.marks.Next
	return b, nil
}

// outOfRange finds out on which side of the log the cursor is.
func (f *Follower) outOfRange(ctx context.Context) error {
	b, err := f.c.Bounds(ctx, f.topic, f.partition)
	switch {
	case err != nil:
		return err
	case f.next < b.Start:
		return fmt.Errorf("%w: %s/%d starts at %d, the position is %d", feed.ErrLost, f.topic, f.partition, b.Start, f.next)
	case f.next > b.End:
		return fmt.Errorf("%w: %s/%d ends at %d, the position is %d", feed.ErrBeyondEnd, f.topic, f.partition, b.End, f.next)
	default:
		return fmt.Errorf("fetching %s/%d at %d: it was out of range and is not any more", f.topic, f.partition, f.next)
	}
}

// Batch is what a fetch brought. It is used again for the next fetch of its follower.
type Batch struct {
	records []recordRef
	data    []byte  // what they refer to: set, or copies
	copies  []byte  // what the library read, one behind the other
	set     *[]byte // a record set in wire form, which goes back to its pool with the next fetch; nil is none
	at      int     // of the next record
	marks   feed.Marks
}

// recordRef is a record whose key and value lie in the batch's data.
type recordRef struct {
	offset, timeMs               int64
	key, keyEnd, value, valueEnd int
}

// Marks implements [feed.Batch].
func (b *Batch) Marks() feed.Marks { return b.marks }

// Err implements [feed.Batch]. A batch is read whole before anybody sees it.
func (b *Batch) Err() error { return nil }

// Next implements [feed.Batch].
func (b *Batch) Next(r *fold.Record) bool {
	if b.at == len(b.records) {
		return false
	}
	ref := &b.records[b.at]
	b.at++
	r.Offset, r.TimeMs = ref.offset, ref.timeMs
	r.Key = b.data[ref.key:ref.keyEnd:ref.keyEnd]
	r.Value = b.data[ref.value:ref.valueEnd:ref.valueEnd]
	return true
}

// release gives the record set back, and forgets the records in it.
func (b *Batch) release(to *sync.Pool) {
	b.records, b.data, b.at = b.records[:0], nil, 0
	if b.set != nil {
		to.Put(b.set)
		b.set = nil
	}
}

// read takes the records out of an answer to a fetch at the offset from.
func (b *Batch) read(res *fetchResponse, from int64) error {
	b.records, b.at = b.records[:0], 0
	b.marks = feed.Marks{Start: res.LogStartOffset, End: res.HighWatermark, Next: from}
	if b.set = res.set; b.set != nil {
		return b.readSet(*b.set, from)
	}
	return b.readLibrary(res.Records, from)
}

// readLibrary takes the records out of what the client library has read. It copies them: nothing of the library's buffers
// is kept.
func (b *Batch) readLibrary(records kafka.RecordReader, from int64) error {
	b.copies = b.copies[:0]
	defer func() { b.data = b.copies }()
	if closer, ok := records.(io.Closer); ok {
		defer closer.Close()
	}
	stream, ok := records.(*protocol.RecordStream)
	if !ok {
		return b.copyRecords(records)
	}
	if len(stream.Records) > 0 {
		// An answer begins with the batch that spans the offset that was asked for. Where compaction has removed the end
		// of that batch there is no record at it or behind it, and where the batch ends the library does not tell: the
		// cursor goes on by one, or it would be answered with the same batch for ever.
		b.marks.Next = from + 1
	}
	for _, part := range stream.Records {
		switch part := part.(type) {
		case *protocol.ControlBatch:
			// A marker of somebody's transaction: one record, which nobody reads and which has an offset.
			b.marks.Next = max(b.marks.Next, part.Offset()+1)
			continue
		case *protocol.RecordBatch: // it may have lost all its records, and is kept for its producer's sequence
			b.marks.Next = max(b.marks.Next, part.Offset()+1)
		}
		if err := b.copyRecords(part); err != nil {
			return err
		}
	}
	return nil
}

func (b *Batch) copyRecords(records kafka.RecordReader) error {
	for {
		r, err := records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		ref := recordRef{offset: r.Offset, timeMs: r.Time.UnixMilli(), key: len(b.copies)}
		if b.copies, err = appendBytes(b.copies, r.Key); err != nil {
			return err
		}
		ref.keyEnd, ref.value = len(b.copies), len(b.copies)
		if b.copies, err = appendBytes(b.copies, r.Value); err != nil {
			return err
		}
		ref.valueEnd = len(b.copies)
		b.records = append(b.records, ref)
		b.marks.Next = max(b.marks.Next, r.Offset+1)
	}
}

// appendBytes appends what the client library's lazy byte sequence holds; nil is none.
func appendBytes(dst []byte, from protocol.Bytes) ([]byte, error) {
	if from == nil {
		return dst, nil
	}
	defer from.Close()
	at, n := len(dst), from.Len()
	dst = slices.Grow(dst, n)[:at+n]
	_, err := io.ReadFull(from, dst[at:])
	return dst, err
}
