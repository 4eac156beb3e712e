// Package feed brings the records of a partition to a fold: in offset order, without gaps that nobody has looked into,
// in chunks that are small enough to be folded under a lock.
//
// A log without transactions or compaction has no holes in its offsets, so a hole is suspicious: a fetch that was
// answered wrongly looks the same as the marker of a foreign producer's transaction. A [Reader] therefore fetches a hole
// again, and only what is missing twice is passed on as missing.
package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// A Log's errors that a reader of it must treat differently from others, which pass by themselves. Sources wrap them.
var (
	// ErrLost is the answer to an offset below the start of the log: retention was faster than the reader.
	ErrLost = errors.New("records were removed before they were read")
	// ErrBeyondEnd is the answer to an offset above the end of the log: it was truncated, or its topic created anew.
	ErrBeyondEnd = errors.New("the log ends before the position")
)

// Source is a log of partitions. It is safe for concurrent use.
type Source interface {
	// Bounds returns the first offset of a partition and the one after its last.
	Bounds(ctx context.Context, partition int32) (start, end int64, err error)
	// Open returns a cursor at an offset. It does no I/O.
	Open(partition int32, from int64) Log
}

// Log is a cursor in one partition. It is not safe for concurrent use.
type Log interface {
	// Fetch returns what lies at the cursor and moves it behind that. It waits for records, for a while, and may answer
	// with none. The batch is valid until the next call.
	Fetch(ctx context.Context) (Batch, error)
	// Close releases what Open took.
	Close()
}

// Batch is an answer of a [Log].
type Batch interface {
	// Next fills in the next record and tells whether there was one. Key and Value are valid until the next call.
	// Records below the offset that was asked for are allowed: brokers answer with whole batches.
	Next(r *fold.Record) bool
	// Err says why Next ended before the end of the batch; nil where it did not.
	Err() error
	// Marks describes the log when the batch was fetched.
	Marks() Marks
}

// LogID tells logs apart that have one name, one after the other: a topic that was deleted and created again has another
// one. The zero value says that the source does not know.
type LogID [16]byte

// IsZero tells whether the source does not know which log it is.
func (id LogID) IsZero() bool { return id == LogID{} }

// Marks are the places of a partition that an answer tells.
type Marks struct {
	// Log is the log that the whole answer is of.
	Log LogID
	// Start is the first offset of the log.
	Start int64
	// End is the offset after the last record that can be read (the high watermark).
	End int64
	// Next is the offset after the batch.
	Next int64
	// AsOf is a time for which holds: each record appended before it is below End.
	AsOf time.Time
}

// Chunk is a stretch of the log. It is valid until the reader's next call.
type Chunk struct {
	// Records in the order of their offsets. A gap before, between or after them is a confirmed hole.
	Records []fold.Record
	// Next is the offset after the stretch.
	Next int64
	// Holes is how many offsets of the stretch hold no record.
	Holes int64
	// Marks are those of the answer that the chunk came with.
	Marks Marks
}

// MaxRecords is the most records that a chunk holds.
const MaxRecords = 256

// maxBytes ends a chunk early. One record larger than that makes a chunk of its own.
const maxBytes = 256 << 10

// Reader reads one partition. It is not safe for concurrent use.
type Reader struct {
	source    Source
	partition int32

	log   Log
	batch Batch // nil: fetch first
	next  int64 // where the next chunk begins

	// A record that was read from the batch and not yet passed on.
	pending    fold.Record
	hasPending bool

	// The hole that the last fetch showed and that the next one has to confirm; to is 0 where there is none.
	suspect struct{ from, to int64 }

	chunk Chunk
	buf   []byte
}

// NewReader returns a reader that begins at an offset. It does no I/O.
func NewReader(source Source, partition int32, from int64) *Reader {
	return &Reader{source: source, partition: partition, next: from}
}

