package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// conn is one connection. The run goroutine handles what comes; a reader and a writer work beside it, because a gateway
// stops reading from a client that does not read: with one goroutine for both, the two could wait for each other.
type conn struct {
	w  *Watcher
	ws *websocket.Conn

	renewal renewal
	tokens  chan string    // to be sent; bound 1
	beside  sync.WaitGroup // the reader, the writer, and who asks for a token

	began     time.Time
	heard     time.Time // when the latest message came
	ready     time.Time // when `ready` came, zero: not yet
	heartbeat time.Duration
	hint      time.Duration // of a goodbye, negative: there was none
	said      wire.Error    // the latest `error`, and when it came
	saidAt    time.Time

	// Of the latest heartbeat.
	beat     time.Time // when it came, zero: none has
	complete time.Time
	behind   time.Duration
	late     string // why the gateway's counts are not up to date, empty: they are
}

// Why a client ends a connection by itself.
var (
	errSilent   = errors.New("the gateway is silent")
	errNotReady = errors.New("the gateway did not say that it is ready")
	errOldEpoch = errors.New("the gateway is of an older epoch")
)

const (
	// staleBeats is after how many heartbeat intervals of silence a connection is called stale. It is dead after
	// [wire.SilenceBeats]; a heartbeat that is merely late is neither.
	staleBeats = 1.5
	// writeTimeout bounds a write: a gateway takes a message of a client at once, or is gone.
	writeTimeout = 10 * time.Second
	// lastWords is how long a connection that takes no more messages is read for the reason, and how long after an `error`
	// a close is taken for what follows from it.
	lastWords = time.Second
	// messageBurst and messageEvery keep a client well within what a gateway allows (PROTOCOL.md section 9).
	messageBurst = wire.MessageBurst / 2
	messageEvery = wire.MessageInterval * 5 / 4
	// authCost is how many messages a gateway counts a token as: it has a signature to verify.
	authCost = 10
)

func newConn(w *Watcher, ws *websocket.Conn, token string) *conn {
	return &conn{
		w: w, ws: ws, tokens: make(chan string, 1),
		renewal: renewal{token: token, answers: make(chan answer, 1)},
	}
}

// serve runs the connection until it ends, and leaves nothing of it behind.
func (c *conn) serve(parent context.Context) ending {
	ctx, cancel := context.WithCancel(parent)
	messages, failed, unsent := make(chan []byte), make(chan error, 1), make(chan error, 1)
	// The reader is ended by closing the socket, not by its context: that would cut a polite close short.
	c.beside.Go(func() { failed <- c.read(context.WithoutCancel(ctx), ctx.Done(), messages) })
	c.beside.Go(func() {
		if err := c.write(ctx); err != nil {
			unsent <- err
		}
	})
	end := c.handle(ctx, messages, failed, unsent)
	cancel()
	if parent.Err() != nil && !c.silent(staleBeats) {
		_ = c.ws.Close(websocket.StatusNormalClosure, wire.CloseNormal.String()) // the gateway may have been faster
	} else {
		_ = c.ws.CloseNow() // it is over either way
	}
	c.beside.Wait()
	end.hint, end.token = c.hint, c.renewal.latest()
	if !c.ready.IsZero() {
		end.lived = time.Since(c.ready)
	}
	return end
}

// read hands messages on until the connection fails or stop is closed.
func (c *conn) read(ctx context.Context, stop <-chan struct{}, messages chan<- []byte) error {
	for {
		_, b, err := c.ws.Read(ctx)
		if err != nil {
			return err
		}
		select {
		case messages <- b:
		case <-stop:
			return nil
		}
	}
}

