package kafkalog

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/fold"
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
