package e2e

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/wire"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dashboard is a client that keeps the rules of the protocol and takes down what it sees. It is written against
// PROTOCOL.md and shares nothing with the product's own clients but the decoder of messages.
type dashboard struct {
	name     string
	links    []string
	gateways []string // base URLs, tried in turn from first on
	first    int
	dial     dialFunc
	recorder *history.Recorder
	// credential is shown to the gateways; the zero value shows none.
	credential credential
	// backOff is how long to wait before the n-th attempt in a row to connect.
	backOff func(n int) time.Duration
	// fickle says, after each message, whether to leave a link and to come back to it; nil is never.
	fickle func() bool
	// papers say who it is; nil where nobody asks.
	papers *papers

	mu          sync.Mutex // guards what follows
	shown       map[string]click.Count
	connections int
	gateway     string        // of the connection that is open; empty: none
	stall       time.Duration // to be waited before the next read, once
	changed     chan struct{} // closed and replaced whenever anything above changes
}

func newDashboard(name string, links, gateways []string, dial dialFunc, recorder *history.Recorder) *dashboard {
	return &dashboard{
		name: name, links: links, gateways: gateways, dial: dial, recorder: recorder,
		backOff: func(int) time.Duration { return 50 * time.Millisecond },
		shown:   make(map[string]click.Count), changed: make(chan struct{}),
	}
}

// count returns what the dashboard shows of a link; 0 where it shows nothing.
func (d *dashboard) count(link string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shown[link].Count
}

// run watches until ctx ends, over as many connections as it takes.
func (d *dashboard) run(ctx context.Context) {
	for _, link := range d.links {
		d.recorder.Add(history.Event{Kind: history.Watch, Client: d.name, Link: link})
	}
	at, failures := d.first, 0
	for ctx.Err() == nil {
		gateway := d.gateways[at%len(d.gateways)]
		at++
		heard, err := d.watch(ctx, gateway)
		if failures++; heard {
			failures = 1
		}
		_ = err // why a connection ended is the gateway's business; that the numbers are right is what is judged
		timer := time.NewTimer(d.backOff(failures))
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// leave takes down that nobody looks at the dashboard any more, after run has returned.
func (d *dashboard) leave() {
	for _, link := range d.links {
		d.recorder.Add(history.Event{Kind: history.Unwatch, Client: d.name, Link: link})
	}
}

// watch holds one connection. heard tells whether the gateway said anything.
func (d *dashboard) watch(ctx context.Context, gateway string) (heard bool, err error) {
	dialCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d.mu.Lock()
	d.connections++
	c := &connection{dashboard: d, gateway: gateway, name: fmt.Sprintf("%s/%d", d.name, d.connections), silence: 10 * time.Second}
	d.mu.Unlock()
	ws, err := c.enter(dialCtx)
	if err != nil {
		return false, err
	}
	defer func() { _ = ws.CloseNow() }()
	d.update(func() { d.gateway = gateway })
	defer d.update(func() { d.gateway = "" })

	subscribe := wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeSubscribe, Links: d.links, IntervalMs: wire.KeepInterval})
	if err := ws.Write(dialCtx, websocket.MessageText, subscribe); err != nil {
		return false, err
	}
	for {
		d.dawdle(ctx)
		message, err := c.read(ctx, ws)
		if err != nil {
			return c.heard, err
		}
		c.heard = true
		if err := c.handle(message); err != nil {
			return true, err
		}
		if err := c.refresh(ctx, ws); err != nil {
			return true, err
		}
		if d.fickle != nil && d.fickle() {
			if err := d.wander(ctx, ws); err != nil {
				return true, err
			}
		}
	}
}

// wander unsubscribes from a link and subscribes to it again, without waiting for an answer in between.
func (d *dashboard) wander(ctx context.Context, ws *websocket.Conn) error {
	link := d.links[:1]
	for _, m := range []wire.ClientMessage{
		{Type: wire.TypeUnsubscribe, Links: link}, {Type: wire.TypeSubscribe, Links: link, IntervalMs: wire.KeepInterval},
	} {
		if err := ws.Write(ctx, websocket.MessageText, wire.AppendClient(nil, m)); err != nil {
			return err
		}
	}
	return nil
}

