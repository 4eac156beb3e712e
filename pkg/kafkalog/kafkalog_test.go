package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "clicks"

// world is a cluster in memory, and our client of it. It lives in the synctest bubble of its test.
type world struct {
	t       *testing.T
	fake    *kfake.Cluster
	network *kfake.VirtualNetwork
	cluster *Cluster

	mu    sync.Mutex
	conns []net.Conn
	// mangle, if set, may wrap a connection that is dialled.
	mangle func(net.Conn) net.Conn
}

func newWorld(t *testing.T, nodes, partitions int) *world {
	t.Helper()
	w := &world{t: t, network: &kfake.VirtualNetwork{}}
	ports := make([]int, nodes)
	for i := range ports {
		ports[i] = 9000 + i
	}
	fake, err := kfake.NewCluster(kfake.NumBrokers(nodes), kfake.Ports(ports...), kfake.ListenFn(w.network.Listen),
		kfake.SeedTopics(int32(partitions), topic)) //nolint:gosec // small
	if err != nil {
		t.Fatal(err)
	}
	w.fake = fake
	w.cluster = w.open()
	t.Cleanup(func() {
		w.cluster.Close()
		w.cut()
		fake.Close()
	})
	return w
}

func (w *world) open() *Cluster {
	w.t.Helper()
	c, err := Open(Config{Brokers: w.fake.ListenAddrs()}, WithDialer(w.dial))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := w.network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mangle != nil {
		conn = w.mangle(conn)
	}
	w.conns = append(w.conns, conn)
	return conn, nil
}

// cut breaks every connection.
func (w *world) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

func (w *world) producer(cfg ProducerConfig) *Producer {
	w.t.Helper()
	cfg.Topic = topic
	cfg.Partitions = max(cfg.Partitions, 1)
	p, err := w.cluster.NewProducer(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), time.Second)
		defer cancel()
		_ = p.Close(ctx) // a test that cares has closed it
	})
	return p
}

// log returns the values of a partition, in order.
func (w *world) log(partition int32) []string {
	w.t.Helper()
	bounds, err := w.cluster.Bounds(w.t.Context(), topic, partition)
	for range 10 { // the picture of the leaders may be old: the error has refreshed it
		if err == nil {
			break
		}
		time.Sleep(refreshEvery)
		bounds, err = w.cluster.Bounds(w.t.Context(), topic, partition)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	var values []string
	f := w.cluster.Follow(topic, partition, bounds.Start)
	for at := bounds.Start; at < bounds.End; {
		batch, err := f.Fetch(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		var r fold.Record
		for batch.Next(&r) {
			values = append(values, string(r.Value))
		}
		at = batch.Marks().Next
	}
	return values
}

func message(partition int32, value string) Message {
	return Message{Partition: partition, TimeMs: time.Now().UnixMilli(), Key: []byte("link"), Value: []byte(value)}
}

func appendOne(p *Producer, partition int32, value string) (int64, error) {
	msgs := []Message{message(partition, value)}
	err := p.Append(msgs)
	return msgs[0].Offset, err
}

func equal(t *testing.T, got, want []string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("the log holds %v, want %v", got, want)
	}
}

func TestAppendAndFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		p := w.producer(ProducerConfig{Partitions: 2})
		now := time.Now()
		msgs := []Message{
			{Partition: 0, TimeMs: now.UnixMilli(), Key: []byte("a"), Value: []byte("0"), Headers: []Header{{Key: "traceparent", Value: []byte("00-x")}}},
			{Partition: 1, TimeMs: now.UnixMilli(), Key: []byte("b"), Value: []byte("1")},
			{Partition: 0, TimeMs: now.UnixMilli() - 5000, Key: []byte("a"), Value: nil},
		}
		if err := p.Append(msgs); err != nil {
			t.Fatal(err)
		}
		if msgs[0].Offset != 0 || msgs[1].Offset != 0 || msgs[2].Offset != 1 {
			t.Fatalf("offsets %d %d %d", msgs[0].Offset, msgs[1].Offset, msgs[2].Offset)
		}
		batch, err := w.cluster.Follow(topic, 0, 0).Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []fold.Record
		for r := (fold.Record{}); batch.Next(&r); {
			got = append(got, r)
		}
		if len(got) != 2 || string(got[0].Key) != "a" || string(got[0].Value) != "0" || got[0].TimeMs != now.UnixMilli() ||
			got[1].TimeMs != now.UnixMilli()-5000 || got[1].Offset != 1 || len(got[1].Value) != 0 {
			t.Fatalf("records %+v", got)
		}
		if m := batch.Marks(); m.Start != 0 || m.End != 2 || m.Next != 2 {
			t.Fatalf("marks %+v", m)
		}
	})
}

