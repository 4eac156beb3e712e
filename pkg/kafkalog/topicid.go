package kafkalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/apiversions"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// A topic has an id besides its name, which no other topic ever gets (KIP-516). Whoever reads by the id can't be answered
// from a topic that was created anew under the name: the broker says that it does not know the id.
const (
	metadataVersion = 12 // brokers tell ids since 10, Kafka 2.8
	fetchVersion    = 13 // brokers take ids since Kafka 3.1
)

// id returns the topic's id, which is remembered until a broker does not know it any more. It is zero where the brokers
// have no ids.
func (t *topicClient) id(ctx context.Context) (feed.LogID, error) {
	if id := t.known.Load(); id != nil {
		return *id, nil
	}
	res, err := t.client().Transport.RoundTrip(ctx, t.c.addr, &idRequest{topic: t.name, clientID: t.c.base.ClientID})
	if err == nil {
		found := res.(*idResponse) //nolint:forcetypeassert // the answer to that
		if err = found.err; err == nil {
			t.known.Store(&found.id)
			return found.id, nil
		}
	}
	return feed.LogID{}, fmt.Errorf("asking for the id of %s: %w", t.name, err)
}

// errIDUnknown says why a read by id failed, and that it passes by itself: either broker or reader has not heard of the
// newest topic of that name yet, or there is none.
var errIDUnknown = fmt.Errorf("the topic was deleted or created anew: %w", ErrNoTopic)

// forget drops an id that a broker does not know and returns a better error.
func (t *topicClient) forget(id feed.LogID, err error) error {
	if !errors.Is(err, kafka.UnknownTopicID) && !errors.Is(err, kafka.InconsistentTopicID) {
		return err
	}
	if known := t.known.Load(); known != nil && *known == id {
		t.known.CompareAndSwap(known, nil)
	}
	return errIDUnknown
}

// idRequest asks any broker for the id of a topic.
type idRequest struct{ topic, clientID string }

// idResponse has the id, zero where brokers have none, or what the broker said instead.
type idResponse struct {
	id  feed.LogID
	err error
}

// ApiKey implements [protocol.Message].
//
//nolint:revive // the library's name
func (*idRequest) ApiKey() protocol.ApiKey { return protocol.Metadata }

// ApiKey implements [protocol.Message].
//
//nolint:revive // the library's name
func (*idResponse) ApiKey() protocol.ApiKey { return protocol.Metadata }

// Required implements [protocol.RawExchanger].
func (*idRequest) Required(map[protocol.ApiKey]int16) bool { return true }

// RawExchange implements [protocol.RawExchanger].
func (r *idRequest) RawExchange(rw io.ReadWriter) (protocol.Message, error) {
	res, err := protocol.RoundTrip(rw, 0, correlation, r.clientID, new(apiversions.Request))
	if err != nil {
		return nil, err
	}
	if !haveIDs(res.(*apiversions.Response)) { //nolint:forcetypeassert // the answer to that
		return new(idResponse), nil
	}
	req := appendHeader(nil, protocol.Metadata, metadataVersion, r.clientID)
	req = append(req, 2)                                    // one topic
	req = append(req, make([]byte, 16)...)                  // not by its id
	req = binary.AppendUvarint(req, uint64(len(r.topic)+1)) // but by its name
	req = append(append(req, r.topic...), 0 /* tags */, 0 /* create no topic */, 0 /* tell no rights */, 0 /* tags */)
	if err := send(rw, req); err != nil {
		return nil, err
	}
	a := receive(rw)
	a.int32()             // throttled for
	for range a.count() { // brokers
		a.int32()         // id
		a.skip(a.count()) // host
		a.int32()         // port
		a.skip(a.count()) // rack
		a.tags()
	}
	a.skip(a.count()) // cluster
	a.int32()         // controller
	if n := a.count(); a.err == nil && n != 1 {
		a.err = fmt.Errorf("%w: it tells of %d topics, not of one", errAnswer, n)
	}
	found := new(idResponse)
	if code := a.int16(); code != 0 {
		found.err = kafka.Error(code)
	}
	a.skip(a.count()) // name
	found.id = a.id()
	return found, a.end()
}

// haveIDs tells whether a broker takes reads by id.
func haveIDs(res *apiversions.Response) bool {
	for _, needed := range []struct {
		key     protocol.ApiKey
		version int16
	}{{protocol.Metadata, metadataVersion}, {protocol.Fetch, fetchVersion}} {
		has := false
		for _, k := range res.ApiKeys {
			has = has || (k.ApiKey == int16(needed.key) && k.MinVersion <= needed.version && needed.version <= k.MaxVersion)
		}
		if !has {
			return false
		}
	}
	return true
}
