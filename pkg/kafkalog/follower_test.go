package kafkalog

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

func TestFollowerTellsLossFromAShortLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		for i := range 5 {
			if _, err := appendOne(p, 0, strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.fake.DeleteRecords(topic, 0, 3); err != nil {
			t.Fatal(err)
		}
		if _, err := w.cluster.Follow(topic, 0, 2).Fetch(t.Context()); !errors.Is(err, feed.ErrLost) {
			t.Fatalf("Fetch below the start = %v", err)
		}
		if _, err := w.cluster.Follow(topic, 0, 6).Fetch(t.Context()); !errors.Is(err, feed.ErrBeyondEnd) {
			t.Fatalf("Fetch beyond the end = %v", err)
		}
		began := time.Now()
		batch, err := w.cluster.Follow(topic, 0, 5).Fetch(t.Context())
		if err != nil || time.Since(began) != fetchWait {
			t.Fatalf("Fetch at the end = %v after %v", err, time.Since(began))
		}
		if m := batch.Marks(); m.Start != 3 || m.End != 5 || m.Next != 5 || !m.AsOf.Equal(began) {
			t.Fatalf("marks %+v", m)
		}
	})
}

// at returns the batch as it would lie in a log at an offset, with changes to its header.
func at(offset int64, batch []byte, change func(header []byte)) []byte {
	batch = bytes.Clone(batch)
	binary.BigEndian.PutUint64(batch, uint64(offset))
	if change != nil {
		change(batch)
		binary.BigEndian.PutUint32(batch[atCRC:], crc32.Checksum(batch[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	}
	return batch
}

// spans makes a batch look as if it once went on to more offsets, as compaction leaves it.
func spans(n uint32) func([]byte) {
	return func(header []byte) { binary.BigEndian.PutUint32(header[atLastOffsetDelta:], n-1) }
}

func emptied(header []byte) { binary.BigEndian.PutUint32(header[atLastOffsetDelta:], 0) }

func control(header []byte) {
	binary.BigEndian.PutUint16(header[atAttributes:], uint16(protocol.Control))
}

// What a log can hold, answer by answer.
func TestFollowerReadsAnswers(t *testing.T) {
	t.Parallel()
	three := sealed([]Message{{Value: []byte("a")}, {Value: []byte("b")}, {Value: []byte("c")}}, session{}, 0)
	none := sealed(nil, session{}, 0)
	marker := sealed([]Message{{Key: []byte{0, 0, 0, 1}, Value: []byte{0, 0, 0, 0, 0, 0}}}, session{}, 0)
	broken := at(3, three, nil)
	broken[len(broken)-1]++ // the CRC tells
	for name, tc := range map[string]struct {
		from    int64
		batches [][]byte
		offsets []int64
		next    int64
	}{
		"nothing":                                {5, nil, nil, 5},
		"a batch":                                {10, [][]byte{at(10, three, nil)}, []int64{10, 11, 12}, 13},
		"from the middle of a batch":             {11, [][]byte{at(10, three, nil)}, []int64{10, 11, 12}, 13},
		"two batches":                            {0, [][]byte{at(0, three, nil), at(3, three, nil)}, []int64{0, 1, 2, 3, 4, 5}, 6},
		"a batch and a part of one":              {0, [][]byte{at(0, three, nil), at(3, three, nil)[:70]}, []int64{0, 1, 2}, 3},
		"a batch and a broken one":               {0, [][]byte{at(0, three, nil), broken}, []int64{0, 1, 2}, 3},
		"a marker":                               {4, [][]byte{at(4, marker, control)}, nil, 5},
		"a batch and a marker":                   {0, [][]byte{at(0, three, nil), at(3, marker, control)}, []int64{0, 1, 2}, 4},
		"a marker and a batch":                   {2, [][]byte{at(2, marker, control), at(3, three, nil)}, []int64{3, 4, 5}, 6},
		"a batch that lost its end":              {3, [][]byte{at(0, three, spans(5))}, []int64{0, 1, 2}, 5},
		"further in it":                          {4, [][]byte{at(0, three, spans(5))}, []int64{0, 1, 2}, 5},
		"one that lost its end and another":      {3, [][]byte{at(0, three, spans(5)), at(5, three, nil)}, []int64{0, 1, 2, 5, 6, 7}, 8},
		"a batch that lost everything":           {7, [][]byte{at(7, none, emptied)}, nil, 8},
		"a batch behind a hole":                  {0, [][]byte{at(9, three, nil)}, []int64{9, 10, 11}, 12},
		"one that lost everything behind a hole": {0, [][]byte{at(7, none, emptied)}, nil, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, byName := followed(t, tc.from, tc.batches...), followedByName(t, tc.from, tc.batches...)
			offsets := offsetsOf(b)
			if !slices.Equal(offsets, tc.offsets) || b.Marks().Next != tc.next {
				t.Fatalf("offsets %v, next %d; want %v, %d", offsets, b.Marks().Next, tc.offsets, tc.next)
			}
			// Where a batch ends that has lost its end the library does not tell: the cursor goes on by one at a time.
			if got := offsetsOf(byName); !slices.Equal(got, offsets) || byName.Marks().Next > tc.next || byName.Marks().Next < min(tc.next, tc.from+1) {
				t.Fatalf("by name: offsets %v, next %d; want %v, %d", got, byName.Marks().Next, offsets, tc.next)
			}
		})
	}
}

func offsetsOf(b *Batch) (offsets []int64) {
	for r := (fold.Record{}); b.Next(&r); {
		offsets = append(offsets, r.Offset)
	}
	return offsets
}

// A foreign producer may compress its batches, or write in the format of before 2017.
func TestFollowerReadsForeignFormats(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]protocol.RecordSet{
		"message set":            {Version: 1},
		"message set, gzip":      {Version: 1, Attributes: protocol.Gzip},
		"record batch, gzip":     {Version: 2, Attributes: protocol.Gzip},
		"record batch, snappy":   {Version: 2, Attributes: protocol.Snappy},
		"record batch, lz4":      {Version: 2, Attributes: protocol.Lz4},
		"record batch, zstd":     {Version: 2, Attributes: protocol.Zstd},
		"record batch, in a txn": {Version: 2, Attributes: protocol.Transactional},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var records []protocol.Record
			for i := range 100 {
				records = append(records, protocol.Record{
					Offset: int64(i), Time: time.UnixMilli(int64(1000 + i)),
					Key: protocol.NewBytes([]byte("link")), Value: protocol.NewBytes([]byte(strconv.Itoa(i))),
				})
			}
			set.Records = protocol.NewRecordReader(records...)
			var wire bytes.Buffer
			if _, err := set.WriteTo(&wire); err != nil {
				t.Fatal(err)
			}
			b := followed(t, 0, wire.Bytes()[setSizeLen:])
			r := fold.Record{}
			for i := range 100 {
				if !b.Next(&r) || r.Offset != int64(i) || r.TimeMs != int64(1000+i) || string(r.Key) != "link" || string(r.Value) != strconv.Itoa(i) {
					t.Fatalf("record %d: %+v", i, r)
				}
			}
			if b.Marks().Next != 100 {
				t.Fatalf("next %d", b.Marks().Next)
			}
		})
	}
}

