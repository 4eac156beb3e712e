package ws

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

const (
	// How long, and for how many bytes, what a peer still sends is thrown away after our close frame. A socket that is
	// closed with bytes unread answers them with a reset, which can overtake the close frame that says why.
	lingerTime  = 2 * time.Second
	lingerBytes = 1 << 20
)

// serve reads a connection until it ends. Its stack is what a connection costs most of, so what it calls is kept shallow.
func (h *Handler) serve(c *Conn, ws *websocket.Conn) {
	code, condition := h.read(c, ws)
	_ = ws.CloseNow() // always: the library does not close by itself after some errors
	c.settle()
	if c.guest {
		h.depart(c)
	}
	c.session.Gone(code, condition)
	h.leave(c)
}

// errViolation ends the reading of a connection that the reader has closed by the hub.
var errViolation = errors.New("the client broke a rule")

// read handles messages until the connection ends and says how it ended: with which close code, or in which condition.
func (h *Handler) read(c *Conn, ws *websocket.Conn) (code wire.CloseCode, condition string) {
	if c.violation != 0 { // it was revoked as it came in
		return h.end(c, errViolation)
	}
	for {
		typ, r, err := ws.Reader(h.ctx)
		if err == nil {
			err = h.message(c, typ, r)
		}
		if err != nil {
			return h.end(c, err)
		}
	}
}

// end finds out how a connection ended, and waits for the peer to take our close frame where there is one.
func (h *Handler) end(c *Conn, err error) (code wire.CloseCode, condition string) {
	if c.guest && c.violation == 0 && isLate(err) {
		err = h.late(c)
	}
	if c.violation != 0 {
		h.linger(c)
		return c.violation, ""
	}
	if closing, ok := errors.AsType[websocket.CloseError](err); ok {
		if !utf8.ValidString(closing.Reason) {
			h.linger(c)
			return wire.CloseInvalidUTF8, ""
		}
		return wire.CloseCode(closing.Code), "" //nolint:gosec // 16 bits on the wire
	}
	said, cause := c.status()
	switch {
	case cause != causeNone:
		return wire.CloseAbnormal, cause.String()
	case isNetwork(err):
		return wire.CloseAbnormal, "lost"
	case !said: // such as a frame without mask, or of negative length, on which the library says nothing
		c.session.Close(wire.CloseProtocolError)
	}
	h.linger(c)
	return wire.CloseProtocolError, ""
}

// isNetwork tells whether an error of a read is the transport's, not the protocol's.
func isNetwork(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe)
}

// clock is the time that buckets are kept by. It begins late enough for every bucket to begin full.
func (h *Handler) clock() time.Duration { return time.Since(h.start) + time.Hour }

// linger throws away what the peer still sends, until it hangs up.
func (h *Handler) linger(c *Conn) {
	if c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	b := h.borrow()
	defer h.giveBack(b)
	for n := 0; n < lingerBytes; {
		k, err := c.Read(b.bytes[:cap(b.bytes)])
		if err != nil {
			return
		}
		n += k
	}
}

// violate closes the connection for breaking a rule.
func (h *Handler) violate(c *Conn, code wire.CloseCode) error {
	c.violation = code
	c.session.Close(code)
	return errViolation
}

// ponged takes a pong.
func (c *Conn) ponged(context.Context, []byte) { c.session.Heard() }

// pinged decides about a ping: true answers it.
func (c *Conn) pinged(context.Context, []byte) bool {
	h := c.h
	h.cfg.Metrics.received[receivedPing].Inc()
	c.session.Heard()
	if c.pings.take(h.clock(), wire.PingInterval, wire.PingBurst) == 0 {
		return true
	}
	if c.violation == 0 {
		_ = h.violate(c, wire.ClosePolicyViolation)
		_ = c.SetReadDeadline(past()) // the library would go on reading pings: this ends its read
	}
	return false
}

