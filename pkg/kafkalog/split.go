package kafkalog

import (
	"encoding/binary"
	"math"
)

// part is a stretch of a batch that has an outcome of its own, because the broker refused the batch as a whole.
type part struct {
	behind int32 // the place behind its last message
	offset int64 // of its first message, -1 where the broker did not say
	err    error
}

// outcome returns what became of the message at a place. It is called after done was closed.
func (b *batch) outcome(place int32) (offset int64, err error) {
	first, p := int32(0), part{behind: b.count, offset: b.offset, err: b.err}
	for _, p = range b.parts {
		if place < p.behind {
			break
		}
		first = p.behind
	}
	if p.err != nil || p.offset < 0 {
		return -1, p.err
	}
	return p.offset + int64(place-first), nil
}

// sendParts sends a batch that the broker refuses because of something in it, in halves: what is wrong with one message
// must not cost the others. The halves that are refused are halved again, down to the message that is to blame. tooLarge
// tells that it was the batch's size, which is a reason to make the next ones smaller.
func (l *lane) sendParts(b *batch, tooLarge bool) {
	first := int32(0)
	for _, half := range b.halves() {
		l.persist(half, nil)
		if len(half.parts) == 0 {
			half.parts = []part{{behind: half.count, offset: half.offset, err: half.err}}
			if half.err == nil && tooLarge {
				l.fits(len(half.buf))
			}
		}
		for _, p := range half.parts {
			p.behind += first
			b.parts = append(b.parts, p)
		}
		first += half.count
	}
}

// fits notes the size of a batch that was taken where a larger one was refused. Later ones do not get larger, so that a
// topic that takes less than BatchBytes costs one refusal and not one for each batch.
func (l *lane) fits(size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if size > l.fit || l.fit == l.p.cfg.BatchBytes {
		l.fit = max(size, leastFit)
	}
}

// leastFit keeps one refused message that happened to have little company from making all batches as small.
const leastFit = 16 << 10

// halves returns the first half of the batch's messages and the second, as batches of at least one message each.
func (b *batch) halves() [2]*batch {
	var halves [2]*batch
	records := b.buf[setSizeLen+batchHeaderLen:]
	for i, count := range [2]int32{b.count / 2, b.count - b.count/2} {
		half := &batch{opened: b.opened, done: b.done, offset: -1, baseTime: b.baseTime, maxTime: math.MinInt64}
		half.buf = make([]byte, setSizeLen+batchHeaderLen, setSizeLen+batchHeaderLen+len(records)+int(count))
		for range count {
			var delta int64
			records, delta = half.move(records)
			half.maxTime = max(half.maxTime, b.baseTime+delta)
		}
		halves[i] = half
	}
	return halves
}

// move appends the first of the records, with the place that it gets here, and returns the others and its time, behind
// the base time.
func (b *batch) move(records []byte) (rest []byte, timeDelta int64) {
	size, n := binary.Varint(records)
	record, rest := records[n:n+int(size)], records[n+int(size):]
	timeDelta, n = binary.Varint(record[1:]) // behind the attributes
	timed := 1 + n
	_, n = binary.Varint(record[timed:]) // the place that it had
	body := record[timed+n:]
	b.buf = binary.AppendVarint(b.buf, int64(timed+varintLen(int64(b.count))+len(body)))
	b.buf = append(b.buf, record[:timed]...)
	b.buf = binary.AppendVarint(b.buf, int64(b.count))
	b.buf = append(b.buf, body...)
	b.count++
	return rest, timeDelta
}