// dawdle waits as long as somebody asked it to, so that the gateway finds nobody reading.
func (d *dashboard) dawdle(ctx context.Context) {
	d.mu.Lock()
	stall := d.stall
	d.stall = 0
	d.mu.Unlock()
	if stall == 0 {
		return
	}
	timer := time.NewTimer(stall)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// slowDown makes the dashboard not read for a while, from its next message on.
func (d *dashboard) slowDown(stall time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stall = stall
}

// update changes the dashboard's state and wakes those who wait for a change.
func (d *dashboard) update(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
	close(d.changed)
	d.changed = make(chan struct{})
}

// await waits until holds says so of the counts that are shown and the gateway that is connected to.
func (d *dashboard) await(ctx context.Context, holds func(shown map[string]click.Count, gateway string) bool) error {
	for {
		d.mu.Lock()
		changed, ok := d.changed, holds(d.shown, d.gateway)
		state := fmt.Sprintf("dashboard %s, connected to %q, shows %v", d.name, d.gateway, d.shown)
		d.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), state)
		}
	}
}

// connection is one WebSocket of a dashboard.
type connection struct {
	dashboard *dashboard
	gateway   string
	name      string
	epoch     int64
	silence   time.Duration // after which the peer is dead
	heard     bool
	door      *door     // nil where nobody asks who it is
	refreshAt time.Time // when to show the next token
}

func (c *connection) read(ctx context.Context, ws *websocket.Conn) (wire.ServerMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, c.silence)
	defer cancel()
	_, b, err := ws.Read(ctx)
	if err != nil {
		return nil, err
	}
	return wire.DecodeServer(b)
}

func (c *connection) handle(message wire.ServerMessage) error {
	switch m := message.(type) {
	case wire.Ready:
		c.epoch = m.Epoch
		c.silence = wire.SilenceBeats * time.Duration(m.HeartbeatMs) * time.Millisecond
		c.admitted()
	case wire.Subscribed:
		for _, l := range m.Links {
			c.told(history.Subscribed, l.Link, click.Count{Epoch: c.epoch, Seq: l.Seq, Count: l.Count, Bots: l.Bots}, 0)
		}
	case wire.Unsubscribed:
		for _, link := range m.Links {
			c.dashboard.recorder.Add(history.Event{
				Kind: history.Unsubscribed, Client: c.dashboard.name, Gateway: c.gateway, Connection: c.name, Link: link,
			})
		}
	case wire.Update:
		c.told(history.Update, m.Link, click.Count{Epoch: c.epoch, Seq: m.Seq, Count: m.Count, Bots: m.Bots}, m.Delta)
	case wire.Heartbeat:
		if m.CompleteTo > 0 {
			c.dashboard.recorder.Add(history.Event{
				Kind: history.Heartbeat, Client: c.dashboard.name, Gateway: c.gateway, Connection: c.name,
				CompleteTo: time.UnixMilli(m.CompleteTo), NotBefore: time.UnixMilli(m.At),
			})
		}
	case wire.Error:
		if c.door != nil {
			c.dashboard.papers.lose()
		}
		return fmt.Errorf("the gateway says %s: %s", m.Code, m.Message)
	}
	return nil
}

// told records a number and shows it if it is news: at or after what is shown for a subscribed, after it for an update.
func (c *connection) told(kind history.Kind, link string, count click.Count, delta int64) {
	d := c.dashboard
	e := history.Event{
		Kind: kind, Client: d.name, Gateway: c.gateway, Connection: c.name, Link: link, Count: count, Delta: delta,
	}
	d.recorder.Add(e)
	d.mu.Lock()
	before, shows := d.shown[link]
	d.mu.Unlock()
	if shows && !count.Newer(before) && (kind == history.Update || count != before) {
		return
	}
	e.Kind = history.Shown
	d.recorder.Add(e)
	d.update(func() { d.shown[link] = count })
}