// message reads a message whole and does what it asks.
func (h *Handler) message(c *Conn, typ websocket.MessageType, r io.Reader) error {
	b := h.borrow()
	defer h.giveBack(b)
	most := wire.MaxClientMessage
	if c.guest {
		most = wire.MaxFirstMessage
	}
	if err := b.fill(r, most); err != nil {
		if errors.Is(err, errTooBig) {
			return h.violate(c, wire.CloseTooBig)
		}
		return err
	}
	if c.violation != 0 { // by a ping in front of it
		return errViolation
	}
	c.session.Heard()
	if err := h.throttle(c); err != nil {
		return err
	}
	switch {
	case typ != websocket.MessageText && !c.guest:
		h.cfg.Metrics.received[receivedInvalid].Inc()
		c.session.Fail(wire.ErrBadMessage, "messages are JSON text: send text frames, not binary ones")
		return h.violate(c, wire.CloseUnsupported)
	case typ == websocket.MessageText && !utf8.Valid(b.bytes): // RFC 6455 section 8.1; the library does not look
		h.cfg.Metrics.received[receivedInvalid].Inc()
		return h.violate(c, wire.CloseInvalidUTF8)
	}
	if c.guest {
		return apart(func() error { return h.greet(c, typ == websocket.MessageText, b.bytes) })
	}
	return apart(func() error { return h.dispatch(c, b.bytes) })
}

// apart runs f on a goroutine of its own, and waits for it. Decoding takes more stack than reading does, and verifying a
// token takes more still, and the reader's stack is kept as long as its connection: 4 KiB of each for something that a
// dashboard does once.
func apart(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return <-done
}

// throttle makes a client wait that sends too fast: what it sends meanwhile waits in its own kernel. It is closed when it
// has been made to wait for too long in a row; time that it took by itself is taken off that. A moment in which this
// machine was too busy to read is no more than that: it would begin the row anew if one message without a wait did.
func (h *Handler) throttle(c *Conn) error {
	now := h.clock()
	wait := c.messages.take(now, wire.MessageInterval, wire.MessageBurst)
	c.waited = max(0, c.waited-max(0, now-c.turn))
	c.turn = now + wait
	if wait == 0 {
		return nil
	}
	if c.waited == 0 {
		h.cfg.Metrics.throttled.Inc()
		c.session.Fail(wire.ErrRateLimited, "too many messages: name many links in one message, and send at most 10 messages a second")
	}
	if c.waited >= wire.RateLimitPatience {
		return h.violate(c, wire.CloseTooMany)
	}
	c.waited += wait
	time.Sleep(wait)
	return nil
}

// dispatch decodes a message and passes it to the hub.
func (h *Handler) dispatch(c *Conn, b []byte) error {
	m, err := wire.DecodeClient(b)
	if err != nil {
		return h.badMessage(c, err)
	}
	switch m.Type {
	case wire.TypeSubscribe:
		h.cfg.Metrics.received[receivedSubscribe].Inc()
		c.session.Subscribe(m.Links, interval(m))
	case wire.TypeUnsubscribe:
		h.cfg.Metrics.received[receivedUnsubscribe].Inc()
		c.session.Unsubscribe(m.Links)
	default: // wire.TypeAuth
		h.cfg.Metrics.received[receivedAuth].Inc()
		return h.refresh(c, m.Token)
	}
	return nil
}

// interval is the pace that a subscribe asks for; negative where it asks for none.
func interval(m wire.ClientMessage) time.Duration {
	if m.IntervalMs == wire.KeepInterval {
		return -1
	}
	return time.Duration(m.IntervalMs) * time.Millisecond
}

// badMessage answers a message that does not decode. One that is no JSON object ends the connection: its sender speaks
// something else.
func (h *Handler) badMessage(c *Conn, err error) error {
	h.cfg.Metrics.received[receivedInvalid].Inc()
	var bad *wire.DecodeError
	if !errors.As(err, &bad) {
		return err
	}
	c.session.Fail(bad.Code, bad.Message)
	if bad.Close != 0 {
		return h.violate(c, bad.Close)
	}
	return nil
}
