package kafkalog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// anyMessages draws what a partition may be sent: headers, empty and missing values, times that go back and forth.
func anyMessages(t *rapid.T) []Message {
	bytesOf := rapid.Custom(func(t *rapid.T) []byte {
		if rapid.Bool().Draw(t, "none") {
			return nil
		}
		return rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "bytes")
	})
	header := rapid.Custom(func(t *rapid.T) Header {
		return Header{Key: rapid.StringN(0, 20, -1).Draw(t, "key"), Value: bytesOf.Draw(t, "value")}
	})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Message {
		return Message{
			TimeMs: rapid.Int64Range(0, 1<<42).Draw(t, "time"),
			Key:    bytesOf.Draw(t, "key"), Value: bytesOf.Draw(t, "value"),
			Headers: rapid.SliceOfN(header, 0, 4).Draw(t, "headers"),
		}
	}), 1, 50).Draw(t, "messages")
}

// sealed is the wire form of messages, without the length that precedes it in a request.
func sealed(msgs []Message, s session, sequence int32) []byte {
	b := newBatch(nil, time.Time{})
	for i := range msgs {
		b.add(&msgs[i])
	}
	b.seal(s, sequence)
	return b.buf[setSizeLen:]
}

// What is sent is what franz-go reads: every field of the batch, every record.
func TestBatchIsWhatFranzGoReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		msgs := anyMessages(t)
		s := session{id: rapid.Int64Min(0).Draw(t, "id"), epoch: rapid.Int16Min(0).Draw(t, "epoch")}
		sequence := rapid.Int32Min(0).Draw(t, "sequence")
		wire := sealed(msgs, s, sequence)
		var b kmsg.RecordBatch
		if err := b.ReadFrom(wire); err != nil {
			t.Fatal(err)
		}
		latest := msgs[0].TimeMs
		for _, m := range msgs {
			latest = max(latest, m.TimeMs)
		}
		if b.Magic != 2 || b.Attributes != 0 || b.FirstOffset != 0 || int(b.Length) != len(wire)-12 ||
			b.ProducerID != s.id || b.ProducerEpoch != s.epoch || b.FirstSequence != sequence ||
			int(b.NumRecords) != len(msgs) || int(b.LastOffsetDelta) != len(msgs)-1 ||
			b.FirstTimestamp != msgs[0].TimeMs || b.MaxTimestamp != latest ||
			uint32(b.CRC) != crc32.Checksum(wire[21:], crc32.MakeTable(crc32.Castagnoli)) {
			t.Fatalf("batch %+v", b)
		}
		rest := b.Records
		for i, m := range msgs {
			length, n := binary.Varint(rest)
			var r kmsg.Record
			if err := r.ReadFrom(rest[:n+int(length)]); err != nil {
				t.Fatalf("record %d: %v", i, err)
			}
			rest = rest[n+int(length):]
			if int(r.OffsetDelta) != i || b.FirstTimestamp+r.TimestampDelta64 != m.TimeMs ||
				!bytes.Equal(r.Key, m.Key) || !bytes.Equal(r.Value, m.Value) || (r.Value == nil) != (m.Value == nil) || len(r.Headers) != len(m.Headers) {
				t.Fatalf("record %d: %+v, want %+v", i, r, m)
			}
			for j, h := range m.Headers {
				if r.Headers[j].Key != h.Key || !bytes.Equal(r.Headers[j].Value, h.Value) {
					t.Fatalf("record %d, header %d: %+v, want %+v", i, j, r.Headers[j], h)
				}
			}
		}
		if len(rest) != 0 {
			t.Fatalf("%d bytes behind the records", len(rest))
		}
	})
}