// What queued while a request was out makes up the next batch: nothing waits for a timer, and nothing is sent alone that
// could have gone together.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		if _, err := appendOne(p, 0, "first"); err != nil {
			t.Fatal(err)
		}
		requests := 0
		w.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.fake.KeepControl()
			requests++
			w.fake.SleepControl(func() { time.Sleep(20 * time.Millisecond) })
			return nil, nil, false
		})
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if _, err := appendOne(p, 0, "x"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		took := time.Since(began)
		// 100 appends over 99 ms, acknowledgements after 20 ms: the last one waits for at most two.
		if requests > 8 || took > 99*time.Millisecond+2*20*time.Millisecond+5*time.Millisecond {
			t.Fatalf("%d requests, %v", requests, took)
		}
	})
}

// A retry of a batch that had been appended after all is recognised by the broker: the log holds it once.
func TestRetryIsIdempotent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault *kerr.Error
	}{
		{"timed out after the append", kerr.RequestTimedOut},
		{"too few replicas after the append", kerr.NotEnoughReplicasAfterAppend},
		{"too few replicas", kerr.NotEnoughReplicas},
		{"no leader", kerr.NotLeaderForPartition},
		{"storage", kerr.KafkaStorageError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 1)
				p := w.producer(ProducerConfig{})
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: tc.fault, Count: 3})
				for _, v := range []string{"a", "b", "c"} {
					if _, err := appendOne(p, 0, v); err != nil {
						t.Fatal(err)
					}
				}
				equal(t, w.log(0), []string{"a", "b", "c"})
			})
		})
	}
}

// cutReply is a connection that breaks when the n-th answer from now on would arrive: the request was handled, the client
// does not know.
type cutReply struct {
	net.Conn
	armed func() bool
}

func (c cutReply) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.armed() {
		_ = c.Conn.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func TestLostAnswerIsNoDuplicate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		var mu sync.Mutex
		cut, lost := false, false
		w.mangle = func(c net.Conn) net.Conn {
			return cutReply{Conn: c, armed: func() bool {
				mu.Lock()
				defer mu.Unlock()
				was := cut
				cut = false
				return was
			}}
		}
		p := w.producer(ProducerConfig{})
		if _, err := appendOne(p, 0, "a"); err != nil {
			t.Fatal(err)
		}
		// The next answer to a produce request is lost, whoever else reads meanwhile.
		w.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			mu.Lock()
			cut, lost = !lost, true // once
			mu.Unlock()
			return nil, nil, false
		})
		for _, v := range []string{"b", "c"} {
			if _, err := appendOne(p, 0, v); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, w.log(0), []string{"a", "b", "c"})
	})
}

func TestLeaderMovesUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 1)
		p := w.producer(ProducerConfig{})
		stop := make(chan struct{})
		var want []string
		done := make(chan struct{})
		worst := time.Duration(0)
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				v := strconv.Itoa(i)
				if _, err := appendOne(p, 0, v); err != nil {
					t.Error(err)
				}
				worst = max(worst, time.Since(began))
				want = append(want, v)
				time.Sleep(time.Millisecond)
			}
		}()
		for i := range 20 {
			time.Sleep(200 * time.Millisecond)
			if err := w.fake.MoveTopicPartition(topic, 0, int32(i%3)); err != nil { //nolint:gosec // small
				t.Error(err)
			}
		}
		close(stop)
		<-done
		equal(t, w.log(0), want)
		if worst > time.Second {
			t.Fatalf("the longest append took %v", worst)
		}
	})
}

func TestUnreachableBrokersThenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		if _, err := appendOne(p, 0, "a"); err != nil {
			t.Fatal(err)
		}
		if err := p.Ready(); err != nil {
			t.Fatalf("Ready = %v", err)
		}
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.NotEnoughReplicas, Count: -1})
		outcome := make(chan error, 1)
		go func() {
			_, err := appendOne(p, 0, "b")
			outcome <- err
		}()
		time.Sleep(10 * time.Second)
		if err := p.Ready(); !errors.Is(err, ErrFailing) {
			t.Fatalf("Ready = %v, want %v", err, ErrFailing)
		}
		h.Remove()
		healed := time.Now()
		if err := <-outcome; err != nil || time.Since(healed) > 2*time.Second {
			t.Fatalf("append after heal: %v, %v", err, time.Since(healed))
		}
		if err := p.Ready(); err != nil {
			t.Fatalf("Ready = %v", err)
		}
		equal(t, w.log(0), []string{"a", "b"})
	})
}

func TestOutcomeAtTheDeadline(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault *kerr.Error
		want  error
		log   []string
	}{
		{"never appended", kerr.NotEnoughReplicas, ErrNotAppended, nil},
		{"perhaps appended", kerr.RequestTimedOut, ErrUnknownOutcome, []string{"a"}},
		{"refused for good", kerr.TopicAuthorizationFailed, ErrNotAppended, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 1)
				p := w.producer(ProducerConfig{Deadline: 5 * time.Second})
				h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: tc.fault, Count: -1})
				began := time.Now()
				_, err := appendOne(p, 0, "a")
				if !errors.Is(err, tc.want) || time.Since(began) > 6*time.Second {
					t.Fatalf("append = %v after %v, want %v", err, time.Since(began), tc.want)
				}
				h.Remove()
				if _, err := appendOne(p, 0, "b"); err != nil {
					t.Fatal(err)
				}
				equal(t, w.log(0), append(tc.log, "b"))
			})
		})
	}
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		p := w.producer(ProducerConfig{Partitions: 2, QueueBytes: 1000, BatchBytes: 500})
		h := w.fake.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{0}, Err: kerr.NotEnoughReplicas, Count: -1,
		})
		var wg sync.WaitGroup
		refused := 0
		var mu sync.Mutex
		for range 30 {
			wg.Go(func() {
				began := time.Now()
				if _, err := appendOne(p, 0, "0123456789012345678901234567890123456789"); err != nil {
					if !errors.Is(err, ErrQueueFull) || time.Since(began) != 0 {
						t.Errorf("append = %v after %v", err, time.Since(began))
					}
					mu.Lock()
					refused++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		if _, err := appendOne(p, 1, "the other partition"); err != nil {
			t.Fatal(err)
		}
		if _, err := appendOne(p, 1, string(make([]byte, 600))); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("append = %v, want %v", err, ErrTooLarge)
		}
		h.Remove()
		wg.Wait()
		if got := len(w.log(0)); refused == 0 || got != 30-refused {
			t.Fatalf("%d refused, %d in the log, 30 sent", refused, got)
		}
	})
}

func TestCloseDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.NotEnoughReplicas, Count: -1})
		outcome := make(chan error, 1)
		go func() {
			_, err := appendOne(p, 0, "a")
			outcome <- err
		}()
		time.Sleep(time.Second)
		time.AfterFunc(2*time.Second, func() { h.Remove() })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		if _, err := appendOne(p, 0, "late"); !errors.Is(err, ErrClosed) {
			t.Fatalf("append = %v, want %v", err, ErrClosed)
		}
		equal(t, w.log(0), []string{"a"})
	})
}

func TestCloseGivesUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.RequestTimedOut, Count: -1})
		outcome := make(chan error, 1)
		go func() {
			_, err := appendOne(p, 0, "a")
			outcome <- err
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Close(ctx); !errors.Is(err, errNotDrained) {
			t.Fatalf("Close = %v", err)
		}
		if err := <-outcome; !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("append = %v, want %v", err, ErrUnknownOutcome)
		}
	})
}

func TestFollowerTellsLossFromAShortLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		for i := range 5 {
			if _, err := appendOne(p, 0, strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.fake.DeleteRecords(topic, 0, 3); err != nil {
			t.Fatal(err)
		}
		if _, err := w.cluster.Follow(topic, 0, 2).Fetch(t.Context()); !errors.Is(err, feed.ErrLost) {
			t.Fatalf("Fetch below the start = %v", err)
		}
		if _, err := w.cluster.Follow(topic, 0, 6).Fetch(t.Context()); !errors.Is(err, feed.ErrBeyondEnd) {
			t.Fatalf("Fetch beyond the end = %v", err)
		}
		began := time.Now()
		batch, err := w.cluster.Follow(topic, 0, 5).Fetch(t.Context())
		if err != nil || time.Since(began) != fetchWait {
			t.Fatalf("Fetch at the end = %v after %v", err, time.Since(began))
		}
		if m := batch.Marks(); m.Start != 3 || m.End != 5 || m.Next != 5 || !m.AsOf.Equal(began) {
			t.Fatalf("marks %+v", m)
		}
	})
}

// TestChaos appends from many callers while leaders move, answers get lost, connections break and replicas are short.
// Whatever was acknowledged is in the log once, at the offset that was told; what was not appended is not there.
func TestChaos(t *testing.T) {
	t.Parallel()
	for range 20 {
		seed := rand.Uint64()
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
		})
	}
}

func chaos(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	const partitions = 3
	w := newWorld(t, 3, partitions)
	p := w.producer(ProducerConfig{Partitions: partitions})
	type told struct {
		partition int32
		value     string
		offset    int64
		err       error
	}
	results := make(chan told, 10_000)
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			for i := range 100 {
				m := message(int32((caller+i)%partitions), fmt.Sprintf("%d/%d", caller, i)) //nolint:gosec // small
				msgs := []Message{m}
				_ = p.Append(msgs) // the message carries it
				results <- told{m.Partition, string(m.Value), msgs[0].Offset, msgs[0].Err}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	faults := []*kerr.Error{
		kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NotEnoughReplicas, kerr.NotLeaderForPartition,
		kerr.KafkaStorageError, kerr.UnknownTopicOrPartition,
	}
	for range 60 {
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		switch rng.IntN(3) {
		case 0:
			w.cut()
		case 1:
			_ = w.fake.MoveTopicPartition(topic, rng.Int32N(partitions), rng.Int32N(3)) // it has always been there
		default:
			w.fake.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{rng.Int32N(partitions)},
				Err: faults[rng.IntN(len(faults))], Count: 1 + rng.IntN(4),
			})
		}
	}
	wg.Wait()
	close(results)
	logs := map[int32][]string{}
	times := map[string]int{}
	for partition := range int32(partitions) {
		logs[partition] = w.log(partition)
		for _, v := range logs[partition] {
			times[v]++
		}
	}
	ackedCount := 0
	for r := range results {
		switch n := times[r.value]; {
		case r.err == nil:
			ackedCount++
			if n != 1 {
				t.Errorf("%s was acknowledged and is in the log %d times", r.value, n)
			} else if r.offset >= 0 && logs[r.partition][r.offset] != r.value {
				t.Errorf("%s is not at %d/%d as told", r.value, r.partition, r.offset)
			}
		case errors.Is(r.err, ErrUnknownOutcome):
			if n > 1 {
				t.Errorf("%s has an unknown outcome and is in the log %d times", r.value, n)
			}
		default:
			if n != 0 {
				t.Errorf("%s was not appended (%v) and is in the log", r.value, r.err)
			}
		}
	}
	if ackedCount < 700 {
		t.Errorf("only %d of 800 were acknowledged", ackedCount)
	}
}
