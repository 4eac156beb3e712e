package e2e

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/wire"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

// probe is a connection of somebody who wants to see what is not theirs. What is sent on it and what is heard are two
// goroutines' business, so that anything can be sent at any moment; everything that is heard is taken down.
type probe struct {
	*door
	ws      *websocket.Conn
	epoch   int64
	deaf    chan struct{} // nothing is read before it is closed; nil: all is, at once
	done    chan struct{} // closed when the connection has ended
	confuse func(error)   // is told what cannot be

	requests int                    // that were sent; of the goroutine that sends
	mu       sync.Mutex             // guards asked
	asked    map[string]subscribing // by the link that each asks for and nobody may see
}

// subscribing is a subscribe that was sent.
type subscribing struct {
	number int
	at     time.Time
}

// listen takes down what is heard until the connection ends.
func (p *probe) listen(ctx context.Context) {
	defer close(p.done)
	defer func() { _ = p.ws.CloseNow() }()
	if p.deaf != nil {
		select {
		case <-p.deaf:
		case <-ctx.Done():
			return
		}
	}
	for {
		_, b, err := p.ws.Read(ctx)
		if err != nil {
			return
		}
		m, err := wire.DecodeServer(b)
		if err != nil {
			// The library takes the end of a stream for the end of a message where that has just begun.
			if _, _, end := p.ws.Read(ctx); end == nil {
				p.confuse(err)
			}
			return
		}
		p.hear(m)
	}
}

func (p *probe) hear(message wire.ServerMessage) {
	switch m := message.(type) {
	case wire.Ready:
		p.epoch = m.Epoch
		p.admitted()
	case wire.Subscribed:
		p.hearSubscribed(&m)
	case wire.Unsubscribed:
		for _, link := range m.Links {
			p.add(history.Event{Kind: history.Unsubscribed, Link: link})
		}
	case wire.Update:
		p.add(history.Event{
			Kind: history.Update, Link: m.Link, Delta: m.Delta, Count: click.Count{Epoch: p.epoch, Seq: m.Seq, Count: m.Count, Bots: m.Bots},
		})
	case wire.Heartbeat:
		e := history.Event{Kind: history.Heartbeat, NotBefore: time.UnixMilli(m.At)}
		if m.CompleteTo > 0 && p.deaf == nil { // who does not read finds the updates with it a long time after it
			e.CompleteTo = time.UnixMilli(m.CompleteTo)
		}
		p.add(e)
	case wire.Error:
		if m.Code == wire.ErrBadToken || m.Code == wire.ErrOverloaded || m.Code == wire.ErrTooManyConnections {
			p.answered()
		}
	}
}

// hearSubscribed takes down an answer. The request that it answers is known by the link that nobody may see.
func (p *probe) hearSubscribed(m *wire.Subscribed) {
	var of subscribing
	for _, link := range m.Denied {
		p.mu.Lock()
		if r, mine := p.asked[link]; mine {
			of = r
		}
		p.mu.Unlock()
	}
	if len(m.Denied) > 0 && of.number == 0 {
		p.confuse(fmt.Errorf("%s denies %q, and nobody asked for that", p.gateway, m.Denied))
	}
	for _, link := range m.Denied {
		p.add(history.Event{Kind: history.Denied, Link: link, Request: of.number, NotBefore: of.at})
	}
	for _, link := range m.Syncing {
		p.add(history.Event{Kind: history.Syncing, Link: link, NotBefore: of.at})
	}
	for _, l := range m.Links {
		p.add(history.Event{
			Kind: history.Subscribed, Link: l.Link, NotBefore: of.at, Count: click.Count{Epoch: p.epoch, Seq: l.Seq, Count: l.Count, Bots: l.Bots},
		})
	}
}

func (p *probe) add(e history.Event) {
	e.Client, e.Gateway, e.Connection = p.client, p.gateway, p.name
	p.recorder.Add(e)
}

// subscribe asks for links, and for one more that nobody may see. An error says that the connection has ended.
func (p *probe) subscribe(ctx context.Context, links ...string) error {
	p.requests++
	canary := fmt.Sprintf("canary:%s.%d", p.client, p.requests)
	p.mu.Lock()
	p.asked[canary] = subscribing{p.requests, time.Now()}
	p.mu.Unlock()
	links = append(slices.Clone(links), canary)
	for _, link := range links {
		p.add(history.Event{Kind: history.Asked, Link: link, Request: p.requests})
	}
	return send(ctx, p.ws, wire.ClientMessage{Type: wire.TypeSubscribe, Links: links})
}

func (p *probe) unsubscribe(ctx context.Context, links ...string) error {
	return send(ctx, p.ws, wire.ClientMessage{Type: wire.TypeUnsubscribe, Links: links})
}

// refresh shows a token.
func (p *probe) refresh(ctx context.Context, t token) error { return p.auth(ctx, p.ws, t) }

// ended waits for the end of the connection for a while.
func (p *probe) ended(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// close ends the connection.
func (p *probe) close() {
	_ = p.ws.CloseNow()
	<-p.done
}
