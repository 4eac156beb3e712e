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
//   - It moves deadlines eight times for each request, and nearly always to later. Here the socket is told of a deadline
//     when somebody waits for it, and only if it is before the one that it has. When that one passes, it is told of the
//     one that holds by then.
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
	if len(b) == 1 {
		if none, passed := c.read.state(); passed {
			return 0, os.ErrDeadlineExceeded
		} else if none {
			return 0, nil
		}
	}
	for {
		if err = c.read.begin(c.Conn.SetReadDeadline); err != nil {
			return 0, err
		}
		n, err = c.Conn.Read(b)
		if again := c.read.end(err, c.Conn.SetReadDeadline); !again || n > 0 {
			return n, err
		}
	}
}

// Write implements [net.Conn].
func (c *frugalConn) Write(b []byte) (n int, err error) {
	for {
		if err = c.write.begin(c.Conn.SetWriteDeadline); err != nil {
			return n, err
		}
		var wrote int
		wrote, err = c.Conn.Write(b[n:])
		n += wrote
		if again := c.write.end(err, c.Conn.SetWriteDeadline); !again {
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
	mu      sync.Mutex // guards what follows
	holds   time.Time  // zero: none
	armed   time.Time  // what the socket has; zero: none
	waiting int        // calls that are under way
}

// state tells that there is no deadline, or that there is one and it has passed.
func (d *lazyDeadline) state() (none, passed bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.holds.IsZero(), d.passed()
}

func (d *lazyDeadline) passed() bool { return !d.holds.IsZero() && !time.Now().Before(d.holds) }

// set sets the deadline, with arm if the socket must know at once.
func (d *lazyDeadline) set(t time.Time, arm func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.holds = t
	if d.waiting == 0 {
		return nil
	}
	return d.tighten(arm)
}

// tighten tells the socket of the deadline if that is before the one that it has. The caller holds mu.
func (d *lazyDeadline) tighten(arm func(time.Time) error) error {
	if d.holds.IsZero() || !d.armed.IsZero() && !d.holds.Before(d.armed) {
		return nil
	}
	d.armed = d.holds
	return arm(d.armed)
}

// begin precedes a call that the deadline may end.
func (d *lazyDeadline) begin(arm func(time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.tighten(arm); err != nil {
		return err
	}
	d.waiting++
	return nil
}

// end follows it. It tells whether the call was ended by a deadline that no longer held: then the socket has the one that
// does, and the call is to be made again.
func (d *lazyDeadline) end(err error, arm func(time.Time) error) (again bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting--
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	if d.passed() {
		return false
	}
	d.armed = d.holds
	return arm(d.armed) == nil // a connection that takes no deadline is closed
}
