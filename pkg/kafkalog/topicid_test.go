package kafkalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// fill appends the values of a log to partition 0 of a topic of w.
func (w *world) fill(values ...string) {
	w.t.Helper()
	p := w.producer(ProducerConfig{})
	for _, v := range values {
		if _, err := appendOne(p, 0, v); err != nil {
			w.t.Fatal(err)
		}
	}
}

// createAnew puts another topic in the place of one, between two fetches of whoever reads it.
func (w *world) createAnew(values ...string) {
	w.t.Helper()
	if err := w.fake.DeleteTopic(topic); err != nil {
		w.t.Fatal(err)
	}
	if err := w.fake.CreateTopic(topic, 1, nil); err != nil {
		w.t.Fatal(err)
	}
	w.fill(values...)
}

// A topic is created anew, and is as long as the old one or longer, before its reader asks again: no answer of the new one
// passes for one of the old.
func TestFollowerTellsATopicFromTheNextOfItsName(t *testing.T) {
	t.Parallel()
	for _, length := range []int{0, 2, 3, 5} {
		t.Run(strconv.Itoa(length), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 1)
				w.fill("a", "b", "c")
				f := w.cluster.Follow(topic, 0, 0)
				batch, err := f.Fetch(t.Context())
				if err != nil || batch.Marks().Next != 3 || batch.Marks().Log.IsZero() {
					t.Fatalf("%+v, %v", batch.Marks(), err)
				}
				old := batch.Marks().Log
				w.createAnew([]string{"d", "e", "f", "g", "h"}[:length]...)
				if _, err := f.Fetch(t.Context()); !errors.Is(err, errIDUnknown) || !Temporary(err) {
					t.Fatalf("the first fetch behind it = %v", err)
				}
				batch, err = f.Fetch(t.Context())
				if length < 3 {
					if !errors.Is(err, feed.ErrBeyondEnd) {
						t.Fatalf("of a log of %d records at 3: %v", length, err)
					}
					return
				}
				if err != nil || batch.Marks().Log.IsZero() || batch.Marks().Log == old || batch.Marks().Next != int64(length) {
					t.Fatalf("%+v, %v; the old log was %x", batch.Marks(), err, old)
				}
			})
		})
	}
}

// Brokers that have no ids are read by the topic's name, and nobody claims to know which one it is.
func TestFollowerOnBrokersWithoutIDs(t *testing.T) {
	t.Parallel()
	for _, v := range []*kversion.Versions{kversion.V2_4_0(), kversion.V3_0_0()} {
		t.Run(v.VersionGuess(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 1, kfake.MaxVersions(v))
				w.fill("a", "b", "c")
				f := w.cluster.Follow(topic, 0, 0)
				for range 2 {
					batch, err := f.Fetch(t.Context())
					if err != nil || batch.Marks().Next != 3 || !batch.Marks().Log.IsZero() {
						t.Fatalf("%+v, %v", batch, err)
					}
				}
			})
		})
	}
}

// wire is a connection whose peer has answered before it was asked.
type wire struct {
	io.Reader
	sent bytes.Buffer
}

func (w *wire) Write(b []byte) (int, error) { return w.sent.Write(b) }

// fetchAnswer is a broker's answer to a fetch, as another implementation of the protocol writes it, with all that may come.
func fetchAnswer(id feed.LogID, records []byte) []byte {
	part := kmsg.NewFetchResponseTopicPartition()
	part.Partition, part.HighWatermark, part.LogStartOffset, part.RecordBatches = 7, 12, 9, records
	part.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{{ProducerID: 1, FirstOffset: 2}}
	part.CurrentLeader.LeaderID = 4
	res := kmsg.NewPtrFetchResponse()
	res.Version = fetchVersion
	res.Topics = []kmsg.FetchResponseTopic{{TopicID: id, Partitions: []kmsg.FetchResponseTopicPartition{part}}}
	return framed(res.AppendTo(nil))
}

func framed(body []byte) []byte {
	n := len(body) + 5
	frame := []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, correlation >> 8, correlation & 0xff, 0}
	return append(frame, body...)
}

