package e2e

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// line is a relay on real sockets, between processes and what they use. It can be slow, and somebody can listen in.
type line struct {
	addr, to string

	mu     sync.Mutex // guards what follows
	delay  time.Duration
	tap    func(in lineWay, b []byte) (pass bool) // nil: nobody listens in
	conns  map[net.Conn]struct{}
	closed bool
	relays sync.WaitGroup // added to under mu, before closed
}

// lineWay is a direction.
type lineWay bool

const (
	request lineWay = true
	answer  lineWay = false
)

// newLine opens a relay to an address. It ends with the test.
func newLine(t *testing.T, to string) *line {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{addr: listener.Addr().String(), to: to, conns: make(map[net.Conn]struct{})}
	var accepting sync.WaitGroup
	ctx := context.WithoutCancel(t.Context())
	accepting.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			l.join(ctx, near)
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		accepting.Wait()
		l.mu.Lock()
		l.closed = true
		for c := range l.conns {
			_ = c.Close()
		}
		l.mu.Unlock()
		l.relays.Wait()
	})
	return l
}

// slow makes everything take that much longer, each way.
func (l *line) slow(delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = delay
}

// listen has tap see what goes by, piece by piece, and decide whether it goes on.
func (l *line) listen(tap func(in lineWay, b []byte) (pass bool)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tap = tap
}

// join relays between a connection and one of its own.
func (l *line) join(ctx context.Context, near net.Conn) {
	var dialer net.Dialer
	far, err := dialer.DialContext(ctx, "tcp", l.to)
	if err != nil {
		_ = near.Close()
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_, _ = near.Close(), far.Close()
		return
	}
	l.conns[near], l.conns[far] = struct{}{}, struct{}{}
	l.relays.Go(func() { l.relay(far, near, request) })
	l.relays.Go(func() { l.relay(near, far, answer) })
}

// piece is what was read at once, and when it is to arrive.
type piece struct {
	b   []byte
	due time.Time
}

// inFlight bounds the pieces that are under way; whoever sends more waits.
const inFlight = 1024

func (l *line) relay(to, from net.Conn, in lineWay) {
	pieces := make(chan piece, inFlight)
	l.relays.Go(func() {
		defer to.Close()
		for p := range pieces {
			time.Sleep(time.Until(p.due))
			if _, err := to.Write(p.b); err != nil {
				_ = from.Close()
			}
		}
	})
	defer close(pieces)
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.conns, from)
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		l.mu.Lock()
		delay, tap := l.delay, l.tap
		l.mu.Unlock()
		if n > 0 && (tap == nil || tap(in, buf[:n])) {
			pieces <- piece{bytes.Clone(buf[:n]), time.Now().Add(delay)}
		}
		if err != nil {
			return
		}
	}
}
