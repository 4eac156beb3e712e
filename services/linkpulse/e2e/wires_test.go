package e2e

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/linkpulse/linkpulse/services/linkpulse/stack"
)

// way is a direction in which nothing goes through.
type way int

const (
	toKafka way = 1 << iota
	fromKafka
	bothWays = toKafka | fromKafka
)

// wires are the connections between parts and brokers, over real sockets, each through a relay that can be shut in one
// direction: what is sent then is neither lost nor refused, it does not arrive, as on a network that drops packets.
type wires struct {
	brokers []string

	mu     sync.Mutex // guards what follows
	opened sync.Cond
	shut   map[string]way // by part
	relays sync.WaitGroup
}

func newWires(t *testing.T, brokers []string) *wires {
	t.Helper()
	w := &wires{brokers: brokers, shut: make(map[string]way)}
	w.opened.L = &w.mu
	t.Cleanup(func() {
		w.setShut(0, "ingest", "gateway-1", "gateway-2")
		w.relays.Wait()
	})
	return w
}

// setShut shuts the wires of parts in a direction, in both, or in none.
func (w *wires) setShut(in way, parts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, part := range parts {
		w.shut[part] = in
	}
	w.opened.Broadcast()
}

// pass waits while the wires of a part are shut in a direction.
func (w *wires) pass(part string, in way) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.shut[part]&in != 0 {
		w.opened.Wait()
	}
}

// dialAs is what a part dials with. Only its connections to brokers go through a relay.
func (w *wires) dialAs(part string) stack.Dialer {
	var dialer net.Dialer
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil || !slices.Contains(w.brokers, address) {
			return conn, err
		}
		near, far, err := socketPair(ctx)
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		relay := func(to, from net.Conn, in way) {
			defer to.Close()
			defer from.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := from.Read(buf)
				w.pass(part, in)
				if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
					return
				}
			}
		}
		w.relays.Go(func() { relay(conn, far, toKafka) })
		w.relays.Go(func() { relay(far, conn, fromKafka) })
		return near, nil
	}
}

// socketPair returns the two ends of a connection over loopback.
func socketPair(ctx context.Context) (near, far net.Conn, err error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	var dialer net.Dialer
	if near, err = dialer.DialContext(ctx, "tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if far, err = l.Accept(); err != nil {
		_ = near.Close()
		return nil, nil, err
	}
	return near, far, nil
}
