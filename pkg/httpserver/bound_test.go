package httpserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
)

// street is a listener of connections in memory that come from where a test says.
type street struct {
	conns  chan net.Conn
	closed chan struct{}
}

type addressed struct {
	net.Conn
	from string
}

func (c addressed) RemoteAddr() net.Addr { return place(c.from) }

type place string

func (place) Network() string  { return "tcp" }
func (p place) String() string { return string(p) }

func (s *street) Accept() (net.Conn, error) {
	select {
	case c := <-s.conns:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *street) Close() error {
	close(s.closed)
	return nil
}

func (*street) Addr() net.Addr { return place("here") }

// bounded is a server within bounds, in a bubble.
type bounded struct {
	t        *testing.T
	street   *street
	registry *prometheus.Registry
	hold     chan struct{} // requests for /hold wait for it
}

func inBounds(t *testing.T, bounds Bounds, test func(b *bounded)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bounded{
			t: t, street: &street{conns: make(chan net.Conn), closed: make(chan struct{})}, registry: prometheus.NewRegistry(),
			hold: make(chan struct{}),
		}
		srv := New(http.HandlerFunc(b.answer), zap.NewNop())
		bounds.Registry = b.registry
		l, err := Bound(srv, b.street, bounds)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		test(b)
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		synctest.Wait()
		if n := b.count("connections", ""); n != 0 {
			t.Errorf("%v connections are left", n)
		}
		if bl := l.(*boundListener); len(bl.addresses)+bl.order.Len()+len(bl.conns) != 0 {
			t.Errorf("what is gone is remembered: %v", bl.addresses)
		}
	})
}

func (b *bounded) answer(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/hold":
		<-b.hold
	case "/hijack":
		c, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			b.t.Error(err)
			return
		}
		go func() {
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		}()
	}
}

func (b *bounded) count(name, reason string) float64 {
	b.t.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "linkpulse_http_"+name && (reason == "" || m.GetLabel()[0].GetValue() == reason) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	b.t.Fatalf("there is no metric %s", name)
	return 0
}

// caller is a client's connection.
type caller struct {
	net.Conn
	r *bufio.Reader
}

// call connects from an address.
func (b *bounded) call(from string) *caller {
	client, server := net.Pipe()
	b.street.conns <- addressed{server, from}
	synctest.Wait()
	return &caller{client, bufio.NewReader(client)}
}

// ask sends a request and returns whether it was answered.
func (c *caller) ask(path string) bool {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: here\r\n\r\n", path); err != nil {
		return false
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err == nil {
		_ = resp.Body.Close()
	}
	synctest.Wait()
	return err == nil && resp.StatusCode == http.StatusOK
}

// gone tells whether the server has hung up.
func (c *caller) gone() bool {
	_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.r.Peek(1)
	_ = c.SetReadDeadline(time.Time{})
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe)
}

// Who has waited longest makes room, and nobody whose request is being answered.
func TestBoundOfConnections(t *testing.T) {
	t.Parallel()
	inBounds(t, Bounds{Connections: 3}, func(b *bounded) {
		silent, idle, busy := b.call("192.0.2.1:1"), b.call("192.0.2.2:1"), b.call("192.0.2.3:1")
		if !idle.ask("/") || silent.gone() {
			b.t.Fatal("there is room for three")
		}
		_, _ = fmt.Fprint(busy, "GET /hold HTTP/1.1\r\nHost: here\r\n\r\n")
		synctest.Wait()
		fourth := b.call("192.0.2.4:1")
		if !fourth.ask("/") || !silent.gone() || idle.gone() || busy.gone() {
			b.t.Fatal("who has said nothing yet makes room")
		}
		if !idle.ask("/") { // now the fourth has waited longer
			b.t.Fatal("who is left is served")
		}
		fifth := b.call("192.0.2.5:1")
		if !fifth.ask("/") || !fourth.gone() || idle.gone() || busy.gone() {
			b.t.Fatal("who has waited longest makes room")
		}
		for _, c := range []*caller{idle, fifth} {
			_, _ = fmt.Fprint(c, "GET /hold HTTP/1.1\r\nHost: here\r\n\r\n")
		}
		synctest.Wait()
		if b.call("192.0.2.6:1").ask("/") {
			b.t.Fatal("a fourth request is answered")
		}
		if b.count("connections_refused_total", "full") != 1 || b.count("connections_evicted_total", "full") != 2 || b.count("connections", "") != 3 {
			b.t.Fatal("the metrics say something else")
		}
		close(b.hold)
		for _, c := range []*caller{idle, busy, fifth} {
			resp, err := http.ReadResponse(c.r, nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				b.t.Fatalf("who was being answered: %v", err)
			}
			_ = resp.Body.Close()
		}
	})
}

