package ws

import (
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// guest is the session of a connection that has not said yet who it is. There is nothing of it in the hub: it can be told
// no, and that is all.
type guest struct{ c *Conn }

func (g guest) Fail(code wire.ErrorCode, message string) {
	g.write(wire.AppendTextFrame(nil, wire.AppendError(nil, wire.Error{Code: code, Message: message})), false)
}

func (g guest) Close(code wire.CloseCode) {
	g.write(wire.AppendCloseFrame(nil, code, code.String()), true)
}

// write never waits for Drained: what does not fit is put behind what waits, a few hundred bytes at most.
func (g guest) write(b []byte, last bool) { _, _ = g.c.TryWrite(b, last) } // what failed is gone; its reader hears of it

// Nothing of these can come: only auth is read from a guest.
func (guest) Subscribe([]string, time.Duration) {}
func (guest) Unsubscribe([]string)              {}
func (guest) Refresh(*auth.Identity)            {}

// Nobody counts the silence of a guest, which has a deadline, and nobody waits for it or for its end.
func (guest) Heard()                      {}
func (guest) Drained()                    {}
func (guest) Gone(wire.CloseCode, string) {}

// lobby is where connections wait until they have said who they are.
type lobby struct {
	mu     sync.Mutex // guards what follows, and the read deadlines of guests
	guests map[*Conn]struct{}
	closed bool // they have been sent away
}

// receive takes a connection in as a guest. Its deadline is the socket's, which costs nothing that would stay.
func (h *Handler) receive(c *Conn) {
	c.session = guest{c}
	h.lobby.mu.Lock()
	defer h.lobby.mu.Unlock()
	if h.lobby.guests == nil {
		h.lobby.guests = make(map[*Conn]struct{})
	}
	h.lobby.guests[c] = struct{}{}
	deadline := time.Now().Add(wire.AuthDeadline)
	if h.lobby.closed {
		deadline = past()
	}
	_ = c.SetReadDeadline(deadline) // a connection that takes none is closed
}

// part takes a connection out of the lobby. From then on nobody else touches its deadline.
func (h *Handler) part(c *Conn) {
	h.lobby.mu.Lock()
	defer h.lobby.mu.Unlock()
	delete(h.lobby.guests, c)
}

// depart notes the end of a connection that is still a guest's.
func (h *Handler) depart(c *Conn) {
	h.part(c)
	switch c.violation {
	case 0, wire.CloseTooBig, wire.CloseInvalidUTF8, wire.ClosePolicyViolation: // nobody has dismissed it
		h.cfg.Metrics.parted[partedGone].Inc()
	default:
	}
}

// past is a deadline that ends a read at once.
func past() time.Time { return time.Unix(1, 0) }

// Dismiss sends everybody away who has not said yet who they are, and whoever comes later. The hub does not know of them.
func (h *Handler) Dismiss() {
	h.lobby.mu.Lock()
	defer h.lobby.mu.Unlock()
	h.lobby.closed = true
	for c := range h.lobby.guests {
		_ = c.SetReadDeadline(past()) // see receive
	}
}

// isLate tells whether a read ended by its deadline.
func isLate(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// late closes a guest's connection whose read ended by its deadline.
func (h *Handler) late(c *Conn) error {
	h.lobby.mu.Lock()
	dismissed := h.lobby.closed
	h.lobby.mu.Unlock()
	if dismissed {
		return h.elsewhere(c)
	}
	return h.dismiss(c, partedLate, wire.CloseAuthDeadline)
}

// reconnectSpread is over how long guests that were sent elsewhere are asked to spread their return, in milliseconds.
const reconnectSpread = 1000

// farewell is a goodbye in a frame, for those whom the hub does not know.
func farewell() []byte {
	bye := wire.Goodbye{Reason: wire.ReasonDrain, ReconnectAfterMs: rand.Int64N(reconnectSpread)} //nolint:gosec // spreads load, no secret
	return wire.AppendTextFrame(nil, wire.AppendGoodbye(nil, bye))
}

// elsewhere sends a guest to another gateway.
func (h *Handler) elsewhere(c *Conn) error {
	_, _ = c.TryWrite(farewell(), false) // see guest.write
	return h.dismiss(c, partedUnavailable, wire.CloseServiceRestart)
}

// dismiss closes a guest's connection.
func (h *Handler) dismiss(c *Conn, as parting, code wire.CloseCode) error {
	h.cfg.Metrics.parted[as].Inc()
	return h.violate(c, code)
}

// greet does what the first message asks: it must say who the client is.
func (h *Handler) greet(c *Conn, text bool, b []byte) error {
	const ask = "the first message must be an auth with a token"
	if !text {
		h.cfg.Metrics.received[receivedInvalid].Inc()
		c.session.Fail(wire.ErrBadMessage, ask+", and messages are JSON text")
		return h.dismiss(c, partedOther, wire.CloseUnauthenticated)
	}
	m, err := wire.DecodeClient(b)
	var bad *wire.DecodeError
	switch {
	case errors.As(err, &bad):
		h.cfg.Metrics.received[receivedInvalid].Inc()
		c.session.Fail(bad.Code, ask+"; "+bad.Message)
		return h.dismiss(c, partedOther, wire.CloseUnauthenticated)
	case m.Type != wire.TypeAuth:
		c.session.Fail(wire.ErrBadMessage, ask+": nothing else is done before")
		return h.dismiss(c, partedOther, wire.CloseUnauthenticated)
	}
	h.cfg.Metrics.received[receivedAuth].Inc()
	id, err := h.verify(m.Token)
	if err != nil {
		as, code, closing := firstNo(err)
		c.session.Fail(code, detail(err))
		return h.dismiss(c, as, closing)
	}
	return h.admit(c, id)
}

// admit makes a guest's connection a session.
func (h *Handler) admit(c *Conn, id *auth.Identity) error {
	if !h.places.seat(id.Subject) {
		c.session.Fail(wire.ErrTooManyConnections, errSubject.Error())
		return h.dismiss(c, partedSubject, wire.CloseTooMany)
	}
	c.id = id
	h.part(c)
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err // the connection is closed
	}
	if err := h.join(c, id); err != nil {
		return h.elsewhere(c)
	}
	c.guest = false
	h.places.greet(c.address)
	h.cfg.Metrics.guests.Dec()
	if c.violation != 0 {
		return errViolation
	}
	return nil
}
