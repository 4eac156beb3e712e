package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/auth/mint"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/wire"
	"github.com/linkpulse/linkpulse/services/gateway/internal/hub"
	"github.com/linkpulse/linkpulse/services/gateway/internal/ws"
)

// maxPerConnection is what an idle dashboard with ten subscriptions may cost this process, in bytes of heap and stack.
// The usual way to use the library, with the reader in the handler, costs 23 KiB.
const maxPerConnection = 8704

// TestMemoryPerConnection opens real connections from another process and measures this one. It has updates, heartbeats
// and pongs behind it when it measures, so that what only a busy connection grows (a stack, a buffer) is in the figure.
func TestMemoryPerConnection(t *testing.T) { //nolint:paralleltest // others would be in the figure
	if raceEnabled {
		t.Skip("the race detector's own memory would be measured")
	}
	if as := way(os.Getenv(memoryEnv)); as != "" {
		measureConnections(t, as)
		return
	}
	for _, as := range []way{wayNone, wayHeader, wayMessage} {
		t.Run(string(as), func(t *testing.T) {
			// A process each: what another one has freed would be taken for nothing.
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryPerConnection$", "-test.v")
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s", memoryEnv, as))
			out, err := cmd.CombinedOutput()
			t.Logf("%s", regexp.MustCompile(`\d+ bytes per .*`).Find(out))
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// memoryEnv makes the test of the memory measure connections that come in this way.
const memoryEnv = "GATEWAY_TEST_MEMORY"

// way is how dashboards say who they are.
type way string

const (
	wayNone    way = "none" // they need not
	wayHeader  way = "header"
	wayMessage way = "message"
)

func measureConnections(t *testing.T, as way) {
	t.Helper()
	// What is measured are spans in use. Collected rarely, the garbage of a thousand handshakes in a row spreads what stays
	// over more of them than it needs, by half a kilobyte a connection and never the same.
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	const connections = 1000
	b := newBenchWith(t, 2*time.Second, as)
	// What there is once for everybody is there before: the links, the loops' buffers, what the runtime keeps of the
	// handshakes.
	endWarm := b.dashboards(300)
	b.counts.addAll()
	before := inUse()
	end := b.dashboards(connections)
	for range 3 { // updates for everybody
		b.counts.addAll()
		time.Sleep(700 * time.Millisecond) // and a heartbeat, and its pong
	}
	after := inUse()
	if n := b.ws.Open(); n != connections+300 {
		t.Fatalf("%d connections are left", n)
	}
	per := (after - before) / connections
	t.Logf("%d bytes per connection of heap and stack", per)
	if per > maxPerConnection {
		t.Errorf("%d bytes per connection, want at most %d", per, maxPerConnection)
	}
	end()
	endWarm()
}

// inUse returns the bytes of heap and stack in use.
func inUse() int64 {
	runtime.GC()
	runtime.GC() // finalizers and pools take two
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// bench is the sending half of a gateway, with counts that a test moves: real sockets, the real handler, the real hub.
type bench struct {
	tb       testing.TB
	addr     string
	counts   *benchCounts
	ws       *ws.Handler
	registry *prometheus.Registry
	way      way
	key      string // of a file that signs the tokens of dashboards

	mu      sync.Mutex
	sockets []net.Conn // the server's ends, below everything
}

// recordingListener keeps the connections that it accepts in its bench.
type recordingListener struct {
	net.Listener
	b *bench
}

func (l recordingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.b.mu.Lock()
		l.b.sockets = append(l.b.sockets, c)
		l.b.mu.Unlock()
	}
	return c, err
}

func newBench(tb testing.TB, heartbeat time.Duration) *bench {
	tb.Helper()
	return newBenchWith(tb, heartbeat, wayNone)
}

// tokens verifies as a gateway does, but for what it remembers of tokens, which is bounded and of no connection.
type tokens struct{ *auth.Verifier }

func (v tokens) Token(ctx context.Context, token string) (*auth.Identity, error) {
	return v.Verify(ctx, token)
}

func (tokens) Ticket(context.Context, string, string) (*auth.Identity, error) {
	return nil, errors.New("there are none")
}

func (tokens) Revoked(*auth.Identity) bool { return false }

// newAuth returns what dashboards that say who they are need, and what their tokens are signed with.
func newAuth(tb testing.TB) (_ ws.Authenticator, key string) {
	tb.Helper()
	private, public, err := mint.Create(tb.TempDir(), "k1")
	if err != nil {
		tb.Fatal(err)
	}
	v, err := auth.New(auth.Config{KeyFiles: []string{public}, Audience: mint.DefaultAudience, MaxLifetime: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	return tokens{v}, private
}

func newBenchWith(tb testing.TB, heartbeat time.Duration, as way) *bench {
	tb.Helper()
	registry := prometheus.NewRegistry()
	b := &bench{tb: tb, counts: &benchCounts{links: map[string]*benchLink{}}, registry: registry, way: as}
	// One loop, as the raw loop that it is compared with.
	h := hub.New(hub.Config{Gateway: "bench", Epoch: 1, Heartbeat: heartbeat, Loops: 1, Counts: b.counts, Metrics: hub.NewMetrics(registry)})
	cfg := ws.Config{
		Join:      func(c *ws.Conn, id *auth.Identity) (ws.Session, error) { return h.Join(c, id) },
		Accepting: func() error { return nil }, Limits: ws.Limits{Connections: 1 << 20}, Patience: 2 * heartbeat, Address: clientAddress,
		Log: zap.NewNop(), Metrics: ws.NewMetrics(registry),
	}
	if as != wayNone {
		cfg.Auth, b.key = newAuth(tb)
	}
	b.ws = ws.New(cfg)
	l, err := httpserver.Listen("127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	b.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	var running sync.WaitGroup
	running.Go(func() { h.Run(ctx) })
	running.Go(func() {
		if err := httpserver.Serve(ctx, httpserver.New(b.ws, zap.NewNop()), recordingListener{l, b}, time.Second); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() {
		cancel()
		running.Wait()
		b.ws.Wait()
	})
	return b
}

// flushes returns how many writes the hub has made.
func (b *bench) flushes() int { return int(b.metric("linkpulse_gateway_flushes_total")) }

// metric returns a metric that is one number, 0 if there is none of the name.
func (b *bench) metric(name string) float64 {
	b.tb.Helper()
	families, err := b.registry.Gather()
	if err != nil {
		b.tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return 0
}

// dashboards starts a process that opens n connections, each subscribed to the links of its group, and returns when all are subscribed;
// end stops it.
func (b *bench) dashboards(n int) (end func()) {
	b.tb.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(b.tb.Context()), os.Args[0]) // its end is ours to ask for, and to wait for
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s %s", dashboardsEnv, b.addr, n, b.way, b.key))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.tb.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.tb.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "subscribed\n" {
		b.tb.Fatalf("dashboards: %q, %v", line, err)
	}
	return func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			b.tb.Error(err)
		}
	}
}

// Connection i is in group i modulo benchGroups, and subscribed to that group's links.
const benchGroups, benchSubscriptions = 10, 10

var benchLinks = func() (names [benchGroups * benchSubscriptions]string) {
	for i := range names {
		names[i] = fmt.Sprintf("link-%d", i)
	}
	return names
}()

// benchCounts are counts without a log.
type benchCounts struct {
	mu    sync.Mutex
	links map[string]*benchLink
}

type benchLink struct {
	count atomic.Int64

	mu       sync.Mutex // guards watchers
	watchers []hub.Watcher
}

func (c *benchCounts) Watch(link string, w hub.Watcher) hub.Watched {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.links[link]
	if l == nil {
		l = &benchLink{}
		c.links[link] = l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = append(l.watchers, w)
	return l
}

func (c *benchCounts) CompleteTo() time.Time { return time.Now() }

func (c *benchCounts) addAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.links {
		l.add()
	}
}

// addToGroups counts a click on k links of each group, from number j on.
func (c *benchCounts) addToGroups(j, k int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for g := range benchGroups {
		for i := range k {
			if l := c.links[benchLinks[g*benchSubscriptions+(j+i)%benchSubscriptions]]; l != nil {
				l.add()
			}
		}
	}
}

func (l *benchLink) add() {
	l.count.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.watchers {
		w.Changed()
	}
}

func (l *benchLink) Read() (hub.Reading, bool) {
	n := l.count.Load()
	return hub.Reading{Seq: n, Count: n, At: 1_764_000_000_000}, true
}

func (l *benchLink) Release(w hub.Watcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watchers = slices.DeleteFunc(l.watchers, func(o hub.Watcher) bool { return o == w })
}

// dashboardsEnv makes this test binary a process of dashboards instead: "address connections way key".
const dashboardsEnv = "GATEWAY_TEST_DASHBOARDS"

// runDashboards is that process. It ends with its standard input.
func runDashboards(spec string) error {
	f := strings.Fields(spec)
	if len(f) < 3 {
		return fmt.Errorf("%s is %q", dashboardsEnv, spec)
	}
	n, err := strconv.Atoi(f[1])
	if err != nil {
		return err
	}
	sign := func(int) (string, error) { return "", nil }
	if as := way(f[2]); as != wayNone {
		signer, err := mint.Load(f[3])
		if err != nil {
			return err
		}
		sign = func(i int) (string, error) {
			token, _, err := signer.Sign(mint.Claims{
				Subject: fmt.Sprintf("user-%d@example.com", i), Links: []string{"acme:*", "link-*", "x7Kp2"}, Lifetime: 10 * time.Minute,
			})
			return token, err
		}
	}
	failed := make(chan error, n)
	for i := range n {
		token, err := sign(i)
		if err != nil {
			return err
		}
		c, err := dialRaw(f[0], token, way(f[2]))
		if err != nil {
			return err
		}
		first := i % benchGroups * benchSubscriptions
		if err := c.subscribe(benchLinks[first : first+benchSubscriptions]); err != nil {
			return err
		}
		go func() { failed <- c.answerPings() }()
	}
	fmt.Println("subscribed")
	stopped := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stopped)
	}()
	select {
	case err := <-failed:
		return err
	case <-stopped:
		return nil
	}
}

// rawClient is a WebSocket client that only does what these tests need.
type rawClient struct {
	net.Conn
	r    *bufio.Reader
	told map[string]int64 // see until
}

func dialRaw(addr, token string, as way) (*rawClient, error) {
	nc, err := net.Dial("tcp4", addr)
	if err != nil {
		return nil, err
	}
	c := &rawClient{Conn: nc, r: bufio.NewReaderSize(nc, 4096)}
	header := ""
	if as == wayHeader {
		header = "Authorization: Bearer " + token + "\r\n"
	}
	_, err = fmt.Fprintf(nc, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n"+
		"Cookie: session=%s\r\nAccept-Language: en-GB,en;q=0.9\r\n"+
		"Sec-WebSocket-Version: 13\r\n%sSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", addr, strings.Repeat("x", 500), header)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("handshake: %s", resp.Status)
	}
	if as == wayMessage {
		return c, c.send(0x81, wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeAuth, Token: token}))
	}
	return c, nil
}

