package hub

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/contract"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// harness is a hub with counts that a test moves by hand. It lives in a synctest bubble.
type harness struct {
	t        *testing.T
	contract *contract.Messages
	hub      *Hub
	counts   *fakeCounts
	reg      *prometheus.Registry
	cancel   func()
	done     chan struct{}
}

// inBubble runs a test in virtual time.
func inBubble(t *testing.T, cfg Config, test func(h *harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, cfg)
		defer h.stop()
		test(h)
	})
}

// The contract is read once for all tests.
var (
	contractOnce sync.Once
	contractRead *contract.Messages
)

func asyncAPI(tb testing.TB) *contract.Messages {
	tb.Helper()
	contractOnce.Do(func() { contractRead = contract.AsyncAPI(tb) })
	return contractRead
}

// reporter takes what clients find wrong. They run on the loop's goroutine, which must not be ended by Fatal.
type reporter interface {
	Errorf(format string, args ...any)
}

func newHarness(t *testing.T, cfg Config) *harness {
	t.Helper()
	h := &harness{t: t, contract: asyncAPI(t), counts: newFakeCounts(), reg: prometheus.NewRegistry(), done: make(chan struct{})}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = 15 * time.Second
	}
	cfg.Gateway, cfg.Epoch, cfg.Counts, cfg.Metrics = "gw-1", 7, h.counts, NewMetrics(h.reg)
	h.hub = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() {
		defer close(h.done)
		h.hub.Run(ctx)
	}()
	return h
}

func (h *harness) stop() {
	h.cancel()
	<-h.done
}

// connect joins a client that may see everything and waits for its ready.
func (h *harness) connect(r reporter) *client {
	h.t.Helper()
	return h.connectAs(r, auth.Anybody())
}

// connectAs joins a client with an identity.
func (h *harness) connectAs(r reporter, id *auth.Identity) *client {
	h.t.Helper()
	c := &client{r: r, contract: h.contract, start: time.Now(), held: map[string]*held{}}
	h.join(c, id)
	synctest.Wait()
	return c
}

func (h *harness) join(c *client, id *auth.Identity) {
	h.t.Helper()
	s, err := h.hub.Join(c, id)
	if err != nil {
		h.t.Fatalf("Join: %v", err)
	}
	c.session = s
}

// metric returns the sum of a metric over its labels.
func (h *harness) metric(name string, labels ...string) float64 {
	h.t.Helper()
	families, err := h.reg.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		if f.GetName() != "linkpulse_gateway_"+name {
			continue
		}
	metrics:
		for _, m := range f.Metric {
			for _, want := range labels {
				found := false
				for _, l := range m.Label {
					found = found || l.GetValue() == want
				}
				if !found {
					continue metrics
				}
			}
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum
}

// message is any message of the server.
type message struct {
	Type       string            `json:"type"`
	Links      []json.RawMessage `json:"links"`
	Syncing    []string          `json:"syncing"`
	Denied     []string          `json:"denied"`
	Connection string            `json:"connection"`
	ExpiresAt  int64             `json:"expires_at"`
	Link       string            `json:"link"`
	Count      int64             `json:"count"`
	Delta      int64             `json:"delta"`
	Seq        int64             `json:"seq"`
	Code       string            `json:"code"`
	Reason     *string           `json:"reason"`
	Message    string            `json:"message"`
	CompleteTo int64             `json:"complete_to"`
	LagMs      int64             `json:"lag_ms"`
	After      int64             `json:"reconnect_after_ms"`
	at         time.Duration     // since the client connected
	write      int               // number of the write it came in
}

// held is what a client holds of a link that it was told `subscribed` of.
type held struct {
	count, seq int64
	updated    time.Time // of the last update, zero: none since subscribed
	updates    int
}

// client is a connection that checks what it is sent as a client would: an update only of a link whose `subscribed` it
// has, and previous count + delta == count.
type client struct {
	r        reporter
	contract *contract.Messages // nil: do not look
	session  *Session
	start    time.Time

	mu       sync.Mutex
	stalled  bool   // takes no byte
	rest     []byte // what the hub believes the connection is sending
	pending  bool   // a Drained is owed
	held     map[string]*held
	messages []message
	pings    []time.Duration
	writes   int
	closed   bool // CloseNow was called
	code     int  // of the close frame that was sent, 0: none
	bytes    int
	judge    *judge        // of what it may be sent, nil: none
	answers  *Session      // pings, nil: it does not
	pace     time.Duration // least time between updates that the client checks, 0: none
}

func (c *client) TryWrite(b []byte, last bool) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.pending:
		c.r.Errorf("a write while the connection still sends")
	case c.code != 0:
		c.r.Errorf("a write behind the close frame")
	}
	if c.judge != nil {
		c.judge.look(b)
	}
	if c.stalled {
		c.rest, c.pending = append(c.rest, b...), true
		return true, nil
	}
	c.take(b)
	if last != (c.code != 0) {
		c.r.Errorf("last is %v, and the close frame %d", last, c.code)
	}
	return false, nil
}