// write sends what the ledger has to send until ctx ends.
func (c *conn) write(ctx context.Context) error {
	w := c.w
	var pace pacer
	if w.opts.Interval > 0 {
		err := c.send(ctx, &pace, wire.ClientMessage{Type: wire.TypeSubscribe, IntervalMs: w.opts.Interval.Milliseconds()})
		if err != nil {
			return err
		}
	}
	for {
		m, ok := c.next()
		if ok {
			if err := c.send(ctx, &pace, m); err != nil {
				return err
			}
			continue
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// next returns the next message to send. A token comes first: its time is short.
func (c *conn) next() (m wire.ClientMessage, ok bool) {
	select {
	case token := <-c.tokens:
		return wire.ClientMessage{Type: wire.TypeAuth, Token: token}, true
	default:
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return c.w.ledger.next(wire.MaxClientMessage)
}

func (c *conn) send(ctx context.Context, pace *pacer, m wire.ClientMessage) error {
	cost := 1
	if m.Type == wire.TypeAuth {
		cost = authCost
	}
	pause(ctx, pace.next(time.Now(), cost))
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, wire.AppendClient(nil, m)); err != nil {
		return fmt.Errorf("sending %s: %w", m.Type, err)
	}
	return nil
}

// pacer spaces messages out: a burst, then one at a time. The zero value is ready.
type pacer struct{ free time.Time }

// next takes a message into account that counts as cost messages, and returns how long it must wait.
func (p *pacer) next(now time.Time, cost int) time.Duration {
	if p.free.Before(now) {
		p.free = now
	}
	wait := p.free.Sub(now) - messageBurst*messageEvery
	p.free = p.free.Add(time.Duration(cost) * messageEvery)
	return wait
}

// handle acts on messages until the connection is over.
func (c *conn) handle(ctx context.Context, messages <-chan []byte, failed, unsent <-chan error) ending {
	c.began = time.Now()
	c.heard, c.hint, c.heartbeat = c.began, -1, wire.DefaultHeartbeat
	check := time.NewTimer(c.nextCheck())
	defer check.Stop()
	var (
		writeErr error
		grace    <-chan time.Time
	)
	for {
		select {
		case b := <-messages:
			c.heard = time.Now()
			if end := c.receive(b); end.err != nil {
				return end
			}
		case err := <-failed:
			return endingOf(err, c.lastWords())
		case writeErr = <-unsent:
			grace = time.After(lastWords)
		case <-grace:
			return ending{err: writeErr, class: wire.CloseReconnect}
		case a := <-c.renewal.answers:
			c.offer(a)
		case <-check.C:
		case <-ctx.Done():
			return ending{err: ctx.Err(), class: wire.CloseReconnect}
		}
		if c.ready.IsZero() && time.Since(c.began) >= c.w.opts.ConnectTimeout {
			return ending{err: errNotReady, class: wire.CloseBackOff}
		}
		if c.silent(wire.SilenceBeats) {
			return ending{err: errSilent, class: wire.CloseReconnect}
		}
		c.renew(ctx)
		c.showState()
		check.Reset(c.nextCheck())
	}
}

// lastWords is the `error` that came right before now, if one did: a close code that follows is about it.
func (c *conn) lastWords() wire.Error {
	if time.Since(c.saidAt) > lastWords {
		return wire.Error{}
	}
	return c.said
}

// silent tells whether nothing came for that many heartbeat intervals.
func (c *conn) silent(beats float64) bool {
	return time.Since(c.heard) >= time.Duration(beats*float64(c.heartbeat))
}

// nextCheck returns how long it is to the next moment at which silence means something or the token wants renewal.
func (c *conn) nextCheck() time.Duration {
	if c.ready.IsZero() {
		return c.w.opts.ConnectTimeout - time.Since(c.began)
	}
	quiet := time.Since(c.heard)
	wait := wire.SilenceBeats*c.heartbeat - quiet
	if stale := time.Duration(staleBeats * float64(c.heartbeat)); quiet < stale {
		wait = stale - quiet
	}
	if at := c.renewal.at; !at.IsZero() {
		wait = min(wait, time.Until(at))
	}
	return wait
}

// showState says whether what is shown is up to date.
func (c *conn) showState() {
	if c.ready.IsZero() {
		return
	}
	c.w.setState(func(s *State) {
		s.Phase, s.Reason = PhaseLive, ""
		s.ExpiresAt, s.TokenProblem = c.renewal.expires, c.renewal.problem
		if !c.beat.IsZero() {
			s.Heartbeat, s.Lag, s.CompleteTo = c.beat, c.behind, c.complete
		}
		switch {
		case c.silent(staleBeats):
			s.Phase, s.Reason = PhaseStale, errSilent.Error()
		case c.late != "":
			s.Phase, s.Reason = PhaseStale, c.late
		}
	})
}

// receive acts on a message. The connection goes on if the ending has no error.
func (c *conn) receive(b []byte) ending {
	w := c.w
	m, err := wire.DecodeServer(b)
	if err != nil {
		return ending{err: err, class: wire.CloseBackOff}
	}
	if w.opts.OnMessage != nil {
		w.opts.OnMessage(m)
	}
	w.mu.Lock()
	w.stats.Messages++
	w.mu.Unlock()
	switch m := m.(type) {
	case wire.Ready:
		return c.receiveReady(m)
	case wire.Goodbye:
		c.hint = max(0, min(time.Duration(m.ReconnectAfterMs)*time.Millisecond, maxHint))
	case wire.Heartbeat:
		c.receiveHeartbeat(m)
	case wire.Error:
		c.said, c.saidAt = m, c.heard
		c.renewal.answered(m)
		w.mu.Lock()
		w.stats.Errors++
		w.stats.LastError = m
		w.mu.Unlock()
	default:
		if !c.ready.IsZero() { // without it the epoch of a number is not known
			c.receiveCounts(m)
		}
	}
	return ending{}
}

func (c *conn) receiveReady(m wire.Ready) ending {
	if m.Protocol != wire.Protocol {
		reason := fmt.Sprintf("it speaks version %d of the protocol, this client version %d", m.Protocol, wire.Protocol)
		return ending{err: &StoppedError{Reason: reason}, class: wire.CloseStop}
	}
	w := c.w
	w.mu.Lock()
	changed, ok := w.ledger.ready(m.Epoch)
	w.changed(changed...)
	switch {
	case ok && c.ready.IsZero():
		w.stats.Connections++
	case ok: // the answer to another token
		w.ledger.renewed()
		w.nudge()
	}
	if !ok {
		w.stats.OldEpochs++
	}
	w.mu.Unlock()
	if !ok {
		return ending{err: errOldEpoch, class: wire.CloseBackOff}
	}
	if m.HeartbeatMs > 0 {
		c.heartbeat = time.Duration(m.HeartbeatMs) * time.Millisecond
	}
	c.renewal.accepted(m.ExpiresAt, w.ahead)
	if !c.ready.IsZero() {
		return ending{}
	}
	c.ready = time.Now()
	w.pass.accepted = w.pass.accepted || c.renewal.token != ""
	w.setState(func(s *State) {
		s.Phase, s.Reason, s.Err, s.RetryAt = PhaseLive, "", nil, time.Time{}
		s.Gateway, s.Connection, s.Epoch = m.Gateway, m.Connection, m.Epoch
		s.CompleteTo, s.Lag, s.Heartbeat = time.Time{}, 0, time.Time{}
		s.ExpiresAt = c.renewal.expires
	})
	return ending{}
}

func (c *conn) receiveHeartbeat(m wire.Heartbeat) {
	c.w.ahead = time.UnixMilli(m.At).Sub(c.heard)
	c.renewal.clock(c.w.ahead)
	c.beat, c.behind, c.complete, c.late = c.heard, time.Duration(m.LagMs)*time.Millisecond, time.Time{}, ""
	if m.CompleteTo == 0 {
		c.late = "the gateway does not know yet how far its counts go"
		return
	}
	c.complete = time.UnixMilli(m.CompleteTo)
	if c.behind > c.w.opts.StaleAfter {
		c.late = "the gateway's counts are " + c.behind.Round(100*time.Millisecond).String() + " behind"
	}
}

func (c *conn) receiveCounts(m wire.ServerMessage) {
	w := c.w
	w.mu.Lock()
	defer w.mu.Unlock()
	switch m := m.(type) {
	case wire.Subscribed:
		w.changed(w.ledger.subscribed(m)...)
	case wire.Update:
		changed, again := w.ledger.update(m)
		if changed {
			w.changed(m.Link)
		}
		if again {
			w.nudge()
		}
		return
	case wire.Unsubscribed:
		w.changed(w.ledger.unsubscribed(m)...)
	}
	w.nudge() // an answer may make room for the next request about its links
}
