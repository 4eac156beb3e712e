package hub

import (
	"context"
	"time"
)

// portion is how many sessions are flushed, and heartbeats handled, before the loop looks at its mailbox again. At about
// 12 µs a write this is 1.5 ms: how long a wide fan-out keeps everything else waiting.
const portion = 128

// loop is one event loop. Everything but mail, ended and the sessions' heard belongs to its goroutine.
type loop struct {
	hub   *Hub
	mail  mailbox
	ended chan struct{} // closed when the loop is over
	start time.Time     // loop time is counted from here, on the monotonic clock

	now        int64 // loop time in milliseconds, read once per turn
	unix       int64 // time of day in Unix milliseconds, likewise
	sessions   []*Session
	freeSess   []uint32
	live       int
	topics     []*topic
	freeTopics []uint32
	byLink     map[string]uint32
	wheel      wheel

	// Sessions that have something to write. What touches few sessions (an answer, a link with few subscribers) goes
	// through express, what touches many (a popular link, heartbeats, a drain) through bulk, which is served when
	// express is empty: a fan-out to ten thousand does not delay anybody else's update.
	express, bulk queue
	condemned     queue // those whose identity is good no more, and who have not been told yet
	sweep         sweep // looks for those whose identity was revoked

	posts    []post
	news     []*topic
	command  uint64 // number of the current command, see topic.mark
	joined   uint64
	drain    *drainRequest // everybody is to leave, nil: not yet
	draining bool          // and not everybody has
	scratch  scratch
	loaded   int // what approach loaded; nobody looks at it
	stats    stats
}

func newLoop(h *Hub) *loop {
	return &loop{
		hub: h, mail: newMailbox(), ended: make(chan struct{}), start: time.Now(), byLink: make(map[string]uint32),
	}
}

// clock returns the loop's time in milliseconds. It is safe for concurrent use.
func (l *loop) clock() int64 { return time.Since(l.start).Milliseconds() }

// run turns until ctx ends, then drops every session.
func (l *loop) run(ctx context.Context) {
	defer close(l.ended)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		if l.turn() {
			continue
		}
		var due <-chan time.Time
		if at, ok := l.wheel.next(); ok {
			timer.Reset(time.Until(l.start.Add(time.Duration(at) * time.Millisecond)))
			due = timer.C
		}
		select {
		case <-l.mail.wake:
		case <-due:
		case <-ctx.Done():
		}
	}
	l.abandon()
}

// turn does what is there to do, at most a portion of the writes; more tells that writes are left.
func (l *loop) turn() (more bool) {
	began := time.Now()
	l.now, l.unix = began.Sub(l.start).Milliseconds(), began.UnixMilli()
	if clock := l.hub.cfg.TimeOfDay; clock != nil {
		l.unix = clock().UnixMilli()
	}
	l.posts, l.news = l.mail.take(l.posts, l.news)
	for i := range l.posts {
		l.handle(&l.posts[i])
		l.posts[i] = post{}
	}
	l.posts = l.posts[:0]
	for _, e := range l.wheel.advance(l.now) {
		l.fire(e)
	}
	for i, t := range l.news {
		l.changed(t)
		l.news[i] = nil
	}
	l.news = l.news[:0]
	more = l.sweepSome()
	more = l.dismiss() || more
	more = l.flushPortion() || more
	l.stats.publish(l.hub.metrics, began)
	return more
}

// fire handles a wheel entry that is due.
func (l *loop) fire(e entry) {
	index := e.key >> kindBits
	if e.key&(1<<kindBits-1) == kindCap {
		if t := l.topics[index]; t.gen == e.gen {
			l.uncap(t)
		}
		return
	}
	s := l.sessions[index]
	if s == nil || s.gen != e.gen {
		return
	}
	switch e.key & (1<<kindBits - 1) {
	case kindBeat:
		l.beat(s)
	case kindSilence:
		l.judge(s)
	case kindGrace:
		if s.graceAt == e.at {
			s.flags |= answerDue
			l.touch(s, false)
		}
	case kindPace:
		if s.paceAt == e.at {
			s.paceAt = 0
			l.touch(s, false)
		}
	case kindExpire:
		if s.has(ending) && s.endAt == stampOf(e.at) {
			s.flags &^= ending
			l.heed(s)
		}
	case kindGoodbye:
		l.goodbye(s)
	case kindClose:
		l.drop(s, dropUnanswered)
	}
}

// after adds a deadline of a session.
func (l *loop) after(s *Session, at int64, kind int) { l.wheel.add(at, kind, s.index, s.gen) }

// touch puts a session in the queue of those that have something to write.
func (l *loop) touch(s *Session, wide bool) {
	switch {
	case s.has(blocked | inExpress | mute): // it will be touched when it can be written, or it is in front anyway
	case !wide:
		s.flags |= inExpress
		l.express.push(s)
	case !s.has(inBulk):
		s.flags |= inBulk
		l.bulk.push(s)
	}
}

// flushPortion writes to at most a portion of the queued sessions.
func (l *loop) flushPortion() (more bool) {
	for i := range portion {
		if i%ahead == 0 {
			l.approach()
		}
		s := l.express.pop()
		if s != nil {
			s.flags &^= inExpress
		} else if s = l.bulk.pop(); s != nil {
			s.flags &^= inBulk
		} else {
			return false
		}
		l.flush(s)
	}
	return true
}

// abandon drops every session at the end of the loop, and those that were on their way to it.
func (l *loop) abandon() {
	for _, s := range l.sessions {
		if s != nil {
			l.drop(s, dropStopped)
		}
	}
	for _, p := range l.mail.shut() {
		if p.kind == postJoin {
			p.session.conn.CloseNow()
		}
	}
	l.stats.publish(l.hub.metrics, time.Now())
}

// queue is a first-in-first-out list of sessions. A session is in it once, by its flags, so it is bounded by their number.
type queue struct {
	items []*Session
	head  int
}

func (q *queue) push(s *Session) { q.items = append(q.items, s) }

func (q *queue) empty() bool { return q.head == len(q.items) }

func (q *queue) pop() *Session {
	if q.empty() {
		q.items, q.head = q.items[:0], 0
		return nil
	}
	s := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	if q.head > 1024 && q.head > len(q.items)/2 { // never empty under load: move it to the front now and then
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	return s
}