// Close releases the cursor. The reader may be used again: it goes on where it was.
func (r *Reader) Close() {
	if r.log != nil {
		r.log.Close()
	}
	r.log, r.batch, r.hasPending = nil, nil, false
}

// Next returns the next chunk, which may be without records: then its marks are the news. After an error the reader
// stands where it stood, and a later call tries again; an error that matches ErrLost or ErrBeyondEnd stays.
func (r *Reader) Next(ctx context.Context) (*Chunk, error) {
	if r.batch == nil {
		if err := r.fetch(ctx); err != nil {
			r.Close()
			return nil, fmt.Errorf("reading partition %d at %d: %w", r.partition, r.next, err)
		}
	}
	if err := r.fill(); err != nil {
		r.Close()
		return nil, fmt.Errorf("reading partition %d at %d: %w", r.partition, r.next, err)
	}
	return &r.chunk, nil
}

func (r *Reader) fetch(ctx context.Context) error {
	if r.log == nil {
		r.log = r.source.Open(r.partition, r.next)
	}
	batch, err := r.log.Fetch(ctx)
	if err != nil {
		return err
	}
	// A fetch that got no further ends with an answer all the same: the marks say how far the log is.
	if start := batch.Marks().Start; start > r.next {
		return fmt.Errorf("%w: the log starts at %d", ErrLost, start)
	}
	r.batch = batch
	return nil
}

// fill moves records from the batch to the chunk until the chunk is full or the batch is empty.
func (r *Reader) fill() error {
	c := &r.chunk
	c.Records, c.Holes, c.Marks = c.Records[:0], 0, r.batch.Marks()
	r.buf = r.buf[:0]
	for len(c.Records) < MaxRecords {
		ok, err := r.peek()
		if err != nil {
			if len(c.Records) == 0 {
				return err
			}
			r.Close() // what was read is good; the next fetch begins where it ends, and meets the error again
			break
		}
		if !ok {
			if r.confirmed(c.Marks.Next) {
				r.pass(c.Marks.Next)
			}
			r.batch = nil
			break
		}
		size := len(r.pending.Key) + len(r.pending.Value)
		if len(c.Records) > 0 && len(r.buf)+size > maxBytes {
			break
		}
		if !r.confirmed(r.pending.Offset) {
			break
		}
		r.pass(r.pending.Offset)
		r.take()
	}
	c.Next = r.next
	return nil
}

// peek makes sure that the next record of the batch is pending, past those that are below the position.
func (r *Reader) peek() (ok bool, err error) {
	for !r.hasPending {
		if !r.batch.Next(&r.pending) {
			return false, r.batch.Err()
		}
		r.hasPending = r.pending.Offset >= r.next
	}
	return true, nil
}

// confirmed tells whether the log can be taken to go on at the offset to. Where that leaves a hole that was not there in
// the fetch before, it is not: the hole is remembered and fetched again.
func (r *Reader) confirmed(to int64) bool {
	if to <= r.next || (r.suspect.from == r.next && r.suspect.to == to) {
		return true
	}
	r.suspect.from, r.suspect.to = r.next, to
	r.Close()
	return false
}

// pass moves the position over a confirmed hole, if there is one.
func (r *Reader) pass(to int64) {
	if to > r.next {
		r.chunk.Holes += to - r.next
		r.next = to
	}
}

// take copies the pending record to the chunk.
func (r *Reader) take() {
	p := r.pending
	if need := len(p.Key) + len(p.Value); cap(r.buf)-len(r.buf) < need && len(r.chunk.Records) == 0 {
		r.buf = make([]byte, 0, max(need, maxBytes))
	}
	p.Key = r.copied(p.Key)
	p.Value = r.copied(p.Value)
	r.chunk.Records = append(r.chunk.Records, p)
	r.next = p.Offset + 1
	r.hasPending = false
}

func (r *Reader) copied(b []byte) []byte {
	at := len(r.buf)
	r.buf = append(r.buf, b...)
	return r.buf[at:len(r.buf):len(r.buf)]
}
