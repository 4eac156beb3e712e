package kafkalog

import (
	"encoding/binary"
	"hash/crc32"
	"time"
)

// Header is a header of a record.
type Header struct {
	Key   string
	Value []byte
}

// Layout of a record batch of version 2 (KIP-98; org.apache.kafka.common.record.DefaultRecordBatch), behind the four
// bytes that say how long the record set of the request is.
const (
	setSizeLen = 4

	atBatchLength     = 8
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21 // the CRC covers the batch from here
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atRecordCount     = 57
	batchHeaderLen    = 61

	magic = 2
)

// batch is records of one partition that are sent, acknowledged and refused together. Its bytes are the wire form of a
// record set, complete but for what is known only when it is sent.
type batch struct {
	buf      []byte
	count    int32
	baseTime int64 // of the first record, Unix milliseconds
	maxTime  int64
	opened   time.Time

	// done is closed when the outcome is there; offset and err are read after it.
	done   chan struct{}
	offset int64 // of the first record, -1 where the broker did not say
	err    error
	parts  []part // where it was sent in parts, their outcomes, which stand instead of offset and err
}

func newBatch(buf []byte, now time.Time) *batch {
	return &batch{
		buf:    append(buf[:0], make([]byte, setSizeLen+batchHeaderLen)...),
		opened: now, done: make(chan struct{}), offset: -1,
	}
}

// add appends a record and returns its place in the batch.
func (b *batch) add(m *Message) int32 {
	if b.count == 0 {
		b.baseTime, b.maxTime = m.TimeMs, m.TimeMs
	}
	b.maxTime = max(b.maxTime, m.TimeMs)
	b.buf = appendRecord(b.buf, m, m.TimeMs-b.baseTime, b.count)
	b.count++
	return b.count - 1
}

// seal completes the header. The same session and sequence give the same bytes, which is how a broker knows a retry.
func (b *batch) seal(s session, sequence int32) {
	body := b.buf[setSizeLen:]
	be := binary.BigEndian
	be.PutUint32(b.buf, uint32(len(body)))                                  //nolint:gosec // bounded by BatchBytes
	be.PutUint64(body, 0)                                                   // the broker assigns the offset
	be.PutUint32(body[atBatchLength:], uint32(len(body)-(atBatchLength+4))) //nolint:gosec // bounded by BatchBytes
	be.PutUint32(body[atBatchLength+4:], 0xffffffff)                        // leader epoch: the broker's affair
	body[atMagic] = magic
	be.PutUint16(body[atAttributes:], 0)
	be.PutUint32(body[atLastOffsetDelta:], uint32(b.count-1)) //nolint:gosec // at least one record
	be.PutUint64(body[atBaseTimestamp:], uint64(b.baseTime))  //nolint:gosec // two's complement by definition
	be.PutUint64(body[atMaxTimestamp:], uint64(b.maxTime))    //nolint:gosec // two's complement by definition
	be.PutUint64(body[atProducerID:], uint64(s.id))           //nolint:gosec // two's complement by definition
	be.PutUint16(body[atProducerEpoch:], uint16(s.epoch))     //nolint:gosec // two's complement by definition
	be.PutUint32(body[atBaseSequence:], uint32(sequence))     //nolint:gosec // never negative
	be.PutUint32(body[atRecordCount:], uint32(b.count))       //nolint:gosec // never negative
	be.PutUint32(body[atCRC:], crc32.Checksum(body[atAttributes:], crc32.MakeTable(crc32.Castagnoli)))
}

// appendRecord appends a record in wire form (org.apache.kafka.common.record.DefaultRecord).
func appendRecord(dst []byte, m *Message, timeDelta int64, offsetDelta int32) []byte {
	valueLen := int64(len(m.Value))
	if m.Value == nil {
		valueLen = -1 // null: in a compacted topic, a tombstone
	}
	size := 1 + varintLen(timeDelta) + varintLen(int64(offsetDelta)) +
		varintLen(int64(len(m.Key))) + len(m.Key) + varintLen(valueLen) + len(m.Value) +
		varintLen(int64(len(m.Headers)))
	for i := range m.Headers {
		h := &m.Headers[i]
		size += varintLen(int64(len(h.Key))) + len(h.Key) + varintLen(int64(len(h.Value))) + len(h.Value)
	}
	dst = binary.AppendVarint(dst, int64(size))
	dst = append(dst, 0) // attributes: none are defined
	dst = binary.AppendVarint(dst, timeDelta)
	dst = binary.AppendVarint(dst, int64(offsetDelta))
	dst = append(binary.AppendVarint(dst, int64(len(m.Key))), m.Key...)
	dst = append(binary.AppendVarint(dst, valueLen), m.Value...)
	dst = binary.AppendVarint(dst, int64(len(m.Headers)))
	for i := range m.Headers {
		h := &m.Headers[i]
		dst = append(binary.AppendVarint(dst, int64(len(h.Key))), h.Key...)
		dst = append(binary.AppendVarint(dst, int64(len(h.Value))), h.Value...)
	}
	return dst
}

// varintLen is the length of v as a zigzag varint.
func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63) //nolint:gosec // zigzag: two's complement by definition
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

// maxRecordOverhead is more than a record adds to its key, value and headers: seven varints of at most ten bytes.
const maxRecordOverhead = 70

// sizeBound is at least what m takes in a batch.
func (m *Message) sizeBound() int {
	n := maxRecordOverhead + len(m.Key) + len(m.Value)
	for i := range m.Headers {
		n += 20 + len(m.Headers[i].Key) + len(m.Headers[i].Value)
	}
	return n
}
