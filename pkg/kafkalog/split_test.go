package kafkalog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// The halves of a batch are what its messages would have been as two batches.
func TestHalves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		msgs := anyMessages(t)
		if len(msgs) < 2 {
			t.Skip("nothing to halve")
		}
		b := newBatch(nil, time.Time{})
		for i := range msgs {
			b.add(&msgs[i])
		}
		at := len(msgs) / 2
		for i, want := range [][]Message{msgs[:at], msgs[at:]} {
			half := b.halves()[i]
			latest := slices.MaxFunc(want, func(a, b Message) int { return int(a.TimeMs - b.TimeMs) })
			if int(half.count) != len(want) || half.maxTime != latest.TimeMs {
				t.Fatalf("half %d: %d records up to %d, want %d up to %d", i, half.count, half.maxTime, len(want), latest.TimeMs)
			}
			half.seal(session{}, 0)
			got := followed(t, 0, half.buf[setSizeLen:])
			var r fold.Record
			for place, m := range want {
				if !got.Next(&r) || r.Offset != int64(place) || r.TimeMs != m.TimeMs ||
					!bytes.Equal(r.Key, m.Key) || !bytes.Equal(r.Value, m.Value) {
					t.Fatalf("half %d, record %d: %+v, want %+v", i, place, r, m)
				}
			}
			if got.Next(&r) {
				t.Fatalf("half %d has a record more: %+v", i, r)
			}
			if headers := bytes.Count(half.buf, []byte("traceparent")); headers > 0 {
				t.Fatalf("%d headers that nobody sent", headers)
			}
		}
	})
}

// One message that the topic does not take costs the others nothing but time, and the next batches are as large as the
// topic takes them.
func TestOversizeMessagesFailAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 0)
		const most = 20_000
		err := w.cluster.EnsureTopics(t.Context(), TopicSpec{
			Name: topic, Partitions: 1, Replicas: 1, Settings: map[string]string{"max.message.bytes": strconv.Itoa(most)},
		})
		if err != nil {
			t.Fatal(err)
		}
		p := w.producer(ProducerConfig{})
		giants := []int{0, 333, 334, 999}
		batch := func(giants []int) (msgs []Message, want []string) {
			for i := range 1000 {
				v := fmt.Sprintf("%d%s", i, strings.Repeat(".", 100))
				if slices.Contains(giants, i) {
					v = strings.Repeat("x", most)
				} else {
					want = append(want, v)
				}
				msgs = append(msgs, message(0, v))
			}
			return msgs, want
		}
		msgs, want := batch(giants)
		if err := p.Append(msgs); !errors.Is(err, ErrNotAppended) {
			t.Fatalf("append = %v", err)
		}
		next := int64(0)
		for i, m := range msgs {
			if slices.Contains(giants, i) {
				if !errors.Is(m.Err, ErrNotAppended) || m.Offset != -1 {
					t.Fatalf("message %d: %d, %v", i, m.Offset, m.Err)
				}
				continue
			}
			if m.Err != nil || m.Offset != next {
				t.Fatalf("message %d: %d, %v; want %d", i, m.Offset, m.Err, next)
			}
			next++
		}
		equal(t, w.log(0), want)

		refused := p.metrics.retries.WithLabelValues("refused")
		before := testutil.ToFloat64(refused)
		msgs, more := batch(nil)
		if err := p.Append(msgs); err != nil {
			t.Fatal(err)
		}
		if now := testutil.ToFloat64(refused); before == 0 || now != before {
			t.Fatalf("%v batches were refused, %v before", now, before)
		}
		equal(t, w.log(0), append(want, more...))
	})
}

// Each part of a batch has its own outcome: here the first is in the log and the second in doubt.
func TestPartsInDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{Deadline: 5 * time.Second})
		var last kmsg.Request
		requests := 0
		from := func(n int) func(kmsg.Request) bool { // it is asked several times about one request
			return func(req kmsg.Request) bool {
				if req != last {
					last = req
					requests++
				}
				return requests >= n
			}
		}
		h := w.fake.Fault(
			kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.MessageTooLarge, When: from(2), Count: 1},
			kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.RequestTimedOut, When: from(4), Count: -1},
		)
		w.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.fake.SleepControl(func() { time.Sleep(time.Second) })
			return nil, nil, false
		})
		var wg sync.WaitGroup
		wg.Go(func() { // what follows gathers behind it
			if _, err := appendOne(p, 0, "0"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		msgs := []Message{message(0, "a"), message(0, "b"), message(0, "c"), message(0, "d")}
		if err := p.Append(msgs); !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("append = %v", err)
		}
		wg.Wait()
		for i, m := range msgs {
			if i < 2 && (m.Err != nil || m.Offset != int64(1+i)) || i >= 2 && (!errors.Is(m.Err, ErrUnknownOutcome) || m.Offset != -1) {
				t.Errorf("message %d: %d, %v", i, m.Offset, m.Err)
			}
		}
		h.Remove()
		if _, err := appendOne(p, 0, "e"); err != nil {
			t.Fatal(err)
		}
		equal(t, w.log(0), []string{"0", "a", "b", "c", "d", "e"})
	})
}

