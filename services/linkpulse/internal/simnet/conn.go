package simnet

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is a connection: two ends and the two ways between them.
type conn struct {
	net      *Network
	from, to string // names of the hosts
	at       string // address of the listener
	serial   int    // rises with every connection of the network, so that cuts happen in one order
	ends     [2]end // by the way that the end writes: the dialling end first

	mu    sync.Mutex // guards what follows, both ends' state included; held briefly, never across a wait but the condition's
	cond  sync.Cond  // broadcast whenever anything changes that a read or a write may wait for
	ways  [2]way
	reset bool // no more from or to anyone
	gone  bool // the network has forgotten it
}

// unlock releases the mutex and, once nothing can happen on the connection any more, tells the network. That comes
// after, because the network's mutex is taken first wherever both are.
func (c *conn) unlock() {
	gone := !c.gone && (c.reset || c.ends[0].closed && c.ends[1].closed)
	c.gone = c.gone || gone
	c.mu.Unlock()
	if gone {
		c.net.forget(c)
	}
}

// way is one direction of a connection.
type way struct {
	limit   int      // bytes
	queue   []packet // what is under way or unread
	size    int      // bytes in queue
	ended   bool     // the writer has said that nothing more comes
	unread  bool     // the reader has gone, and with it the place for more
	arrival time.Time
	chances *rand.Rand

	// What the faults ask for.
	hole          bool
	delay, jitter time.Duration
	chop          int
	cuts          []cut
}

// packet is what one write put on the way.
type packet struct {
	data []byte
	at   time.Time // when it arrives; zero: at once
}

// cut is a fault that resets the connection after so many bytes.
type cut struct {
	fault *fault
	left  int64
}

// end is one end of a connection, a net.Conn. Its state is guarded by the connection's mutex.
type end struct {
	conn          *conn
	writes        Way
	local, remote net.Addr

	closed                      bool
	readDeadline, writeDeadline deadline
}

// newConn makes a connection. The caller holds the network's mutex.
func newConn(n *Network, l *listener, h *Host, number int) *conn {
	n.serial++
	c := &conn{net: n, from: h.name, to: l.host, at: l.at, serial: n.serial}
	c.cond.L = &c.mu
	limit := h.Buffer
	if limit <= 0 {
		limit = DefaultBuffer
	}
	pair := Path{From: h.name, To: l.at}
	dialler := &net.TCPAddr{IP: h.ip, Port: 32768 + number%28232} // Linux' range of ephemeral ports
	for _, w := range []Way{ToListener, ToDialer} {
		c.ways[w.index()] = way{limit: limit, chances: n.chances(pair, number, w)}
		e := &c.ends[w.index()]
		e.conn, e.writes, e.local, e.remote = c, w, dialler, addr(l.at)
	}
	accepted := &c.ends[ToDialer.index()]
	accepted.local, accepted.remote = accepted.remote, accepted.local
	return c
}

// obey takes over what the faults ask of this connection. The caller holds the network's mutex.
func (c *conn) obey(faults []*fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range []Way{ToListener, ToDialer} {
		v := &c.ways[w.index()]
		old := v.cuts
		v.hole, v.delay, v.jitter, v.chop, v.cuts = false, 0, 0, 0, nil
		for _, f := range faults {
			if !f.Path.matches(c.from, c.to, c.at) {
				continue
			}
			v.hole = v.hole || f.BlackHole&w != 0
			v.delay += f.Delay
			v.jitter += f.Jitter
			if f.Chop > 0 {
				v.chop = f.Chop
			}
			if f.CutWay&w != 0 {
				v.cuts = append(v.cuts, resume(old, f))
			}
		}
	}
	c.cond.Broadcast()
}

// resume returns the state of a cut that was counting already, or starts it.
func resume(old []cut, f *fault) cut {
	for _, o := range old {
		if o.fault == f {
			return o
		}
	}
	return cut{fault: f, left: f.CutAfter}
}

// cut resets the connection.
func (c *conn) cut() {
	c.mu.Lock()
	defer c.unlock()
	c.cutLocked()
}

func (c *conn) cutLocked() {
	c.reset = true
	now := time.Now()
	for i := range c.ways { // what has not arrived never will
		v := &c.ways[i]
		for len(v.queue) > 0 && (v.hole || v.queue[len(v.queue)-1].at.After(now)) {
			v.size -= len(v.queue[len(v.queue)-1].data)
			v.queue = v.queue[:len(v.queue)-1]
		}
	}
	c.cond.Broadcast()
}

// Read implements net.Conn.
func (e *end) Read(p []byte) (int, error) {
	c := e.conn
	v := &c.ways[(Both &^ e.writes).index()]
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, e.fail("read", net.ErrClosed)
		case e.readDeadline.passed():
			return 0, e.fail("read", os.ErrDeadlineExceeded)
		case len(v.queue) > 0 && (!v.hole || c.reset):
			wait := time.Until(v.queue[0].at)
			if wait <= 0 {
				n := v.take(p)
				c.cond.Broadcast() // there is room for a writer
				return n, nil
			}
			alarm := time.AfterFunc(wait, c.wake)
			c.cond.Wait()
			alarm.Stop()
			continue
		case c.reset:
			return 0, e.fail("read", syscall.ECONNRESET)
		case v.ended && !v.hole:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		c.cond.Wait()
	}
}

