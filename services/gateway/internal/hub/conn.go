package hub

import "time"

// Conn is the writing half of a connection. The loop of its session is the only caller. Neither method may block.
type Conn interface {
	// TryWrite takes b, which is whole frames, borrowed until it returns. What the transport does not take at once the
	// connection copies and sends by itself; blocked says so. Then TryWrite must not be called again until the
	// connection has called [Session.Drained]. last says that b ends with a close frame: nothing may follow it, not
	// even the echo of the peer's own close. An error means that the connection is lost.
	TryWrite(b []byte, last bool) (blocked bool, err error)
	// CloseNow drops the connection without a handshake. Its reader ends and calls [Session.Gone].
	CloseNow()
	// Expect says that TryWrite is near. It loads what TryWrite looks at, and does nothing else: the value has no
	// meaning.
	Expect() int
}

// Reading is what is known of a link at one place of the log.
type Reading struct {
	// Seq is the next offset of the link's partition, exclusive, at which the numbers are true; 0 is before any record.
	Seq int64
	// Count is how many clicks count, bots included; Bots is how many of them known bots made.
	Count, Bots int64
	// At is the record time of the newest counted click in Unix milliseconds, 0 before any.
	At int64
}

// Watcher is told that a watched link has a new reading.
type Watcher interface {
	// Changed may be called from any goroutine and under locks. It neither blocks nor calls back.
	Changed()
}

// Watched is a link that somebody watches.
type Watched interface {
	// Read returns the reading of now; false while the link's total is being read.
	Read() (Reading, bool)
	// Release ends the watch of w. After the last release nothing is kept of the link.
	Release(w Watcher)
}

// Counts is where counts come from. Its methods are called from every loop and must not block.
type Counts interface {
	// Watch starts to count a link for w, which is told of every change and when the total has been read.
	Watch(link string, w Watcher) Watched
	// CompleteTo is the freshness watermark: every click that was in the log then is in the counts. Zero: not
	// known yet.
	CompleteTo() time.Time
}