// send sends a frame, masked with zeros.
func (c *rawClient) send(first byte, payload []byte) error {
	b := []byte{first, 0x80 | byte(len(payload))}
	if len(payload) > 125 {
		b = binary.BigEndian.AppendUint16([]byte{first, 0x80 | 126}, uint16(len(payload)))
	}
	_, err := c.Write(append(append(b, 0, 0, 0, 0), payload...))
	return err
}

// frame reads a frame.
func (c *rawClient) frame() (op byte, payload []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(c.r, head[:2]); err != nil {
		return 0, nil, err
	}
	n := int(head[1])
	if n == 126 {
		if _, err := io.ReadFull(c.r, head[2:]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(head[2:]))
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(c.r, payload)
	return head[0] & 0x0f, payload, err
}

func (c *rawClient) subscribe(links []string) error {
	m := wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeSubscribe, Links: links, IntervalMs: wire.KeepInterval})
	if err := c.send(0x81, m); err != nil {
		return err
	}
	for {
		op, payload, err := c.frame()
		if err != nil {
			return err
		}
		if op == 1 && strings.HasPrefix(string(payload), `{"type":"subscribed"`) {
			return nil
		}
		if op == 8 {
			return fmt.Errorf("closed: %q", payload)
		}
		if op == 9 {
			if err := c.send(0x8a, payload); err != nil {
				return err
			}
		}
	}
}

func (c *rawClient) answerPings() error {
	for {
		op, payload, err := c.frame()
		if err == nil && op == 9 {
			err = c.send(0x8a, payload)
		}
		if err != nil {
			return errors.Join(errors.New("a dashboard lost its connection"), err)
		}
	}
}
