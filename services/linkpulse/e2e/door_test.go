package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/wire"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

// entrance is one of the ways to say who one is.
type entrance int

const (
	byHeader entrance = iota
	byMessage
	byTicket
	entrances
)

// door is where a client comes in, and what it has shown there.
type door struct {
	gateway  string // base URL
	dial     dialFunc
	recorder *history.Recorder
	client   string
	name     string // of the connection
	status   int    // of the answer to the last handshake; 0: there was none

	mu    sync.Mutex // guards shown
	shown []shown    // what was shown and not answered yet, in its order
}

// shown is a pass that was shown at a time.
type shown struct {
	pass history.Pass
	at   time.Time
}

// show notes that a pass is about to be shown.
func (d *door) show(p history.Pass) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shown = append(d.shown, shown{p, time.Now()})
}

// waits tells whether something that was shown has not been answered.
func (d *door) waits() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.shown) > 0
}

// answered takes what was answered off the list; nothing was shown where there is no such thing.
func (d *door) answered() (s shown) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.shown) > 0 {
		s, d.shown = d.shown[0], d.shown[1:]
	}
	return s
}

// admitted records that the gateway said `ready`.
func (d *door) admitted() history.Pass {
	s := d.answered()
	d.recorder.Add(history.Event{
		Kind: history.Admitted, Client: d.client, Gateway: d.gateway, Connection: d.name, Pass: &s.pass, NotBefore: s.at,
	})
	return s.pass
}

// enter opens a WebSocket with a token. It sends what is to be sent, and does not wait for `ready`.
func (d *door) enter(ctx context.Context, by entrance, t token) (*websocket.Conn, error) {
	header := make(http.Header)
	switch by {
	case byTicket:
		pass, ticket, err := d.takeTicket(ctx, t, "")
		if err != nil {
			return nil, err
		}
		return d.enterByTicket(ctx, pass, ticket, "")
	case byHeader:
		header.Set("Authorization", "Bearer "+t.text)
		d.show(t.pass)
		return d.open(ctx, "/ws", header)
	default:
		ws, err := d.open(ctx, "/ws", header)
		if err == nil {
			err = d.auth(ctx, ws, t)
		}
		return ws, err
	}
}

// auth shows a token on a connection.
func (d *door) auth(ctx context.Context, ws *websocket.Conn, t token) error {
	d.show(t.pass)
	return send(ctx, ws, wire.ClientMessage{Type: wire.TypeAuth, Token: t.text})
}

func send(ctx context.Context, ws *websocket.Conn, m wire.ClientMessage) error {
	if m.Type == wire.TypeSubscribe {
		m.IntervalMs = wire.KeepInterval
	}
	return ws.Write(ctx, websocket.MessageText, wire.AppendClient(nil, m))
}

// enterByTicket opens a WebSocket with a ticket, as a page of an origin does unless that is empty.
func (d *door) enterByTicket(ctx context.Context, pass history.Pass, ticket, origin string) (*websocket.Conn, error) {
	header := make(http.Header)
	if origin != "" {
		header.Set("Origin", origin)
	}
	d.show(pass)
	return d.open(ctx, "/ws?ticket="+ticket, header)
}

func (d *door) open(ctx context.Context, path string, header http.Header) (*websocket.Conn, error) {
	transport := &http.Transport{DialContext: d.dial}
	defer transport.CloseIdleConnections()
	url := "ws" + strings.TrimPrefix(d.gateway, "http") + path
	ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{ //nolint:bodyclose // Dial leaves no body to close
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: header,
	})
	d.status = 0
	if resp != nil {
		d.status = resp.StatusCode
	}
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(wire.MaxServerMessage)
	return ws, nil
}