func metadataAnswer(id feed.LogID, code int16) []byte {
	name, cluster, rack := topic, "cluster", "rack"
	res := kmsg.NewPtrMetadataResponse()
	res.Version, res.ClusterID = metadataVersion, &cluster
	res.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "one", Port: 1}, {NodeID: 2, Host: "two", Port: 2, Rack: &rack}}
	res.Topics = []kmsg.MetadataResponseTopic{{ErrorCode: code, Topic: &name, TopicID: id}}
	versions := kmsg.NewPtrApiVersionsResponse()
	for _, k := range []kmsg.Key{kmsg.Fetch, kmsg.Metadata} {
		versions.ApiKeys = append(versions.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: int16(k), MaxVersion: 17})
	}
	body := versions.AppendTo(nil)
	n := len(body) + 4
	first := append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 0, 0, correlation >> 8, correlation & 0xff}, body...)
	return append(first, framed(res.AppendTo(nil))...)
}

// What is sent and understood is what another implementation of the protocol reads and writes. An answer that breaks off
// is an error wherever it does, and leaves nothing of it.
func TestExchangesByID(t *testing.T) {
	t.Parallel()
	id := feed.LogID{1, 2, 3, 15: 16}
	records := at(9, sealed([]Message{{Key: []byte("k"), Value: []byte("a")}, {Value: []byte("b")}, {Value: []byte("c")}}, session{}, 0), nil)
	fetch := &fetchRequest{topic: topic, clientID: "client", id: id, partition: 7, from: 9, sets: new(sync.Pool)}
	ask := &idRequest{topic: topic, clientID: "client"}
	for _, tc := range []struct {
		name   string
		req    protocol.RawExchanger
		answer []byte
		check  func(res protocol.Message) error
	}{
		{"records", fetch, fetchAnswer(id, records), func(res protocol.Message) error {
			var b Batch
			if err := b.read(res.(*fetchResponse), 9); err != nil {
				return err
			}
			m, n := b.Marks(), 0
			for r := (fold.Record{}); b.Next(&r); {
				n++
			}
			if n != 3 || m.Start != 9 || m.End != 12 || m.Next != 12 {
				return fmt.Errorf("%d records, %+v", n, m)
			}
			return nil
		}},
		{"no records", fetch, fetchAnswer(id, nil), func(res protocol.Message) error {
			var b Batch
			return b.read(res.(*fetchResponse), 9)
		}},
		{"id", ask, metadataAnswer(id, 0), func(res protocol.Message) error {
			if got := res.(*idResponse); got.id != id || got.err != nil {
				return fmt.Errorf("%+v", got)
			}
			return nil
		}},
		{"no topic", ask, metadataAnswer(feed.LogID{}, 3), func(res protocol.Message) error {
			if got := res.(*idResponse); !errors.Is(got.err, kafka.UnknownTopicOrPartition) {
				return fmt.Errorf("%+v", got)
			}
			return nil
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			conn := &wire{Reader: bytes.NewReader(append(bytes.Clone(tc.answer), "next"...))}
			res, err := tc.req.RawExchange(conn)
			if err == nil {
				err = tc.check(res)
			}
			if rest, _ := io.ReadAll(conn); err != nil || string(rest) != "next" {
				t.Fatalf("%v, and %q is left on the connection", err, rest)
			}
			for n := range tc.answer {
				if res, err := tc.req.RawExchange(&wire{Reader: bytes.NewReader(tc.answer[:n])}); err == nil {
					t.Fatalf("the first %d bytes of %d: %+v", n, len(tc.answer), res)
				}
			}
		})
	}
	for name, broken := range map[string][]byte{
		"another topic's": fetchAnswer(feed.LogID{9}, records),
		"another request": append([]byte{0, 0, 0, 5, 1}, make([]byte, 4)...),
		"a huge array":    framed([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}),
	} {
		if res, err := fetch.RawExchange(&wire{Reader: bytes.NewReader(broken)}); !errors.Is(err, errAnswer) {
			t.Errorf("%s: %+v, %v", name, res, err)
		}
	}
}
