package hub

import (
	"sync/atomic"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// Session is a connection as the hub sees it. The exported methods are for the connection: its reader calls Subscribe,
// Unsubscribe, Refresh, Fail, Close and Gone, one at a time; whoever sends the rest of a write calls Drained; Heard is
// safe from anywhere. All other fields belong to the loop.
type Session struct {
	// What a flush looks at comes first: most of its cost beside the system call is waiting for memory.
	flags    flags
	said     uint16   // the code of our close frame, 0: none
	index    uint32   // in the loop
	subs     []sub    // no session has two of a link
	dirty    dirtySet // what is to be told
	conn     Conn
	interval int64 // milliseconds between two updates of a link, 0: none
	lastBeat int64
	lane     []byte        // control lane: frames that must not be lost
	parked   chan struct{} // its reader waits for room in the lane; nil: it does not

	gen     uint32
	unknown uint32 // asked subscriptions whose total is still being read
	paceAt  int64  // when its pace entry fires, 0: none
	graceAt int64  // when its waiting `subscribed` goes out at the latest, 0: none waits
	loop    *loop
	id      *auth.Identity // says which links; no subscription is of another

	heard atomic.Uint32 // stamp of the last sign of life; the one field that others write
	endAt stamp         // when its kindExpire entry fires, while it has the flag ending
}

// stamp is loop time in four bytes: milliseconds modulo 2^32. Those that are less than 24 days apart can be compared.
type stamp uint32

func stampOf(ms int64) stamp { return stamp(ms) } //nolint:gosec // modulo is meant

// until returns how many milliseconds t is after u, negative where it is before.
func (t stamp) until(u stamp) int64 { return int64(int32(t - u)) } //nolint:gosec // the same

type flags uint16

const (
	inExpress flags = 1 << iota // in the express queue
	inBulk                      // in the bulk queue
	blocked                     // the connection still sends a rest
	beatDue                     // the next write carries heartbeat and ping
	answerDue                   // the next write carries a `subscribed`
	closing                     // its close frame is in the lane, or will be: nothing else may follow
	gone                        // removed; what is still on its way is ignored
	ending                      // a kindExpire entry is in the wheel
	mute                        // condemned, and not told why yet: nothing is written
)

func (s *Session) has(f flags) bool { return s.flags&f != 0 }

// sub is a subscription. It holds no pointer, so that the collector never looks at the bulk of the hub's memory, and 24
// bytes, ten times a connection.
type sub struct {
	told  int64  // the count that the client was told last; asked or syncing while it has not been told one
	next  int64  // paced: not to be flushed before
	topic uint32 // index in the loop
	pos   uint32 // index in the topic's roster
}

// Before the first count, which is never negative.
const (
	// asked: its `subscribed` has not gone out.
	asked int64 = -1
	// syncing: it was listed as such, and another `subscribed` follows when its total has been read.
	syncing int64 = -2
)

// live tells whether updates may be sent: its `subscribed` went out, or is in front of everything else to be written.
func (u *sub) live() bool { return u.told >= 0 }

// Subscribe asks for links. All must be valid link ids. interval is the least time between two updates of a link on this
// connection from now on; negative leaves it as it was. It returns when the loop has taken the request and there is room
// for the next answer.
func (s *Session) Subscribe(links []string, interval time.Duration) {
	ms := int64(-1)
	if interval >= 0 {
		ms = interval.Milliseconds()
	}
	s.ask(post{kind: postSubscribe, links: links, interval: ms})
}

// Unsubscribe ends subscriptions; links that there is none of are fine.
func (s *Session) Unsubscribe(links []string) { s.ask(post{kind: postUnsubscribe, links: links}) }

// Refresh makes id the session's identity, of the same subject as the one before. Subscriptions that it does not cover end
// with an `unsubscribed`, then comes the `ready` that answers. id is never nil.
func (s *Session) Refresh(id *auth.Identity) { s.ask(post{kind: postRefresh, id: id}) }

// Fail sends an `error`.
func (s *Session) Fail(code wire.ErrorCode, message string) {
	s.ask(post{kind: postFail, text: [2]string{string(code), message}})
}

// Close sends a close frame behind what is to be said, and drops the connection soon after.
func (s *Session) Close(code wire.CloseCode) { s.ask(post{kind: postClose, code: uint16(code)}) }

// Drained reports that the rest of a write has been sent.
func (s *Session) Drained() {
	s.Heard() // the peer takes bytes, however slowly
	s.loop.mail.put(post{session: s, kind: postDrained})
}

// Gone reports that the connection is no more: by which close code, or with none (1006) in which condition. It must be
// the last call.
func (s *Session) Gone(code wire.CloseCode, condition string) {
	s.loop.mail.put(post{session: s, kind: postGone, code: uint16(code), text: [2]string{condition}})
}

// Heard reports a sign of life of the peer.
func (s *Session) Heard() { s.heard.Store(uint32(stampOf(s.loop.clock()))) }

// ask posts and waits until the loop has taken it, which bounds the mailbox: a reader has one request on its way.
func (s *Session) ask(p post) {
	p.session = s
	done := s.loop.mail.putWait(p)
	if done == nil {
		return
	}
	select {
	case <-done:
		s.loop.mail.recycle(done)
	case <-s.loop.ended:
	}
}
