package kafkalog

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// fetch asks for what a partition has at an offset: of the topic with the id, or where that is zero of the one that has
// the name just then.
func (t *topicClient) fetch(ctx context.Context, id feed.LogID, partition int32, from int64) (*fetchResponse, error) {
	if id.IsZero() {
		res, err := t.client().Fetch(ctx, &kafka.FetchRequest{
			Topic: t.name, Partition: int(partition), Offset: from,
			MinBytes: 1, MaxBytes: fetchBytes, MaxWait: fetchWait,
		})
		if err != nil {
			return nil, err
		}
		return &fetchResponse{FetchResponse: *res}, res.Error
	}
	res, err := t.client().Transport.RoundTrip(ctx, t.c.addr, &fetchRequest{
		topic: t.name, clientID: t.c.base.ClientID, id: id, partition: partition, from: from, sets: &t.c.sets,
	})
	if err != nil {
		return nil, err
	}
	got := res.(*fetchResponse) //nolint:forcetypeassert // the answer to that
	return got, got.Error
}

// fetchRequest is a fetch by the topic's id, of one partition.
type fetchRequest struct {
	topic, clientID string
	id              feed.LogID
	partition       int32
	from            int64
	sets            *sync.Pool // of *[]byte
}

// fetchResponse is the answer.
type fetchResponse struct {
	kafka.FetchResponse         // with records where set is nil
	set                 *[]byte // the record set in wire form; whoever has read it gives it back to the cluster's pool
}

// ApiKey implements [protocol.Message].
//
//nolint:revive // the library's name
func (*fetchRequest) ApiKey() protocol.ApiKey { return protocol.Fetch }

// ApiKey implements [protocol.Message].
//
//nolint:revive // the library's name
func (*fetchResponse) ApiKey() protocol.ApiKey { return protocol.Fetch }

// Broker implements [protocol.BrokerMessage]: the partition's leader.
func (r *fetchRequest) Broker(cluster protocol.Cluster) (protocol.Broker, error) {
	topic, ok := cluster.Topics[r.topic]
	if !ok {
		return protocol.Broker{}, protocol.NewErrNoTopic(r.topic)
	}
	partition, ok := topic.Partitions[r.partition]
	if !ok {
		return protocol.Broker{}, protocol.NewErrNoPartition(r.topic, r.partition)
	}
	broker, ok := cluster.Brokers[partition.Leader]
	if !ok {
		return protocol.Broker{}, protocol.NewErrNoLeader(r.topic, r.partition)
	}
	return broker, nil
}

// Required implements [protocol.RawExchanger].
func (*fetchRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements [protocol.RawExchanger].
func (r *fetchRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	if err := send(rw, r.encode()); err != nil {
		return nil, err
	}
	a := receive(rw)
	a.int32() // throttled for
	code := a.int16()
	a.int32() // session
	if n := a.count(); code == 0 && n != 1 && a.err == nil {
		a.err = fmt.Errorf("%w: it tells of %d topics, not of one", errAnswer, n)
	}
	res := new(fetchResponse)
	if code == 0 {
		r.decode(a, res)
	} else {
		res.Error = kafka.Error(code)
	}
	return res, a.end()
}

func (r *fetchRequest) encode() []byte {
	be := binary.BigEndian
	req := appendHeader(make([]byte, 0, 160), protocol.Fetch, fetchVersion, r.clientID)
	req = be.AppendUint32(req, 0xffffffff)                       // no replica
	req = be.AppendUint32(req, uint32(fetchWait.Milliseconds())) //nolint:gosec // half a second
	req = be.AppendUint32(req, 1)                                // byte at least
	req = be.AppendUint32(req, fetchBytes)
	req = append(req, 0)                            // read what is not committed
	req = be.AppendUint32(req, 0)                   // no session,
	req = be.AppendUint32(req, 0xffffffff)          // and none to be begun
	req = append(append(req, 2), r.id[:]...)        // one topic
	req = append(req, 2)                            // one partition of it
	req = be.AppendUint32(req, uint32(r.partition)) //nolint:gosec // never negative
	req = be.AppendUint32(req, 0xffffffff)          // whatever the leader's epoch
	req = be.AppendUint64(req, uint64(r.from))      //nolint:gosec // never negative
	req = be.AppendUint32(req, 0xffffffff)          // and that of the record before
	req = be.AppendUint64(req, 0xffffffff_ffffffff) // the log start is for replicas
	req = be.AppendUint32(req, fetchBytes)
	return append(req, 0, 0 /* tags */, 1 /* nothing to forget */, 1 /* no rack */, 0 /* tags */)
}

// decode reads the answer's only topic.
func (r *fetchRequest) decode(a *answer, res *fetchResponse) {
	id := feed.LogID(a.id())
	if n := a.count(); a.err == nil && (n != 1 || id != r.id) {
		a.err = fmt.Errorf("%w: it is of another topic or of %d partitions", errAnswer, n)
	}
	if partition := a.int32(); a.err == nil && partition != r.partition {
		a.err = fmt.Errorf("%w: %d", errNoPartition, partition)
	}
	if code := a.int16(); code != 0 {
		res.Error = kafka.Error(code)
	}
	res.HighWatermark = a.int64()
	res.LastStableOffset = a.int64()
	res.LogStartOffset = a.int64()
	for range a.count() { // transactions that were aborted
		a.int64()
		a.int64()
		a.tags()
	}
	a.int32() // a replica that is nearer
	res.set = a.bytes(a.count(), r.sets)
}
