package ws

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a Handler behind a real http.Server, with sessions that only record what they are asked.
type server struct {
	t        *testing.T
	handler  *Handler
	dial     func() (net.Conn, error)
	sessions chan *session
	refuse   error // what Accepting answers
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
}

// transport is what the connections of a test run on.
type transport string

const (
	overTCP  transport = "tcp"
	overPipe transport = "pipe"
)

func newServer(t *testing.T, tr transport, change func(*Config)) *server {
	t.Helper()
	s := &server{t: t, sessions: make(chan *session, 16), registry: prometheus.NewRegistry()}
	var core zapcore.Core
	core, s.logs = observer.New(zap.DebugLevel)
	cfg := Config{
		Join: s.join, Accepting: func() error { return s.refuse }, Limits: Limits{Connections: 16}, Patience: 5 * time.Second,
		Address: testAddress, Log: zap.New(core), Metrics: NewMetrics(s.registry),
	}
	if change != nil {
		change(&cfg)
	}
	s.handler = New(cfg)
	var l net.Listener
	switch tr {
	case overTCP:
		tcp, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l = tcp
		s.dial = func() (net.Conn, error) { return net.Dial("tcp4", tcp.Addr().String()) }
	case overPipe:
		p := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		l, s.dial = p, p.dial
	}
	srv := httpserver.New(s.handler, zap.NewNop())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		s.handler.Wait()
	})
	return s
}

// testAddress takes the address of a client from the header Test-Address; without one it is not known.
func testAddress(r *http.Request) netip.Addr {
	a, _ := netip.ParseAddr(r.Header.Get("Test-Address"))
	return a
}

// join says ready at once, as the hub does.
func (s *server) join(c *Conn, id *auth.Identity) (Session, error) {
	ses := &session{conn: c, id: id, drained: make(chan struct{}, 1), gone: make(chan string, 1), asked: make(chan string, 64)}
	s.sessions <- ses
	return ses, nil
}

// connect does the handshake and returns the client's end.
func (s *server) connect() (*peer, *session) {
	s.t.Helper()
	p := s.open("/ws", nil)
	return p, <-s.sessions
}

// open does a handshake that must succeed.
func (s *server) open(path string, header http.Header) *peer {
	s.t.Helper()
	p, resp, body := s.try(path, header)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		s.t.Fatalf("handshake: %s %s", resp.Status, body)
	}
	return p
}

// try does a handshake, and returns the answer with what it says where it is refused.
func (s *server) try(path string, header http.Header) (*peer, *http.Response, string) {
	s.t.Helper()
	nc, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	p := &peer{t: s.t, Conn: nc}
	resp := p.handshake(path, header)
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return p, resp, ""
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return p, resp, string(body)
}

// metric returns the value of a metric, of the series that has a label value if one is given.
func (s *server) metric(name, label string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "linkpulse_gateway_"+name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	s.t.Fatalf("there is no metric %s of %q", name, label)
	return 0
}

// pipeListener is a listener whose connections are net.Pipe.
type pipeListener struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *pipeListener) dial() (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// session does what the hub would: it writes at once, and waits for Drained when it has to.
type session struct {
	conn    *Conn
	id      *auth.Identity // as it came in
	drained chan struct{}
	gone    chan string
	asked   chan string

	mu     sync.Mutex
	heard  int
	closed bool
}

func (s *session) ask(format string, args ...any) { s.asked <- fmt.Sprintf(format, args...) }

func (s *session) Subscribe(links []string, interval time.Duration) {
	s.ask("subscribe %v %v", links, interval)
}
func (s *session) Unsubscribe(links []string) { s.ask("unsubscribe %v", links) }
func (s *session) Refresh(id *auth.Identity)  { s.ask("refresh %s", id.TokenID) }

func (s *session) Fail(code wire.ErrorCode, message string) {
	s.ask("fail %s", code)
	s.write(wire.AppendTextFrame(nil, wire.AppendError(nil, wire.Error{Code: code, Message: message})), false)
}

func (s *session) Close(code wire.CloseCode) {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if !again {
		s.write(wire.AppendCloseFrame(nil, code, code.String()), true)
	}
}

// write writes as a loop does, but waits where a loop would go on with others.
func (s *session) write(b []byte, last bool) bool {
	blocked, err := s.conn.TryWrite(b, last)
	for blocked {
		select {
		case <-s.drained:
			blocked = false
		case <-time.After(time.Millisecond):
			s.conn.mu.Lock()
			lost := s.conn.state&closed != 0
			s.conn.mu.Unlock()
			if lost {
				return false
			}
		}
	}
	return err == nil
}

func (s *session) Heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard++
}