// compacted answers fetches as if a topic of nine records had been compacted: three are left of each of two segments,
// whose last offsets are gone.
func compacted(w *world) {
	full := sealed([]Message{{Value: []byte("a")}, {Value: []byte("b")}, {Value: []byte("c")}}, session{}, 0)
	segments := map[int64][]byte{ // by the offset behind each: a broker answers from one segment at a time
		5: at(0, full, spans(5)),
		9: at(5, full, spans(4)),
	}
	w.fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		part := kmsg.NewFetchResponseTopicPartition()
		part.HighWatermark = 9
		asked := req.(*kmsg.FetchRequest).Topics[0]
		for _, end := range []int64{5, 9} {
			if asked.Partitions[0].FetchOffset < end {
				part.RecordBatches = segments[end]
				break
			}
		}
		if part.RecordBatches == nil {
			w.fake.SleepControl(func() { time.Sleep(fetchWait) })
		}
		res := req.ResponseKind().(*kmsg.FetchResponse)
		res.Topics = []kmsg.FetchResponseTopic{{Topic: topic, TopicID: asked.TopicID, Partitions: []kmsg.FetchResponseTopicPartition{part}}}
		return res, nil, true
	})
}

// A compacted topic has holes, also at the end of batches: a reader gets through.
func TestFollowerGetsThroughACompactedTopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		compacted(w)
		r := feed.NewReader(w.cluster.Source(topic), 0, 0)
		defer r.Close()
		var offsets []int64
		holes := int64(0)
		for range 20 {
			c, err := r.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, rec := range c.Records {
				offsets = append(offsets, rec.Offset)
			}
			if holes += c.Holes; c.Next == 9 {
				break
			}
		}
		if !slices.Equal(offsets, []int64{0, 1, 2, 5, 6, 7}) || holes != 3 {
			t.Fatalf("offsets %v, %d holes", offsets, holes)
		}
	})
}

