package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

func TestMain(m *testing.M) {
	if os.Getenv(brokerEnv) != "" {
		if err := serve(); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const topic = "clicks"

var errRefused = errors.New("connection refused")

// world is a cluster in memory, and our client of it. It lives in the synctest bubble of its test.
type world struct {
	t       *testing.T
	fake    *kfake.Cluster
	network *kfake.VirtualNetwork
	cluster *Cluster

	mu      sync.Mutex
	conns   []net.Conn
	refused bool              // dials are
	hung    string            // an address that takes connections and answers nothing
	silent  func([]byte) bool // picks requests that nobody will answer
	// mangle, if set, may wrap a connection that is dialled.
	mangle func(net.Conn) net.Conn
}

func newWorld(t *testing.T, nodes, partitions int, opts ...kfake.Opt) *world {
	t.Helper()
	w := &world{t: t, network: &kfake.VirtualNetwork{}}
	ports := make([]int, nodes)
	for i := range ports {
		ports[i] = 9000 + i
	}
	opts = append(opts, kfake.NumBrokers(nodes), kfake.Ports(ports...), kfake.ListenFn(w.network.Listen))
	if partitions > 0 {
		opts = append(opts, kfake.SeedTopics(int32(partitions), topic))
	}
	fake, err := kfake.NewCluster(opts...)
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

// refuse breaks every connection and refuses new ones until it is healed.
func (w *world) refuse() (heal func()) {
	set := func(refused bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.refused = refused
	}
	set(true)
	w.cut()
	return func() { set(false) }
}

// silence leaves requests that pick picks without an answer until it is healed: their connections hang.
func (w *world) silence(pick func(request []byte) bool) (heal func()) {
	set := func(pick func([]byte) bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.silent = pick
	}
	set(pick)
	return func() { set(nil) }
}

// hang makes a broker take connections and answer nothing, as a process that is stopped does, until it goes on.
func (w *world) hang(address string) (heal func()) {
	set := func(address string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hung = address
	}
	set(address)
	return func() { set("") }
}

// conn is a connection whose requests can be silenced. What was swallowed breaks its framing for good, as a peer that
// comes back after the packets were dropped would.
type conn struct {
	net.Conn
	w       *world
	address string
}

func (c *conn) Write(b []byte) (int, error) {
	c.w.mu.Lock()
	silent := c.w.hung == c.address || (c.w.silent != nil && c.w.silent(b))
	c.w.mu.Unlock()
	if silent {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	inner, err := w.network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused {
		_ = inner.Close()
		return nil, errRefused
	}
	var conn net.Conn = &conn{Conn: inner, w: w, address: address}
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
