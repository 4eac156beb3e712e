package kafkalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// resealed is a batch that was changed, with the checksum of what it is now.
func resealed(batch []byte, change func([]byte)) []byte {
	batch = bytes.Clone(batch)
	change(batch)
	binary.BigEndian.PutUint32(batch[atCRC:], crc32.Checksum(batch[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
	return batch
}

// What cannot be read is an error, and not an end of the log that comes again and again.
func TestRecordSetsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	three := sealed([]Message{{Key: []byte("k"), Value: []byte("a")}, {Value: []byte("b")}, {Value: []byte("c")}}, session{}, 0)
	for name, set := range map[string][]byte{
		"cut in its first batch":         three[:len(three)-1],
		"cut in the first header":        three[:atMagic+1],
		"of some bytes":                  three[:3],
		"another checksum":               append(bytes.Clone(three[:len(three)-1]), 'x'),
		"more records than there are":    resealed(three, func(b []byte) { b[atRecordCount+3] = 4 }),
		"records without end":            resealed(three, func(b []byte) { b[atRecordCount] = 0xff }),
		"a record longer than its batch": resealed(three, func(b []byte) { b[batchHeaderLen] = 0x7e }),
		"a record of no bytes":           resealed(three, func(b []byte) { b[batchHeaderLen] = 0 }),
		"a key longer than its record":   resealed(three, func(b []byte) { b[batchHeaderLen+4] = 0x7e }),
		"a batch of a negative length":   resealed(three, func(b []byte) { b[atBatchLength] = 0xff }),
		"a batch that ends before it":    resealed(three, func(b []byte) { b[0] = 0xff }),
		"a version that is none":         resealed(three, func(b []byte) { b[atMagic] = 9 }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var b Batch
			if err := b.read(&fetchResponse{set: &set}, 0); !errors.Is(err, errRecords) {
				t.Fatalf("%d records, %+v, %v", len(b.records), b.marks, err)
			}
		})
	}
}

// Whatever a broker sends, reading it ends, and where it is good, it is what the library reads.
func FuzzRecordSet(f *testing.F) {
	three := sealed([]Message{{TimeMs: 5, Key: []byte("k"), Value: []byte("a")}, {Headers: []Header{{Key: "h"}}}, {Value: []byte("c")}}, session{}, 0)
	f.Add(three, int64(0))
	f.Add(append(at(7, three, spans(9)), at(16, three, control)...), int64(9))
	f.Add(append(bytes.Clone(three), three[:70]...), int64(1))
	f.Fuzz(func(t *testing.T, set []byte, from int64) {
		if from < 0 || len(set) > 1<<16 {
			t.Skip()
		}
		var own, library Batch
		if len(set) >= batchHeaderLen { // or nothing would ever get past the checksum
			set = resealed(set, func([]byte) {})
		}
		if !isPlain(set) {
			t.Skip("the library reads it, and panics on some that no broker sends")
		}
		if err := own.read(&fetchResponse{set: &set}, from); err != nil {
			return
		}
		if len(set) > 0 && own.marks.Next <= from {
			t.Fatalf("it stands still at %d", from)
		}
		for rest := set; len(rest) > 0; {
			var batch []byte
			if batch, rest = cutBatch(rest); batch != nil && binary.BigEndian.Uint32(batch[atRecordCount:]) > uint32(len(batch)) {
				t.Skip("a marker with a count that is none: the library makes room for as many")
			}
		}
		if err := library.readForeign(set, from); err != nil {
			return // it is stricter in places where nothing is lost
		}
		var r, want fold.Record
		for own.Next(&r) {
			if !library.Next(&want) || r.Offset != want.Offset || r.TimeMs != want.TimeMs || !bytes.Equal(r.Key, want.Key) || !bytes.Equal(r.Value, want.Value) {
				t.Fatalf("%+v, the library reads %+v", r, want)
			}
		}
	})
}