// fetches picks the requests that fetch a partition.
func fetches(partition int32) func([]byte) bool {
	return func(request []byte) bool {
		const size, key, version, correlation = 4, 2, 2, 4
		if len(request) < size+key+version+correlation+2 || binary.BigEndian.Uint16(request[size:]) != uint16(kmsg.Fetch) {
			return false
		}
		body := request[size+key+version+correlation:]
		body = body[2+binary.BigEndian.Uint16(body):] // past the client's name
		req := kmsg.NewPtrFetchRequest()
		req.Version = int16(binary.BigEndian.Uint16(request[size+key:]))
		if req.IsFlexible() {
			body = body[1:] // no tagged fields
		}
		return req.ReadFrom(body) == nil && req.Topics[0].Partitions[0].Partition == partition
	}
}

// A connection that hangs holds up its own partition, for as long as an answer may take, and no other.
func TestFollowerGivesUpOnAConnectionThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		p := w.producer(ProducerConfig{Partitions: 2})
		for i := range int32(2) {
			if _, err := appendOne(p, i, "a"); err != nil {
				t.Fatal(err)
			}
		}
		heal := w.silence(fetches(0))
		var wg sync.WaitGroup
		wg.Go(func() {
			f := w.cluster.Follow(topic, 0, 0)
			began := time.Now()
			if _, err := f.Fetch(t.Context()); err == nil || time.Since(began) != fetchTimeout {
				t.Errorf("a fetch that hangs = %v after %v", err, time.Since(began))
			}
			heal()
			batch, err := f.Fetch(t.Context())
			if err != nil || batch.Marks().Next != 1 {
				t.Errorf("the fetch behind it: %v", err)
			}
		})
		wg.Go(func() {
			f := w.cluster.Follow(topic, 1, 0)
			for began := time.Now(); time.Since(began) < 2*fetchTimeout; {
				asked := time.Now()
				if _, err := f.Fetch(t.Context()); err != nil || time.Since(asked) > fetchWait {
					t.Errorf("the other partition: %v after %v", err, time.Since(asked))
				}
			}
		})
		wg.Wait()
	})
}

// Records are read where they lie: nothing is allocated for them.
func TestReadingAllocatesNothing(t *testing.T) {
	msgs := make([]Message, 1000)
	for i := range msgs {
		msgs[i] = Message{TimeMs: int64(i), Key: []byte("link"), Value: make([]byte, 100)}
	}
	set := sealed(msgs, session{}, 0)
	var (
		b    Batch
		pool sync.Pool
		r    fold.Record
		res  = fetchResponse{set: &set}
	)
	got := testing.AllocsPerRun(100, func() {
		if err := b.read(&res, 0); err != nil {
			t.Fatal(err)
		}
		for b.Next(&r) {
		}
		b.set = nil // it is not the pool's
		b.release(&pool)
	})
	if b.marks.Next != 1000 || got != 0 {
		t.Fatalf("%v allocations for %d records", got, b.marks.Next)
	}
}

// A reader with a deadline waits for it: the waits of its fetches do not halve on the way there.
func TestFetchesDoNotSpinBeforeADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		f := w.cluster.Follow(topic, 0, 0)
		for range int(10*time.Second/fetchWait) + 1 {
			if _, err := f.Fetch(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		if ctx.Err() == nil {
			t.Fatal("the deadline is not reached")
		}
	})
}
