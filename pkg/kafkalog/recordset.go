package kafkalog

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// What is read of the attributes of a batch.
const (
	compressionMask = 0x07
	controlFlag     = 0x20
)

// batchPrefixLen is what precedes the part of a batch that its length tells.
const batchPrefixLen = atBatchLength + 4

var errRecords = errors.New("the record set cannot be read")

// readSet takes the records out of the record set of an answer to a fetch at the offset from. Batches as this package
// writes them, of version 2 and not compressed, are read where they lie; the batch then refers to set. The client library
// reads all others: it knows every format, and copies what it reads twice.
func (b *Batch) readSet(set []byte, from int64) error {
	if !isPlain(set) {
		return b.readForeign(set, from)
	}
	b.data = set
	for len(set) > 0 {
		batch, rest := cutBatch(set)
		if batch == nil {
			break // a broker cuts the last batch where the answer is full; it comes whole with the next one
		}
		read, next := len(b.records), b.marks.Next
		if err := b.readBatch(batch, len(b.data)-len(set)); err != nil {
			if b.records, b.marks.Next = b.records[:read], next; next > from {
				return nil // what is in front of it is good; the next answer begins with it
			}
			return err
		}
		set = rest
	}
	if len(b.data) > 0 && b.marks.Next <= from { // the batch at an offset ends behind it
		return fmt.Errorf("%w: it has %d bytes and nothing behind offset %d", errRecords, len(b.data), from-1)
	}
	return nil
}

// isPlain tells whether all batches of a record set are of version 2 and not compressed.
func isPlain(set []byte) bool {
	for len(set) > 0 {
		if len(set) > atMagic && set[atMagic] != magic {
			return false
		}
		batch, rest := cutBatch(set)
		if batch == nil {
			return true
		}
		if batch[atAttributes+1]&compressionMask != 0 {
			return false
		}
		set = rest
	}
	return true
}

// cutBatch takes a batch of version 2 off the front of a record set. It returns nil where there is no whole one.
func cutBatch(set []byte) (batch, rest []byte) {
	if len(set) < batchHeaderLen {
		return nil, nil
	}
	size := int64(int32(binary.BigEndian.Uint32(set[atBatchLength:]))) + batchPrefixLen //nolint:gosec // two's complement by definition
	if size < batchHeaderLen || size > int64(len(set)) {
		return nil, nil
	}
	return set[:size], set[size:]
}

// readBatch reads the records of a batch, which lies in the batch's data from at on.
func (b *Batch) readBatch(batch []byte, at int) error {
	be := binary.BigEndian
	if want, got := be.Uint32(batch[atCRC:]), crc32.Checksum(batch[atAttributes:], crc32.MakeTable(crc32.Castagnoli)); got != want {
		return fmt.Errorf("%w: the checksum of a batch is %08x and should be %08x", errRecords, got, want)
	}
	//nolint:gosec // two's complement by definition
	base, last := int64(be.Uint64(batch)), int64(int32(be.Uint32(batch[atLastOffsetDelta:])))
	// It ends there also where compaction has removed its last records, and where it has none any more.
	b.marks.Next = max(b.marks.Next, base+last+1)
	if batch[atAttributes+1]&controlFlag != 0 {
		return nil // a marker of somebody's transaction, which nobody reads
	}
	baseTime := int64(be.Uint64(batch[atBaseTimestamp:])) //nolint:gosec // two's complement by definition
	r := recordReader{bytes: batch, at: batchHeaderLen}
	for range be.Uint32(batch[atRecordCount:]) {
		ref, ok := r.next()
		if !ok {
			return fmt.Errorf("%w: a record of the batch at %d is longer than that", errRecords, base)
		}
		ref.offset += base
		ref.timeMs += baseTime
		ref.key, ref.keyEnd, ref.value, ref.valueEnd = ref.key+at, ref.keyEnd+at, ref.value+at, ref.valueEnd+at
		b.records = append(b.records, ref)
		b.marks.Next = max(b.marks.Next, ref.offset+1)
	}
	return nil
}

// recordReader reads records (org.apache.kafka.common.record.DefaultRecord) of a batch.
type recordReader struct {
	bytes []byte
	at    int
}

// next returns a record, with offset and time from the batch's on, and places in bytes. ok is false where there is none.
func (r *recordReader) next() (ref recordRef, ok bool) {
	size, ok := r.varint()
	if !ok || size < 1 || size > int64(len(r.bytes)-r.at) {
		return ref, false
	}
	end := r.at + int(size)
	r.at++ // attributes, of which there are none
	var okTime, okOffset, okKey, okValue bool
	ref.timeMs, okTime = r.varint()
	ref.offset, okOffset = r.varint()
	ref.key, ref.keyEnd, okKey = r.field()
	ref.value, ref.valueEnd, okValue = r.field()
	ok = okTime && okOffset && okKey && okValue && r.at <= end
	r.at = end // behind the headers
	return ref, ok
}

// field returns where a key or a value lies. One that is null is empty.
func (r *recordReader) field() (from, to int, ok bool) {
	n, ok := r.varint()
	n = max(n, 0)
	if !ok || n > int64(len(r.bytes)-r.at) {
		return 0, 0, false
	}
	from, r.at = r.at, r.at+int(n)
	return from, r.at, true
}

func (r *recordReader) varint() (v int64, ok bool) {
	v, n := binary.Varint(r.bytes[r.at:])
	if n <= 0 {
		return 0, false
	}
	r.at += n
	return v, true
}

// readForeign reads a record set with the client library.
func (b *Batch) readForeign(set []byte, from int64) error {
	// The library's reader begins with a length of four bytes, as older versions of the protocol have it.
	length := binary.BigEndian.AppendUint32(nil, uint32(len(set))) //nolint:gosec // of an answer
	wire := bufio.NewReader(bytes.NewReader(append(length, set...)))
	var records protocol.RecordSet
	if _, err := records.ReadFrom(wire); err != nil {
		return fmt.Errorf("%w: %w", errRecords, err)
	}
	if records.Records == nil {
		records.Records = kafka.NewRecordReader()
	}
	return b.readLibrary(records.Records, from)
}