// And what a follower reads, by itself and with kafka-go.
func TestBatchIsWhatTheFollowerReads(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		msgs := anyMessages(t)
		for _, got := range []*Batch{followed(t, 0, sealed(msgs, session{}, 0)), followedByName(t, 0, sealed(msgs, session{}, 0))} {
			r := fold.Record{}
			for i, m := range msgs {
				if !got.Next(&r) || r.Offset != int64(i) || r.TimeMs != m.TimeMs || !bytes.Equal(r.Key, m.Key) || !bytes.Equal(r.Value, m.Value) {
					t.Fatalf("record %d: %+v, want %+v", i, r, m)
				}
			}
			if got.Next(&r) || got.Marks().Next != int64(len(msgs)) {
				t.Fatalf("more than was sent: %+v, %+v", r, got.Marks())
			}
		}
	})
}

// fataler is a test or a property.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

// followed is what a follower at the offset from makes of batches in an answer of a broker that has topic ids.
func followed(t fataler, from int64, batches ...[]byte) *Batch {
	t.Helper()
	set := bytes.Join(batches, nil)
	var b Batch
	if err := b.read(&fetchResponse{set: &set}, from); err != nil {
		t.Fatal(err)
	}
	return &b
}

// followedByName is that of a broker that has none.
func followedByName(t fataler, from int64, batches ...[]byte) *Batch {
	t.Helper()
	all := bytes.Join(batches, nil)
	var records protocol.RecordSet
	wire := append(binary.BigEndian.AppendUint32(nil, uint32(len(all))), all...)
	if _, err := records.ReadFrom(bytes.NewReader(wire)); err != nil {
		t.Fatal(err)
	}
	if records.Records == nil { // as the library's client does
		records.Records = kafka.NewRecordReader()
	}
	var b Batch
	if err := b.read(&fetchResponse{FetchResponse: kafka.FetchResponse{Records: records.Records}}, from); err != nil {
		t.Fatal(err)
	}
	return &b
}

// The room that is reserved for a message before it is encoded is enough for it.
func TestSizeBoundHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		msgs := anyMessages(t)
		b := newBatch(nil, time.Time{})
		for i := range msgs {
			before := len(b.buf)
			b.add(&msgs[i])
			if took, bound := len(b.buf)-before, msgs[i].sizeBound(); took > bound {
				t.Fatalf("a record of %d bytes, bound %d", took, bound)
			}
		}
	})
}

// The same records under the same session and sequence are the same bytes, which is how a broker knows a retry.
func TestSealAgainChangesNothing(t *testing.T) {
	t.Parallel()
	m := Message{TimeMs: 1, Key: []byte("a"), Value: []byte("b")}
	b := newBatch(nil, time.Time{})
	b.add(&m)
	b.seal(session{id: 7, epoch: 1}, 42)
	first := bytes.Clone(b.buf)
	b.seal(session{id: 7, epoch: 1}, 42)
	if !bytes.Equal(first, b.buf) {
		t.Fatal("the bytes differ")
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	m := Message{TimeMs: 1, Key: []byte("link"), Value: make([]byte, 80), Headers: []Header{{Key: "traceparent", Value: make([]byte, 55)}}}
	b := newBatch(make([]byte, 0, 1<<20), time.Time{})
	if n := testing.AllocsPerRun(1000, func() { b.add(&m) }); n != 0 {
		t.Fatalf("%v allocations for each record", n)
	}
}

// The sequence goes on as brokers expect it: theirs is the sum in org.apache.kafka.common.record.DefaultRecordBatch,
// incrementSequence.
func TestSequenceWraps(t *testing.T) {
	t.Parallel()
	theirs := func(sequence, n int32) int32 {
		if sequence > math.MaxInt32-n {
			return n - (math.MaxInt32 - sequence) - 1
		}
		return sequence + n
	}
	for _, tc := range []struct{ sequence, n, want int32 }{
		{0, 1, 1},
		{math.MaxInt32 - 1, 1, math.MaxInt32},
		{math.MaxInt32, 1, 0},
		{math.MaxInt32 - 1, 3, 1}, // a batch may span the wrap
		{math.MaxInt32, 1000, 999},
	} {
		if got := nextSequence(tc.sequence, tc.n); got != tc.want || got != theirs(tc.sequence, tc.n) {
			t.Errorf("behind %d records from %d: %d, want %d", tc.n, tc.sequence, got, tc.want)
		}
	}
}
