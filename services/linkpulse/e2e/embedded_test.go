package e2e

import (
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// The cases over real sockets, on the broker of `linkpulse dev` with three nodes.
func TestEmbedded(t *testing.T) {
	t.Parallel()
	k := startEmbedded(t)
	// Whoever kills the node that is kfake's controller leaves the cluster without one: no partition is added afterwards.
	cases := []namedCase{push, reconnect, topics, strange, burst, widen, elect, kill, bounce}
	if !testing.Short() { // they wait for timeouts in real time
		cases = append(cases, freeze, isolate)
	}
	runSuite(t, k, cases...)
}

// embedded is kfake on real sockets, behind gates that make its nodes stop like processes.
type embedded struct {
	cluster *kfake.Cluster
	addrs   []string

	mu    sync.Mutex // guards gates
	gates map[int]*gate
}

func startEmbedded(t *testing.T) *embedded {
	t.Helper()
	e := &embedded{gates: make(map[int]*gate)}
	cluster, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.ListenFn(e.listen))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	e.cluster, e.addrs = cluster, cluster.ListenAddrs()
	return e
}

// listen opens a listener with a gate; kfake opens one per node and keeps to its port.
func (e *embedded) listen(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return nil, err
	}
	g := &gate{Listener: l, conns: make(map[*gatedConn]struct{})}
	g.cond.L = &g.mu
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gates[port(l.Addr().String())] = g
	return g, nil
}

func (e *embedded) gate(node int) *gate {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.gates[port(e.addrs[node-1])]
}

func port(addr string) int {
	_, text, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(text)
	return n
}

func (e *embedded) Config() kafkalog.Config { return kafkalog.Config{Brokers: e.addrs} }
func (e *embedded) Brokers() int            { return len(e.addrs) }
func (e *embedded) Options() []kgo.Opt      { return []kgo.Opt{kgo.SeedBrokers(e.addrs...)} }

// kfake counts its nodes from 0.
func (e *embedded) Leader(_ *testing.T, topic string, partition int32) int {
	return int(e.cluster.LeaderFor(topic, partition)) + 1
}

func (e *embedded) Kill(t *testing.T, node int) {
	t.Helper()
	g := e.gate(node)
	if err := e.cluster.RemoveNode(int32(node - 1)); err != nil {
		t.Fatal(err)
	}
	g.drop()
}

func (e *embedded) Restart(t *testing.T, nodes ...int) {
	t.Helper()
	for _, node := range nodes {
		if _, _, err := e.cluster.AddNode(int32(node-1), port(e.addrs[node-1])); err != nil {
			t.Fatal(err)
		}
	}
}

func (e *embedded) Move(t *testing.T, topic string, partition int32, node int) {
	t.Helper()
	if err := e.cluster.MoveTopicPartition(topic, partition, int32(node-1)); err != nil {
		t.Fatal(err)
	}
}

func (e *embedded) Pause(_ *testing.T, node int)   { e.gate(node).set(true) }
func (e *embedded) Unpause(_ *testing.T, node int) { e.gate(node).set(false) }

// gate is a listener whose connections can be made to stand still, and to end, all at once.
type gate struct {
	net.Listener

	mu     sync.Mutex // guards what follows
	cond   sync.Cond
	closed bool // nothing goes through
	conns  map[*gatedConn]struct{}
}

func (g *gate) Accept() (net.Conn, error) {
	c, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	gated := &gatedConn{Conn: c, gate: g}
	g.conns[gated] = struct{}{}
	return gated, nil
}

func (g *gate) set(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
	g.cond.Broadcast()
}

func (g *gate) wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.closed {
		g.cond.Wait()
	}
}

// drop ends every connection.
func (g *gate) drop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.conns {
		_ = c.Conn.Close()
	}
}

// gatedConn is what the node sees of a connection. While the gate is closed the node neither hears nor says anything, as
// a process that was stopped; what it is sent waits in the kernel.
type gatedConn struct {
	net.Conn
	gate *gate
}

func (c *gatedConn) Read(p []byte) (int, error) {
	c.gate.wait()
	n, err := c.Conn.Read(p)
	c.gate.wait() // it was reading already when the gate closed
	return n, err
}

func (c *gatedConn) Write(p []byte) (int, error) {
	c.gate.wait()
	return c.Conn.Write(p)
}

func (c *gatedConn) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	if err := c.Conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
