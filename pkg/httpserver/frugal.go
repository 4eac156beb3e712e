package httpserver

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Frugal returns a listener whose connections cost net/http less for each request, for servers whose handlers neither ask
// whether the client is still there (the end of http.Request.Context) nor take connections over. Nothing else changes;
// every time limit of the server holds. What is saved, about an eighth of a small request:
//
//   - While a handler runs, net/http reads from the connection, to see whether the client goes away, and breaks that off
//     with a deadline when the handler is through. Here this read ends at once and without a finding.
//   - It moves deadlines eight times for each request, and nearly always to later. Here the socket is told only of a
//     deadline that is before the one it has. When that one passes, it is told of the one that holds by then.
func Frugal(l net.Listener) net.Listener { return frugalListener{l} }

type frugalListener struct{ net.Listener }

// Accept implements [net.Listener].
func (l frugalListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &frugalConn{Conn: c}, nil
}

// frugalConn is a connection of a server that is frugal.
type frugalConn struct {
	net.Conn
	read, write lazyDeadline
}

// Read implements [net.Conn], but for this: without a deadline, a read of one byte returns nothing, and no error. Only
// the read that looks whether the client is there asks for that. The server's own have a deadline and a larger buffer.
func (c *frugalConn) Read(b []byte) (n int, err error) {
	if len(b) == 1 && c.read.none() {
		return 0, nil
	}
	for {
		n, err = c.Conn.Read(b)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || c.read.passed(c.Conn.SetReadDeadline) {
			return n, err
		}
	}
}

// Write implements [net.Conn].
func (c *frugalConn) Write(b []byte) (n int, err error) {
	for {
		var wrote int
		wrote, err = c.Conn.Write(b[n:])
		n += wrote
		if !errors.Is(err, os.ErrDeadlineExceeded) || c.write.passed(c.Conn.SetWriteDeadline) {
			return n, err
		}
	}
}

// SetReadDeadline implements [net.Conn].
func (c *frugalConn) SetReadDeadline(t time.Time) error {
	return c.read.set(t, c.Conn.SetReadDeadline)
}

// SetWriteDeadline implements [net.Conn].
func (c *frugalConn) SetWriteDeadline(t time.Time) error {
	return c.write.set(t, c.Conn.SetWriteDeadline)
}

// SetDeadline implements [net.Conn].
func (c *frugalConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// lazyDeadline is a deadline of which the socket knows only what it must. The zero value is none. It is safe for
// concurrent use.
type lazyDeadline struct {
	mu    sync.Mutex // guards what follows
	holds time.Time  // zero: none
	armed time.Time  // what the socket has; zero: none
}

// none tells that there is no deadline.
func (d *lazyDeadline) none() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.holds.IsZero()
}

// set sets the deadline, with arm if the socket must know.
func (d *lazyDeadline) set(t time.Time, arm func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holds = t
	if t.IsZero() || !d.armed.IsZero() && !t.Before(d.armed) {
		return nil
	}
	d.armed = t
	return arm(t)
}

// passed tells whether the deadline has passed, when the socket's has. If not, the socket is told of the one that holds.
func (d *lazyDeadline) passed(arm func(time.Time) error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.holds.IsZero() && !time.Now().Before(d.holds) {
		return true
	}
	d.armed = d.holds
	return arm(d.holds) != nil // a connection that takes no deadline is closed
}
