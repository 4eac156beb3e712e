package kafkalog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// The versions of the produce API that have the layout below: from the one that brought record batches to the last one
// before flexible fields (KIP-98, KIP-482). The client library speaks none beyond it.
const (
	leastProduce = 3
	mostProduce  = 8
)

// mostAnswer bounds the answer to a produce request: it has some dozen bytes for each partition, and perhaps a sentence.
const mostAnswer = 1 << 20

var errProduceVersion = errors.New("the broker speaks no version of the produce API from 3 to 8")

// produceRequest is a produce request: the batches of partitions that have one leader. The library finds the leader and a
// connection to it, and leaves what goes over that to the request ([protocol.RawExchanger]). Its own encoding works by
// reflection, and copies what it sends through pages.
//
// It is used once. Whoever sends it may still hold it when it was given up.
type produceRequest struct {
	topic    string
	clientID string
	id       int32         // of the request, by which its answer is known
	timeout  time.Duration // for the replicas
	parts    []producePart
	leaves   departure
	version  int16      // of the connection that it goes out on
	frames   *sync.Pool // of *[]byte: the requests that went out before
}

// producePart is a sealed batch for a partition.
type producePart struct {
	partition int32
	set       []byte // the record set, with its length in front
}

// produceAnswer is what a broker said of each partition.
type produceAnswer struct{ parts []partAnswer }

type partAnswer struct {
	partition int32
	code      int16
	message   string // where the broker had something to say
	offset    int64
	appended  int64 // Unix milliseconds; -1: the topic has the producer's time
}

// ApiKey implements [protocol.Message].
func (*produceRequest) ApiKey() protocol.ApiKey { return protocol.Produce } //nolint:revive // the library's name

// ApiKey implements [protocol.Message].
func (*produceAnswer) ApiKey() protocol.ApiKey { return protocol.Produce } //nolint:revive // the library's name

// errSeveralLeaders reports a request that no single broker can take: the leaders moved since its batches were put
// together.
var errSeveralLeaders = errors.New("the partitions have several leaders")

// Broker implements [protocol.BrokerMessage]: it is where the request goes.
func (r *produceRequest) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	leader := protocol.Broker{ID: -1}
	topic, ok := cluster.Topics[r.topic]
	if !ok {
		return leader, protocol.NewErrNoTopic(r.topic)
	}
	for i := range r.parts {
		p, ok := topic.Partitions[r.parts[i].partition]
		if !ok {
			return leader, protocol.NewErrNoPartition(r.topic, r.parts[i].partition)
		}
		switch b, ok := cluster.Brokers[p.Leader]; {
		case !ok:
			return leader, protocol.NewErrNoLeader(r.topic, r.parts[i].partition)
		case leader.ID < 0:
			leader = b
		case leader.ID != b.ID:
			return leader, errSeveralLeaders
		}
	}
	return leader, nil
}

// Required implements [protocol.RawExchanger]: the library asks just before RawExchange.
func (r *produceRequest) Required(versions map[protocol.ApiKey]int16) bool {
	r.version = versions[protocol.Produce]
	return true
}

// RawExchange implements [protocol.RawExchanger]. The request's bytes are copied when it departs, so that they stay as
// they are on their way whatever becomes of the batches. After an error the library closes the connection.
func (r *produceRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if r.version < leastProduce || r.version > mostProduce {
		return nil, errProduceVersion
	}
	if !r.leaves.make() {
		return nil, errRevoked
	}
	frame, ok := r.frames.Get().(*[]byte)
	if !ok {
		frame = new([]byte)
	}
	defer r.frames.Put(frame) // a connection does not keep what it was given
	*frame = r.append((*frame)[:0])
	if _, err := rw.Write(*frame); err != nil {
		return nil, err
	}
	head := (*frame)[:4]
	if _, err := io.ReadFull(rw, head); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head)
	if size > mostAnswer {
		return nil, fmt.Errorf("%w: it has %d bytes", errAnswer, size)
	}
	if cap(*frame) < int(size) {
		*frame = make([]byte, size)
	}
	*frame = (*frame)[:size]
	if _, err := io.ReadFull(rw, *frame); err != nil {
		return nil, err
	}
	return readProduceAnswer(*frame, r.version, r.id, r.topic, len(r.parts))
}