// mute is a connection to a broker that takes a request and closes.
type mute struct{ taken int }

func (m *mute) Write(b []byte) (int, error) {
	m.taken += len(b)
	return len(b), nil
}

func (*mute) Read([]byte) (int, error) { return 0, io.EOF }

// Either the library has the bytes or they are taken back; never both, never neither.
func TestRequestIsTakenOnce(t *testing.T) {
	t.Parallel()
	for range 1000 {
		r := &produceRequest{version: mostProduce, frames: &sync.Pool{}}
		var broker mute
		var err error
		var revoked bool
		var wg sync.WaitGroup
		wg.Go(func() { _, err = r.RawExchange(&broker) })
		wg.Go(func() { revoked = r.leaves.revoke() })
		wg.Wait()
		if revoked != errors.Is(err, errRevoked) || revoked != (broker.taken == 0) {
			t.Fatalf("revoked %v, %d bytes were sent: %v", revoked, broker.taken, err)
		}
		if r.leaves.revoke() {
			t.Fatal("it was revoked twice")
		}
	}
}

// Where no connection came about, nothing was sent, whatever the error says: the outcome is no secret then.
func TestNothingSentIsNotAppended(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{Deadline: 12 * time.Second})
		if _, err := appendOne(p, 0, "a"); err != nil {
			t.Fatal(err)
		}
		// Dials succeed, and the handshake behind them is never answered.
		heal := w.hang(w.fake.ListenAddrs()[0])
		w.cut()
		time.Sleep(10 * time.Second) // the probe has found out, so no connection is left to be tried
		if _, err := appendOne(p, 0, "b"); !errors.Is(err, ErrNotAppended) {
			t.Fatalf("append = %v, want %v", err, ErrNotAppended)
		}
		heal()
		w.cut()
		if _, err := appendOne(p, 0, "c"); err != nil {
			t.Fatal(err)
		}
		equal(t, w.log(0), []string{"a", "c"})
	})
}

// A partition without a leader is waited for, and the first attempt with one is the last.
func TestNoLeaderForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 1)
		p := w.producer(ProducerConfig{})
		if _, err := appendOne(p, 0, "a"); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		leaderless := true
		w.fake.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
			w.fake.KeepControl()
			mu.Lock()
			defer mu.Unlock()
			if !leaderless {
				return nil, nil, false
			}
			return withoutLeader(w, req), nil, true
		})
		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.NotLeaderForPartition, Count: 1})
		var healed time.Time
		time.AfterFunc(5*time.Second, func() {
			mu.Lock()
			defer mu.Unlock()
			leaderless, healed = false, time.Now()
		})
		if _, err := appendOne(p, 0, "b"); err != nil || healed.IsZero() || time.Since(healed) > 2*time.Second {
			t.Fatalf("append = %v, %v after there was a leader", err, time.Since(healed))
		}
		equal(t, w.log(0), []string{"a", "b"})
	})
}

// withoutLeader is what brokers say of a partition whose leader is gone.
func withoutLeader(w *world, req kmsg.Request) *kmsg.MetadataResponse {
	res := req.ResponseKind().(*kmsg.MetadataResponse)
	for i := range w.fake.ListenAddrs() {
		broker := kmsg.NewMetadataResponseBroker()
		broker.NodeID, broker.Host, broker.Port = int32(i), "127.0.0.1", int32(9000+i)
		res.Brokers = append(res.Brokers, broker)
	}
	part := kmsg.NewMetadataResponseTopicPartition()
	part.ErrorCode, part.Leader = kerr.LeaderNotAvailable.Code, -1
	found := kmsg.NewMetadataResponseTopic()
	name := topic
	found.Topic, found.Partitions = &name, []kmsg.MetadataResponseTopicPartition{part}
	res.Topics = []kmsg.MetadataResponseTopic{found}
	return res
}