func (s *session) Drained() { s.drained <- struct{}{} }

func (s *session) Gone(code wire.CloseCode, condition string) {
	s.gone <- fmt.Sprintf("%d %s", code, condition)
}

// ended waits for the end of the connection and returns how it ended.
func (s *session) ended(t *testing.T) string {
	t.Helper()
	select {
	case how := <-s.gone:
		return how
	case <-time.After(10 * time.Second):
		t.Fatal("the connection does not end")
		return ""
	}
}

// peer is the client's end of a connection, at the level of bytes.
type peer struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

// handshake sends the upgrade with extra header lines and returns the answer.
func (p *peer) handshake(path string, extra http.Header) *http.Response {
	p.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://gateway.test"+path, http.NoBody)
	if err != nil {
		p.t.Fatal(err)
	}
	maps.Copy(req.Header, extra)
	if h := extra.Get("Host"); h != "" {
		req.Host = h
	}
	if req.Host == "-" { // an empty one
		req.Host, req.URL.Host = "", ""
	}
	req.Header.Del("Host")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	if err = req.Write(p); err != nil {
		p.t.Fatal(err)
	}
	p.r = bufio.NewReader(p.Conn)
	resp, err := http.ReadResponse(p.r, req)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp
}

// send writes bytes; an error means that the server has hung up, which the reading shows.
func (p *peer) send(b []byte) {
	_ = p.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = p.Write(b)
}

// frame is a frame as it was read.
type frame struct {
	first   byte
	payload []byte
}

// readFrame reads a frame, checking what RFC 6455 asks of a server: no mask, no reserved bit, no fragment.
func (p *peer) readFrame() (frame, error) {
	_ = p.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head [2]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return frame{}, err
	}
	if head[0]&0xf0 != 0x80 || head[1]&0x80 != 0 {
		p.t.Errorf("frame begins % x", head)
	}
	n := uint64(head[1])
	if ext := map[byte]int{126: 2, 127: 8}[head[1]]; ext > 0 {
		b := make([]byte, 8)
		if _, err := io.ReadFull(p.r, b[8-ext:]); err != nil {
			return frame{}, err
		}
		n = binary.BigEndian.Uint64(b)
	}
	if n > 1<<20 {
		return frame{}, fmt.Errorf("a frame of %d bytes", n)
	}
	f := frame{first: head[0], payload: make([]byte, n)}
	_, err := io.ReadFull(p.r, f.payload)
	return f, err
}

// closeCode reads until the close frame, answers it as a client does, and waits for the end of the connection.
func (p *peer) closeCode() (code int, texts []string) {
	p.t.Helper()
	for {
		f, err := p.readFrame()
		if err != nil {
			return 0, texts
		}
		switch f.first & 0x0f {
		case 1:
			texts = append(texts, string(f.payload))
		case 8:
			code = int(binary.BigEndian.Uint16(f.payload))
			if want := wire.CloseCode(code).String(); code != 1000 && string(f.payload[2:]) != want {
				p.t.Errorf("close reason %q, want %q", f.payload[2:], want)
			}
			p.send(masked(0x88, f.payload[:2]))
			p.expectEnd()
			return code, texts
		}
	}
}

// expectEnd waits for the server to end its half, which a pipe cannot, and hangs up.
func (p *peer) expectEnd() {
	p.t.Helper()
	if _, ok := p.Conn.(*net.TCPConn); !ok {
		time.AfterFunc(20*time.Millisecond, func() { _ = p.Close() })
	}
	start := time.Now()
	if f, err := p.readFrame(); err == nil {
		p.t.Errorf("a frame behind the close frame: %x %q", f.first, f.payload)
	}
	if took := time.Since(start); took > time.Second {
		p.t.Errorf("the end took %v", took)
	}
	_ = p.Close()
}

// masked builds a client's frame.
func masked(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

func text(s string) []byte { return masked(0x81, []byte(s)) }

func repeat(b []byte, n int) []byte { return bytes.Repeat(b, n) }