// append appends the request in wire form.
func (r *produceRequest) append(dst []byte) []byte {
	be := binary.BigEndian
	start := len(dst)
	dst = be.AppendUint32(dst, 0) // the size, once it is known
	dst = be.AppendUint16(dst, uint16(protocol.Produce))
	dst = be.AppendUint16(dst, uint16(r.version)) //nolint:gosec // 3 to 8
	dst = be.AppendUint32(dst, uint32(r.id))      //nolint:gosec // any bits will do
	dst = appendString(dst, r.clientID)
	dst = be.AppendUint16(dst, 0xffff)                           // no transaction
	dst = be.AppendUint16(dst, 0xffff)                           // acks: all in-sync replicas
	dst = be.AppendUint32(dst, uint32(r.timeout.Milliseconds())) //nolint:gosec // at most requestTimeout
	dst = be.AppendUint32(dst, 1)
	dst = appendString(dst, r.topic)
	dst = be.AppendUint32(dst, uint32(len(r.parts))) //nolint:gosec // at most one for each partition
	for i := range r.parts {
		dst = be.AppendUint32(dst, uint32(r.parts[i].partition)) //nolint:gosec // never negative
		dst = append(dst, r.parts[i].set...)
	}
	be.PutUint32(dst[start:], uint32(len(dst)-start-4)) //nolint:gosec // bounded by requestBytes
	return dst
}

// appendString appends a string with its length in front. Kafka's names are shorter than 32 KiB.
func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...) //nolint:gosec // see above
}

// readProduceAnswer reads an answer, without the size in front of it, to a request for so many partitions of one topic.
// What it says of other topics is left out.
func readProduceAnswer(b []byte, version int16, id int32, topic string, parts int) (*produceAnswer, error) {
	r := wireReader{rest: b}
	if got := r.int32(); got != id && !r.short {
		return nil, fmt.Errorf("%w: %d instead of %d", errCorrelation, got, id)
	}
	a := &produceAnswer{parts: make([]partAnswer, 0, parts)}
	for topics := r.int32(); topics > 0 && !r.short; topics-- {
		ours := string(r.string()) == topic
		for n := r.int32(); n > 0 && !r.short; n-- {
			p := partAnswer{partition: r.int32(), code: r.int16(), offset: r.int64(), appended: r.int64()}
			if version >= 5 {
				r.int64() // where the log starts
			}
			if version >= 8 {
				for records := r.int32(); records > 0 && !r.short; records-- { // which of them were to blame: see sendParts
					r.int32()
					r.string()
				}
				p.message = string(r.string())
			}
			if ours && !r.short {
				a.parts = append(a.parts, p)
			}
		}
	}
	r.int32() // for how long the broker throttles this client; it has waited for that already
	if r.short {
		return nil, fmt.Errorf("%w: it is too short", errAnswer)
	}
	return a, nil
}

// wireReader takes values off the front of an answer. Where there is too little, it is short from then on, and all that
// it returns is zero.
type wireReader struct {
	rest  []byte
	short bool
}

func (r *wireReader) take(n int) []byte {
	if r.short || n > len(r.rest) {
		r.short = true
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *wireReader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b)) //nolint:gosec // two's complement by definition
	}
	return 0
}

func (r *wireReader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b)) //nolint:gosec // two's complement by definition
	}
	return 0
}

func (r *wireReader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // two's complement by definition
	}
	return 0
}

// string takes a string; one that is null is empty.
func (r *wireReader) string() []byte { return r.take(max(0, int(r.int16()))) }