func (c *client) Expect() int { return 0 }

func (c *client) CloseNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// stall makes the client stop reading; resume makes it read what waits and go on.
func (c *client) stall() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stalled = true
}

func (c *client) resume() {
	c.mu.Lock()
	c.stalled = false
	owed := c.pending
	c.pending = false
	if owed {
		c.take(c.rest)
		c.rest = nil
	}
	c.mu.Unlock()
	if owed {
		c.session.Drained()
	}
}

// answerPings makes the client give a sign of life for each ping.
func (c *client) answerPings() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = c.session
}

// kept returns when the pings came.
func (c *client) kept() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.pings)
}

func (c *client) all() []message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.messages)
}

func (c *client) written() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writes
}

// size returns how many bytes the client has read.
func (c *client) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// waiting returns how many bytes the connection keeps.
func (c *client) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.rest)
}

func (c *client) updates(link string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held[link].updates
}

func (c *client) setPace(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pace = d
}

// take reads frames. The caller holds mu.
func (c *client) take(b []byte) {
	c.writes++
	c.bytes += len(b)
	for len(b) > 0 {
		op, payload, rest := splitFrame(c.r, b)
		b = rest
		switch op {
		case 1:
			c.receive(payload)
		case 8:
			c.code = int(binary.BigEndian.Uint16(payload))
			if len(b) > 0 {
				c.r.Errorf("%d bytes behind the close frame", len(b))
			}
		case 9:
			c.pings = append(c.pings, time.Since(c.start))
			if c.answers != nil {
				c.answers.Heard()
			}
		default:
			c.r.Errorf("opcode %d", op)
		}
	}
}

func splitFrame(r reporter, b []byte) (op byte, payload, rest []byte) {
	if b[0]&0xf0 != 0x80 || b[1]&0x80 != 0 {
		r.Errorf("no whole unmasked frame: % x", b[:2])
	}
	n, at := int(b[1]), 2
	switch n {
	case 126:
		n, at = int(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		n, at = int(binary.BigEndian.Uint64(b[2:])), 10
	}
	return b[0] & 0x0f, b[at : at+n], b[at+n:]
}

func (c *client) receive(payload []byte) {
	if c.contract != nil {
		if err := c.contract.CheckServer(payload); err != nil {
			c.r.Errorf("%v: %s", err, payload)
		}
	}
	m := message{at: time.Since(c.start), write: c.writes}
	if err := json.Unmarshal(payload, &m); err != nil {
		c.r.Errorf("%v: %s", err, payload)
	}
	c.messages = append(c.messages, m)
	switch m.Type {
	case "subscribed":
		for _, raw := range m.Links {
			var l struct {
				Link       string
				Count, Seq int64
			}
			if err := json.Unmarshal(raw, &l); err != nil {
				c.r.Errorf("%v", err)
			}
			c.held[l.Link] = &held{count: l.Count, seq: l.Seq}
		}
	case "unsubscribed":
		for _, raw := range m.Links {
			var link string
			if err := json.Unmarshal(raw, &link); err != nil {
				c.r.Errorf("%v", err)
			}
			delete(c.held, link)
		}
	case "click_update":
		h := c.held[m.Link]
		if h == nil {
			c.r.Errorf("update of %s before its subscribed", m.Link)
			return
		}
		switch {
		case h.count+m.Delta != m.Count:
			c.r.Errorf("update of %s: had %d, delta %d, count %d", m.Link, h.count, m.Delta, m.Count)
		case m.Delta == 0:
			c.r.Errorf("update of %s without news", m.Link)
		case m.Seq < h.seq:
			c.r.Errorf("update of %s at %d after %d", m.Link, m.Seq, h.seq)
		case c.pace > 0 && !h.updated.IsZero() && time.Since(h.updated) < c.pace:
			c.r.Errorf("update of %s after %v, pace %v", m.Link, time.Since(h.updated), c.pace)
		}
		h.count, h.seq, h.updated = m.Count, m.Seq, time.Now()
		h.updates++
	}
}

// of returns the messages of a type so far.
func (c *client) of(typ string) (found []message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.messages {
		if m.Type == typ {
			found = append(found, m)
		}
	}
	return found
}

// holds returns the count that the client has of a link, -1 without `subscribed`.
func (c *client) holds(link string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.held[link]; h != nil {
		return h.count
	}
	return -1
}

func (c *client) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *client) closeCode() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code
}

func links(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("link-%d", i))
	}
	return out
}
