package client

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a network of pipes: every dial of a name reaches the listener of that name.
type memory struct {
	mu    sync.Mutex
	peers map[string]chan net.Conn
}

func newMemory() *memory { return &memory{peers: map[string]chan net.Conn{}} }

type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *memoryListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *memoryListener) Addr() net.Addr { return &net.TCPAddr{} }

func (m *memory) listen(name string) *memoryListener {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	m.peers[name] = l.conns
	return l
}

func (m *memory) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	m.mu.Lock()
	conns, ok := m.peers[addr]
	m.mu.Unlock()
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	near, far := net.Pipe()
	select {
	case conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
}

func (m *memory) transport() *http.Transport { return &http.Transport{DialContext: m.dial} }

// peer is the gateway's end of a connection in a test's hands.
type peer struct {
	t    *testing.T
	auth string // the Authorization of the handshake
	conn *websocket.Conn
	done chan struct{} // closed by the test to end the handler
	once sync.Once
}

// gateway accepts connections and hands each to the test.
type gateway struct {
	t      *testing.T
	peers  chan *peer
	refuse http.HandlerFunc // nil: accept
}

func newGateway(t *testing.T, m *memory, name string) *gateway {
	t.Helper()
	g := &gateway{t: t, peers: make(chan *peer)}
	l := m.listen(name)
	srv := &http.Server{Handler: g}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-served })
	return g
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if g.refuse != nil {
		g.refuse(w, r)
		return
	}
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		g.t.Errorf("accepting: %v", err)
		return
	}
	p := &peer{t: g.t, auth: r.Header.Get("Authorization"), conn: c, done: make(chan struct{})}
	select {
	case g.peers <- p:
		<-p.done
	case <-time.After(time.Hour):
		g.t.Error("nobody took the connection")
	}
	_ = c.CloseNow()
}

// next returns the next connection that a client makes.
func (g *gateway) next() *peer {
	g.t.Helper()
	select {
	case p := <-g.peers:
		g.t.Cleanup(p.end)
		return p
	case <-time.After(time.Hour):
		g.t.Fatal("no connection came")
		return nil
	}
}

// ready takes the next connection and says that it is ready.
func (g *gateway) ready(epoch int64) *peer {
	g.t.Helper()
	p := g.next()
	p.ready(epoch, time.Time{})
	return p
}

// admit takes the next connection, which must have come with a token, and says that it is ready until then.
func (g *gateway) admit(token string, expires time.Time) *peer {
	g.t.Helper()
	p := g.next()
	if want := "Bearer " + token; p.auth != want {
		g.t.Fatalf("the client came with %q, want %q", p.auth, want)
	}
	p.ready(1, expires)
	return p
}

// ready says that the connection is ready; a zero expires is never.
func (p *peer) ready(epoch int64, expires time.Time) {
	p.t.Helper()
	m := wire.Ready{Protocol: 1, Connection: "c_1", Gateway: "gw", HeartbeatMs: 15000, Epoch: epoch}
	if !expires.IsZero() {
		m.ExpiresAt = expires.UnixMilli()
	}
	p.send(wire.AppendReady(nil, m))
}

func (p *peer) end() { p.once.Do(func() { close(p.done) }) }

func (p *peer) send(message []byte) {
	p.t.Helper()
	if err := p.conn.Write(p.t.Context(), websocket.MessageText, message); err != nil {
		p.t.Fatalf("sending %s: %v", message, err)
	}
}

// expect reads the client's next message, which must be what is given.
func (p *peer) expect(want string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Hour)
	defer cancel()
	_, b, err := p.conn.Read(ctx)
	if err != nil || string(b) != want {
		p.t.Fatalf("the client sent %s (%v), want %s", b, err, want)
	}
	if _, err := wire.DecodeClient(b); err != nil {
		p.t.Fatalf("a gateway would refuse %s: %v", b, err)
	}
}

// refuse closes with a code after an `error` that says it in words.
func (p *peer) refuse(code wire.ErrorCode, message string, with wire.CloseCode) {
	p.t.Helper()
	p.send(wire.AppendError(nil, wire.Error{Code: code, Message: message}))
	p.close(with)
}

// close closes with a code, without waiting for the client.
func (p *peer) close(code wire.CloseCode) {
	p.t.Helper()
	go func() { _ = p.conn.Close(websocket.StatusCode(code), code.String()) }()
}

func (p *peer) subscribed(links ...wire.LinkCount) {
	p.t.Helper()
	p.send(wire.AppendSubscribed(nil, wire.Subscribed{Links: links}))
}

func (p *peer) update(link string, count, delta, seq int64) {
	p.t.Helper()
	p.send(wire.AppendUpdate(nil, wire.Update{Link: link, Count: count, Delta: delta, Seq: seq, At: 1000}))
}

func (p *peer) heartbeat(lag time.Duration) {
	p.t.Helper()
	now := time.Now().UnixMilli()
	p.send(wire.AppendHeartbeat(nil, wire.Heartbeat{At: now, CompleteTo: now - lag.Milliseconds(), LagMs: lag.Milliseconds()}))
}

func subscribe(links ...string) string {
	return string(wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeSubscribe, Links: links, IntervalMs: wire.KeepInterval}))
}

func auth(token string) string {
	return string(wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeAuth, Token: token}))
}

func unsubscribe(links ...string) string {
	return string(wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeUnsubscribe, Links: links}))
}

// toJSON is for messages that the encoders would not write.
func toJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