// An address makes room for itself and for nobody else.
func TestBoundOfAnAddress(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, tc := range map[string]struct{ same, other []string }{
		"IPv4":             {[]string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"}, []string{"192.0.2.2:1"}},
		"IPv4 in IPv6":     {[]string{"192.0.2.1:1", "[::ffff:192.0.2.1]:2", "192.0.2.1:3"}, []string{"[::ffff:192.0.2.2]:1"}},
		"IPv6":             {[]string{"[2001:db8::1]:1", "[2001:db8::2:1]:2", "[2001:db8:0:0:ffff::]:3"}, []string{"[2001:db8:0:1::1]:1"}},
		"behind a proxy":   {nil, []string{"10.1.2.3:1", "10.1.2.3:2", "[::ffff:10.1.2.3]:3", "10.1.2.3:4"}},
		"nobody knows one": {nil, []string{"pipe", "pipe", "pipe"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBounds(t, Bounds{PerAddress: 2, Proxies: proxies}, func(b *bounded) {
				var others, same []*caller
				for _, from := range tc.other {
					others = append(others, b.call(from))
				}
				for _, from := range tc.same {
					same = append(same, b.call(from))
				}
				for i, c := range same {
					if c.gone() != (i == 0) {
						b.t.Fatalf("connection %d is gone: %v", i, c.gone())
					}
				}
				for _, c := range others {
					if !c.ask("/") {
						b.t.Fatal("another address had to make room")
					}
				}
				if n := b.count("connections_evicted_total", "address"); n != float64(min(1, len(same))) {
					b.t.Fatalf("%v made room", n)
				}
			})
		})
	}
}

// A hijacked connection is somebody else's to count.
func TestBoundIsNotForHijacked(t *testing.T) {
	t.Parallel()
	inBounds(t, Bounds{Connections: 1, PerAddress: 1}, func(b *bounded) {
		var all []*caller
		for range 5 {
			c := b.call("192.0.2.1:1")
			_, _ = fmt.Fprint(c, "GET /hijack HTTP/1.1\r\nHost: here\r\n\r\n")
			synctest.Wait()
			all = append(all, c)
		}
		if n := b.count("connections", ""); n != 0 {
			b.t.Fatalf("%v connections count", n)
		}
		for _, c := range all {
			if c.gone() {
				b.t.Fatal("a hijacked connection made room")
			}
			_ = c.Close()
		}
	})
}

// The metrics are there before anything happens, and their labels come from a closed list.
func TestMetricsOfBounds(t *testing.T) {
	t.Parallel()
	inBounds(t, Bounds{}, func(b *bounded) {
		if problems, err := testutil.GatherAndLint(b.registry); err != nil || len(problems) > 0 {
			b.t.Fatal(problems, err)
		}
		if n, err := testutil.GatherAndCount(b.registry); err != nil || n != 1+2*int(boundReasons)+int(unreadReasons) {
			b.t.Fatalf("%d series, %v", n, err)
		}
		if _, err := Bound(&http.Server{}, b.street, Bounds{Registry: b.registry}); err == nil || !strings.Contains(err.Error(), "duplicate") {
			b.t.Fatalf("two servers have one registry: %v", err)
		}
	})
}