// takeTicket takes a ticket with a token, for the pages of an origin unless that is empty. The pass is that of the ticket.
func (d *door) takeTicket(ctx context.Context, t token, origin string) (history.Pass, string, error) {
	body := ""
	if origin != "" {
		body = `{"origin":"` + origin + `"}`
	}
	transport := &http.Transport{DialContext: d.dial}
	defer transport.CloseIdleConnections()
	answer, err := inquire(ctx, &http.Client{Transport: transport, Timeout: 5 * time.Second}, http.MethodPost, d.gateway+"/v1/tickets", t.text, body)
	if err == nil && answer.status != http.StatusOK {
		err = fmt.Errorf("%d for a ticket: %s", answer.status, answer.body)
	}
	var given struct{ Ticket string }
	if err == nil {
		err = json.Unmarshal(answer.body, &given)
	}
	t.pass.Ticket = "of " + t.pass.Token + ": " + given.Ticket
	return t.pass, given.Ticket, err
}

// plain is an answer over plain HTTP.
type plain struct {
	status    int
	challenge string // WWW-Authenticate
	body      []byte
}

// inquire makes a request over plain HTTP with a token.
func inquire(ctx context.Context, client *http.Client, method, url, token, body string) (plain, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return plain{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return plain{}, err
	}
	defer resp.Body.Close()
	answer := plain{status: resp.StatusCode, challenge: resp.Header.Get("WWW-Authenticate")}
	answer.body, err = io.ReadAll(resp.Body)
	return answer, err
}

// inquiry is what is asked over plain HTTP, and who asks.
type inquiry struct {
	name   string // unique in a history, as of a connection
	client string
	at     time.Time
	token  token
}

// counts records the answer to a request for the counts of links.
func (q *inquiry) counts(recorder *history.Recorder, gateway string, asked []string, answer plain) error {
	if answer.status != http.StatusOK {
		return nil // there is no number in it
	}
	var told struct {
		Epoch int64
		Links []struct {
			Link             string
			Count, Bots, Seq int64
		}
		Denied, Syncing []string
	}
	if err := json.Unmarshal(answer.body, &told); err != nil {
		return fmt.Errorf("%s answered %s: %w", gateway, answer.body, err)
	}
	q.admitted(recorder, gateway)
	add := func(kind history.Kind, links []string) {
		for _, link := range links {
			recorder.Add(history.Event{Kind: kind, Client: q.client, Gateway: gateway, Connection: q.name, Link: link, Request: 1})
		}
	}
	add(history.Asked, asked)
	add(history.Denied, told.Denied)
	add(history.Syncing, told.Syncing)
	for _, l := range told.Links {
		recorder.Add(history.Event{
			Kind: history.Read, Client: q.client, Gateway: gateway, Connection: q.name, Link: l.Link,
			Count: click.Count{Epoch: told.Epoch, Seq: l.Seq, Count: l.Count, Bots: l.Bots},
		})
	}
	return nil
}

// admitted records that a gateway took the token.
func (q *inquiry) admitted(recorder *history.Recorder, gateway string) {
	pass := q.token.pass
	recorder.Add(history.Event{
		Kind: history.Admitted, Client: q.client, Gateway: gateway, Connection: q.name, Pass: &pass, NotBefore: q.at,
	})
}

// enter opens the WebSocket of a dashboard, in one of the entrances in if it must say who it is.
func (c *connection) enter(ctx context.Context) (*websocket.Conn, error) {
	d, papers := c.dashboard, c.dashboard.papers
	at := &door{gateway: c.gateway, dial: d.dial, recorder: d.recorder, client: d.name, name: c.name}
	if papers == nil {
		return at.open(ctx, "/ws", d.credential.header())
	}
	c.door = at
	ws, err := at.enter(ctx, entrance(papers.rng.IntN(int(entrances))), papers.show())
	if err != nil {
		papers.lose()
	}
	return ws, err
}

// admitted notes that the gateway said `ready`, and when another token must be shown: long before this one expires, or
// shortly before, or after, which the leeway allows.
func (c *connection) admitted() {
	if c.door == nil {
		return
	}
	papers := c.dashboard.papers
	left := time.Until(c.door.admitted().ExpiresAt)
	c.refreshAt = time.Now().Add(time.Duration((0.3 + papers.rng.Float64()) * float64(left)))
}

// refresh shows another token when it is time.
func (c *connection) refresh(ctx context.Context, ws *websocket.Conn) error {
	if c.door == nil || c.door.waits() || time.Now().Before(c.refreshAt) {
		return nil
	}
	return c.door.auth(ctx, ws, c.dashboard.papers.fresh())
}
