package ws

import (
	"bytes"
	"encoding/binary"
	"net"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// controlLimit is how many bytes of the library's frames may wait behind a tail. Only pongs can get there in numbers, so
// a peer that goes over it sends pings and does not read the answers: it is dropped as flooding. Without the limit, one
// such peer makes the server keep 127 bytes per ping for ever.
const controlLimit = 4 << 10

// Conn is the socket of a WebSocket connection. Its writers never block: neither the hub's loop (TryWrite) nor the
// library (Write, from the reader goroutine). It implements the hub's Conn and net.Conn.
type Conn struct {
	// mu guards this group, which comes first because it is all that a write looks at. It is held for at most one write
	// that does not block.
	mu      sync.Mutex
	fd      int // of the socket, until it is closed; noSocket: not a TCP socket, everything goes through the tail
	state   connState
	dropped dropCause
	tail    *tail // nil: everything was written

	net.Conn // the hijacked one; Read goes there, and Close, which is only called with mu held
	h        *Handler
	early    *bytes.Reader // what net/http had read already, nil: nothing more of it
	session  Session       // set before anything is read or written, and by join

	// The reader's own, and before it begins, the handshake's.
	address         address
	id              *auth.Identity // whose it is, once its subject has a place for it
	messages, pings bucket
	waited          time.Duration  // how long messages have been made to wait, less what the client waited by itself
	turn            time.Duration  // when the last message had its turn, on the handler's clock
	violation       wire.CloseCode // what the reader closed the connection for, 0: nothing
	guest           bool           // nobody has said who it is: session is a guest, and it is in the lobby
}

// noSocket is the descriptor of a connection that is no TCP socket.
const noSocket = -1

// tail is what the socket did not take at once. It is there while a goroutine sends it.
type tail struct {
	bytes   []byte        // frames, the first perhaps cut, that follow what was written
	control int           // how much of bytes is the library's
	sent    chan struct{} // closed when the goroutine ends
}

// connState is a set of what has happened to a connection.
type connState uint8

const (
	owed      connState = 1 << iota // the hub waits for the tail to be sent
	closeSent                       // a close frame was written or is in the tail: nothing may follow
	ending                          // the reader is done: what is left has lingerTime
	closed                          // the socket is closed
)

// dropCause says why a connection dropped itself, for the reader that finds it closed.
type dropCause uint8

const (
	causeNone    dropCause = iota
	causeStalled           // the peer took nothing of the tail for all its patience
	causeFlood             // more pongs waited than controlLimit
	causeLost              // a write failed
)

// String names the cause as the metric does.
func (d dropCause) String() string { return [...]string{"", "stalled", "flood", "lost"}[d] }

// init wraps a hijacked connection. early is what was read from it before.
func (c *Conn) init(nc net.Conn, early []byte) {
	c.Conn, c.fd = nc, noSocket
	if len(early) > 0 {
		c.early = bytes.NewReader(bytes.Clone(early))
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		// The kernel's default send buffer takes megabytes of updates that are stale when a slow peer gets to see them.
		// This one takes about a hundred frames; what is newer stays state. Failing means keeping the default.
		_ = tcp.SetWriteBuffer(sendBuffer)
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { c.fd = int(fd) })
		}
	}
}

// sendBuffer is the size asked for the kernel's send buffer; Linux doubles it for its own bookkeeping.
const sendBuffer = 16 << 10

// join makes the connection a session. The hub may write at once, and Drained needs the session, so its first write waits
// for mu.
func (c *Conn) join(join func(*Conn) (Session, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	session, err := join(c)
	if err == nil {
		c.session = session
	}
	return err
}

// Read reads what net/http had read early, then from the socket.
func (c *Conn) Read(p []byte) (int, error) {
	if c.early != nil {
		if n, err := c.early.Read(p); err == nil {
			return n, nil
		}
		c.early = nil
	}
	return c.Conn.Read(p)
}

// TryWrite is the hub's way to write; see the hub's Conn for its contract.
func (c *Conn) TryWrite(b []byte, last bool) (blocked bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state&closed != 0:
		return false, net.ErrClosed
	case c.state&closeSent != 0:
		return false, nil // the library closed: nobody waits for more
	case last:
		c.state |= closeSent
	}
	rest, err := c.push(b)
	if err != nil || !rest {
		return false, err
	}
	c.state |= owed
	return true, nil
}

// Expect makes the next TryWrite cheaper; see the hub's Conn.
func (c *Conn) Expect() int { return c.fd } // the one field of its group that never changes

