package hub

import (
	"sync"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// postKind is what a post asks of the loop.
type postKind uint8

const (
	postJoin postKind = iota
	postSubscribe
	postUnsubscribe
	postRefresh
	postFail
	postClose
	postDrained
	postGone
	postDrain
	postRevoke
)

// post is a request to the loop. done, where set, receives once the loop has taken it.
type post struct {
	session    *Session
	kind       postKind
	code       uint16   // close code
	links      []string // subscribe, unsubscribe
	interval   int64    // subscribe: milliseconds, negative: as before
	text       [2]string
	id         *auth.Identity // refresh
	drain      *drainRequest
	revocation *revocation
	done       chan struct{}
}

// mailbox is how everything outside reaches the loop. It is bounded by what may be on its way: a session's reader waits
// for its one post to be taken, its connection reports Drained once per rest and Gone once, and a topic is in the list of
// changed ones once.
type mailbox struct {
	wake chan struct{} // capacity 1: the loop has something to take

	mu      sync.Mutex // guards what follows; held for a few instructions only
	posts   []post
	changed []*topic
	idle    []chan struct{} // done channels for reuse, so that a waiting reader costs no allocation
	closed  bool            // nobody takes any more
}

// maxIdleDone bounds how many done channels are kept.
const maxIdleDone = 256

func newMailbox() mailbox { return mailbox{wake: make(chan struct{}, 1)} }

// put adds a post without waiting; false means that the loop is over and takes nothing any more.
func (m *mailbox) put(p post) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return false
	}
	m.posts = append(m.posts, p)
	m.ring()
	return true
}

// putWait is put with a channel that receives once the post has been taken; nil means that the loop is over.
func (m *mailbox) putWait(p post) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	if n := len(m.idle); n > 0 {
		p.done, m.idle = m.idle[n-1], m.idle[:n-1]
	} else {
		p.done = make(chan struct{}, 1)
	}
	m.posts = append(m.posts, p)
	m.ring()
	return p.done
}

// recycle gives back a channel that has been received from.
func (m *mailbox) recycle(done chan struct{}) {
	m.mu.Lock()
	if len(m.idle) < maxIdleDone {
		m.idle = append(m.idle, done)
	}
	m.mu.Unlock()
}

// putChanged adds a topic to the changed ones.
func (m *mailbox) putChanged(t *topic) {
	m.mu.Lock()
	if !m.closed {
		m.changed = append(m.changed, t)
	}
	m.mu.Unlock()
	m.ring()
}

func (m *mailbox) ring() {
	select {
	case m.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// take swaps the contents for two empty slices, which the caller has emptied since the last call.
func (m *mailbox) take(posts []post, changed []*topic) ([]post, []*topic) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tookPosts, tookChanged := m.posts, m.changed
	m.posts, m.changed = posts, changed
	return tookPosts, tookChanged
}

// shut takes what is left and refuses everything from now on.
func (m *mailbox) shut() []post {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	left := m.posts
	m.posts, m.changed, m.idle = nil, nil, nil
	return left
}