// take moves bytes of the first packet to p.
func (v *way) take(p []byte) int {
	if v.chop > 0 && len(p) > 1 {
		p = p[:1+v.chances.IntN(min(v.chop, len(p)))]
	}
	n := copy(p, v.queue[0].data)
	v.size -= n
	if v.queue[0].data = v.queue[0].data[n:]; len(v.queue[0].data) == 0 {
		v.queue[0] = packet{}
		v.queue = v.queue[1:]
	}
	return n
}

// Write implements net.Conn. It returns when all of p is in the buffer.
func (e *end) Write(p []byte) (int, error) {
	c := e.conn
	c.mu.Lock()
	defer c.unlock()
	done := 0
	for {
		n, err := e.put(p[done:])
		done += n
		if err != nil || done == len(p) {
			return done, err
		}
		c.cond.Wait()
	}
}

// TryWrite writes what fits in the buffer now and never waits. What is left over is no error: a short count says it.
func (e *end) TryWrite(p []byte) (int, error) {
	e.conn.mu.Lock()
	defer e.conn.unlock()
	return e.put(p)
}

// put puts on the way what there is room for. The caller holds the mutex.
func (e *end) put(p []byte) (int, error) {
	c := e.conn
	v := &c.ways[e.writes.index()]
	back := &c.ways[(Both &^ e.writes).index()]
	switch {
	case e.closed:
		return 0, e.fail("write", net.ErrClosed)
	case e.writeDeadline.passed():
		return 0, e.fail("write", os.ErrDeadlineExceeded)
	case c.reset:
		return 0, e.fail("write", syscall.ECONNRESET)
	case v.ended, v.unread && !v.hole && !back.hole: // the reset that says so must get through
		return 0, e.fail("write", syscall.EPIPE)
	}
	n := min(len(p), v.limit-v.size)
	if n <= 0 {
		return 0, nil
	}
	for i := range v.cuts {
		k := &v.cuts[i]
		if k.left >= int64(n) {
			k.left -= int64(n)
			continue
		}
		if k.fault.cuts.Add(-1) >= 0 {
			v.send(p[:k.left])
			sent := int(k.left)
			c.cutLocked()
			return sent, e.fail("write", syscall.ECONNRESET)
		}
	}
	v.send(p[:n])
	c.cond.Broadcast()
	return n, nil
}

func (v *way) send(p []byte) {
	if len(p) == 0 {
		return
	}
	k := packet{data: append([]byte(nil), p...)}
	if v.delay > 0 || v.jitter > 0 || !v.arrival.IsZero() {
		d := v.delay
		if v.jitter > 0 {
			d += time.Duration(v.chances.Int64N(int64(v.jitter)))
		}
		if k.at = time.Now().Add(d); k.at.Before(v.arrival) {
			k.at = v.arrival // a stream keeps its order
		}
		v.arrival = k.at
	}
	v.queue = append(v.queue, k)
	v.size += len(p)
}

// CloseWrite ends the stream towards the other end, which reads io.EOF once it has read what was sent.
func (e *end) CloseWrite() error {
	c := e.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if e.closed {
		return e.fail("close", net.ErrClosed)
	}
	c.ways[e.writes.index()].ended = true
	c.cond.Broadcast()
	return nil
}

// Close implements net.Conn. Calls that wait in Read or Write return.
func (e *end) Close() error {
	c := e.conn
	c.mu.Lock()
	defer c.unlock()
	if e.closed {
		return e.fail("close", net.ErrClosed)
	}
	e.closed = true
	e.readDeadline.set(c, time.Time{})
	e.writeDeadline.set(c, time.Time{})
	c.ways[e.writes.index()].ended = true
	c.ways[(Both &^ e.writes).index()].unread = true
	c.cond.Broadcast()
	return nil
}

// LocalAddr implements net.Conn.
func (e *end) LocalAddr() net.Addr { return e.local }

// RemoteAddr implements net.Conn.
func (e *end) RemoteAddr() net.Addr { return e.remote }

// SetDeadline implements net.Conn.
func (e *end) SetDeadline(t time.Time) error {
	return e.setDeadlines(t, &e.readDeadline, &e.writeDeadline)
}

// SetReadDeadline implements net.Conn.
func (e *end) SetReadDeadline(t time.Time) error { return e.setDeadlines(t, &e.readDeadline) }

// SetWriteDeadline implements net.Conn.
func (e *end) SetWriteDeadline(t time.Time) error { return e.setDeadlines(t, &e.writeDeadline) }

func (e *end) setDeadlines(t time.Time, which ...*deadline) error {
	e.conn.mu.Lock()
	defer e.conn.mu.Unlock()
	if e.closed {
		return e.fail("set", net.ErrClosed)
	}
	for _, d := range which {
		d.set(e.conn, t)
	}
	e.conn.cond.Broadcast()
	return nil
}

func (e *end) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: e.local, Addr: e.remote, Err: err}
}

// deadline is a time after which calls fail, and the timer that wakes those that wait.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

// set moves the deadline. The caller holds the mutex.
func (d *deadline) set(c *conn, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.at = t; !t.IsZero() {
		if wait := time.Until(t); wait > 0 {
			d.timer = time.AfterFunc(wait, c.wake)
		}
	}
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// wake makes everyone who waits look again.
func (c *conn) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cond.Broadcast()
}