// Write is the library's way to write. It gets one whole control frame, because the library's buffer is larger than the
// largest of them, and the library writes nothing else.
func (c *Conn) Write(p []byte) (int, error) {
	const opcode, opClose = 0x0f, 0x08
	n := len(p)
	if p[0]&opcode == opClose {
		p = ownClose(p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state&closed != 0:
		return 0, net.ErrClosed
	case c.state&closeSent != 0:
		return n, nil // such as the echo of a close that answers ours
	case p[0]&opcode == opClose:
		c.state |= closeSent
	}
	if c.tail != nil && c.tail.control+len(p) > controlLimit {
		c.drop(causeFlood)
		return 0, net.ErrClosed
	}
	rest, err := c.push(p)
	if err != nil {
		return 0, err
	}
	if rest {
		c.tail.control += len(p)
	}
	return n, nil
}

// ownClose returns the close frame that is sent in place of one of the library's. Where that answers a client's, it is an
// echo, and where the client broke a rule, it has the library's words for it: a client is told neither its own words nor
// those, but the code, and the name of the code where it says what is wrong. The library does not look whether a client's
// words are UTF-8, as RFC 6455 section 8.1 has it.
func ownClose(frame []byte) []byte {
	const head, withCode = 2, 4
	if len(frame) < withCode {
		return frame // an answer to a close without a code
	}
	code := wire.CloseCode(binary.BigEndian.Uint16(frame[head:]))
	switch {
	case !utf8.Valid(frame[withCode:]):
		return wire.AppendCloseFrame(nil, wire.CloseInvalidUTF8, wire.CloseInvalidUTF8.String())
	case code == wire.CloseProtocolError:
		return wire.AppendCloseFrame(nil, code, code.String())
	}
	return wire.AppendCloseFrame(nil, code, "")
}

// push puts b on the wire behind what is waiting. rest tells that something is waiting now. The caller holds mu.
func (c *Conn) push(b []byte) (rest bool, err error) {
	if c.tail == nil {
		n, err := c.write(b)
		if err != nil {
			c.drop(causeLost)
			return false, err
		}
		if b = b[n:]; len(b) == 0 {
			c.finish()
			return false, nil
		}
		c.tail = &tail{sent: make(chan struct{})}
		go c.send(c.tail)
	}
	c.tail.bytes = append(c.tail.bytes, b...)
	return true, nil
}

// write writes what the socket takes without waiting. The caller holds mu, and the socket is open: whoever closes it marks
// it closed, and holds mu too, so the descriptor is this socket's. Nothing else writes to it while there is no tail. That
// is what the net package's own locks and its poller are for; without them a write costs about a tenth less.
func (c *Conn) write(b []byte) (int, error) {
	for c.fd != noSocket {
		n, err := syscall.Write(c.fd, b)
		switch errno, _ := err.(syscall.Errno); errno { //nolint:errorlint // syscall.Write wraps nothing
		case 0:
			return n, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, nil
		default:
			return 0, errno
		}
	}
	return 0, nil
}

// send sends the tail, and what is put behind it meanwhile, then tells the hub. It is the only place that waits for the
// peer to read.
func (c *Conn) send(t *tail) {
	defer close(t.sent)
	for {
		c.mu.Lock()
		if len(t.bytes) == 0 || c.state&closed != 0 {
			tell := c.state&(owed|closed) == owed
			c.state &^= owed
			session := c.session
			c.tail = nil
			c.finish()
			c.mu.Unlock()
			if tell {
				session.Drained()
			}
			return
		}
		b := t.bytes
		t.bytes, t.control = nil, 0
		err := c.SetWriteDeadline(time.Now().Add(c.patience()))
		c.mu.Unlock()
		if err == nil {
			_, err = c.Conn.Write(b)
		}
		if err == nil {
			err = c.SetWriteDeadline(time.Time{})
		}
		if err != nil {
			c.mu.Lock()
			c.drop(causeStalled)
			c.mu.Unlock()
		}
	}
}

// finish half-closes the socket once a close frame is out: nothing follows it, and the peer need not wait for its own
// timeout to learn that. The caller holds mu.
func (c *Conn) finish() {
	if c.tail == nil && c.state&(closeSent|closed) == closeSent {
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.CloseWrite() // what failed is gone anyway
		}
	}
}

// drop closes the socket for a cause of its own; the reader finds out by its next read. The caller holds mu.
func (c *Conn) drop(cause dropCause) {
	if c.state&closed == 0 {
		if cause == causeStalled || cause == causeFlood {
			c.forget()
		}
		c.state |= closed
		c.dropped = cause
		c.shut()
	}
}

// forget has the kernel throw away what the peer has not taken, when the socket is closed: else it keeps that for minutes,
// and offers it to somebody who is not there. A close frame is still delivered. The caller holds mu.
func (c *Conn) forget() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok && c.state&closeSent == 0 {
		_ = tcp.SetLinger(0) // failing means that it is kept
	}
}

// shut closes the socket without waiting. Closing a TCP socket never waits; a TLS connection's close writes an alert.
func (c *Conn) shut() {
	if c.fd != noSocket {
		_ = c.Conn.Close() // the connection is over either way
		return
	}
	go c.Conn.Close()
}

// CloseNow closes the socket without a close frame, and what was written may not arrive. It does not block, and may be
// called again.
func (c *Conn) CloseNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state&closed == 0 {
		c.forget()
	}
	c.drop(causeNone)
}

// Close is the library's way to close: it has said what it had to. What of that is still in the tail goes out before the
// reader closes the socket by settle.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tail == nil {
		c.drop(causeNone)
	}
	return nil
}

// settle closes the socket at the end of the reader. A close frame in the tail has lingerTime to go out. It returns when
// no goroutine of the connection is left.
func (c *Conn) settle() {
	c.mu.Lock()
	t := c.tail
	if t != nil && c.state&(closeSent|closed) == closeSent {
		c.state |= ending
		_ = c.SetWriteDeadline(time.Now().Add(c.patience())) // cuts short the write that is under way
	} else {
		c.drop(causeNone)
	}
	c.mu.Unlock()
	if t != nil {
		<-t.sent
	}
	c.CloseNow()
}

// patience is how long a write may wait for the peer. The caller holds mu.
func (c *Conn) patience() time.Duration {
	if c.state&ending != 0 {
		return min(c.h.cfg.Patience, lingerTime)
	}
	return c.h.cfg.Patience
}

// status tells whether a close frame is out, and why the connection dropped itself if it did.
func (c *Conn) status() (saidClose bool, cause dropCause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state&closeSent != 0, c.dropped
}
