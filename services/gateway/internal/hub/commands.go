package hub

import (
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

const (
	// laneLimit is how much of the control lane may wait before the session's reader is made to wait. One answer may
	// go over it: `subscribed` for a thousand long links has 190 KiB.
	laneLimit = 64 << 10
	// grace is how long a `subscribed` waits for totals that are being read, in milliseconds.
	grace = int64(wire.SubscribedGrace / time.Millisecond)
	// closeGrace is how long a peer has to answer a close frame, and to take what is in front of it, in milliseconds.
	closeGrace = 2000
)

// handle takes a post.
func (l *loop) handle(p *post) {
	s := p.session
	switch {
	case p.kind == postDrain:
		l.drainAll(p.drain)
	case p.kind == postRevoke:
		l.sweep.waiting = append(l.sweep.waiting, p.revocation)
	case p.kind == postJoin:
		l.enrol(s)
	case s.has(gone):
	case p.kind == postDrained:
		l.drained(s)
	case p.kind == postGone:
		l.drop(s, dropReason{code: wire.CloseCode(p.code), condition: p.text[0]})
	case s.has(closing): // it is told nothing any more
	case p.kind == postClose:
		l.farewell(s, wire.CloseCode(p.code))
	case l.expired(s): // a refresh comes too late now
		l.condemn(s, wire.CloseUnauthenticated)
	default:
		l.answer(s) // answers go out in the order of the requests
		switch p.kind {
		case postSubscribe:
			l.subscribe(s, p.links, p.interval)
		case postUnsubscribe:
			l.unsubscribe(s, p.links)
		case postRefresh:
			l.adopt(s, p.id)
		default: // postFail
			l.fail(s, wire.ErrorCode(p.text[0]), p.text[1])
		}
	}
	if p.done == nil {
		return
	}
	if s.has(gone|closing) || len(s.lane) <= laneLimit {
		p.done <- struct{}{} // has room: one channel, one post
	} else {
		s.parked = p.done
		l.stats.parked++
	}
}

// unpark lets a waiting reader go on.
func (s *Session) unpark() {
	if s.parked != nil {
		s.parked <- struct{}{}
		s.parked = nil
	}
}

// enrol makes a session the loop's and greets it.
func (l *loop) enrol(s *Session) {
	if n := len(l.freeSess); n > 0 {
		s.index, l.freeSess = l.freeSess[n-1], l.freeSess[:n-1]
		l.sessions[s.index] = s
	} else {
		s.index = uint32(len(l.sessions)) //nolint:gosec // bounded by the limit on connections
		l.sessions = append(l.sessions, s)
	}
	l.joined++
	s.gen = uint32(l.joined) //nolint:gosec // wraps; it only tells users of one index apart
	l.live++
	l.hub.metrics.sessions.Inc()
	l.firstBeat(s)
	l.adopt(s, s.id)
	if l.drain != nil { // it came in as the drain began
		l.sentence(s)
	}
}

// subscribe makes subscriptions of links, and of those that there are, anew: their `subscribed` states the count again
// and deltas start from there. Links that the session's identity does not cover are denied.
func (l *loop) subscribe(s *Session, links []string, interval int64) {
	links, denied := l.divide(s, links)
	defer l.forget()
	l.command++
	for i := range s.subs {
		t := l.topics[s.subs[i].topic]
		t.mark, t.markSub = l.command, uint32(i)
	}
	fresh := 0
	for _, link := range links {
		if i, ok := l.byLink[link]; !ok || l.topics[i].mark != l.command {
			fresh++ // a link that is named twice counts twice: it is over the limit only in a message that is near it
		}
	}
	if len(s.subs)+fresh > wire.MaxSubscriptions {
		l.fail(s, wire.ErrTooManySubscriptions, fmt.Sprintf(
			"a connection may have %d subscriptions; it has %d and asks for %d more: unsubscribe, or open another connection",
			wire.MaxSubscriptions, len(s.subs), fresh))
		return
	}
	if interval >= 0 {
		s.pace(interval)
	}
	s.reserve(len(s.subs) + fresh)
	for _, link := range links {
		l.subscribeOne(s, link)
	}
	switch {
	case len(denied) > 0: // said at once; what is not known yet is listed as syncing
		s.lane = l.appendAnswer(l.laneOf(s), s, denied)
	case s.unknown == 0:
		s.flags |= answerDue
	default:
		s.graceAt = l.now + grace
		l.after(s, s.graceAt, kindGrace)
		return
	}
	l.touch(s, false)
}

// pace changes the least time between two updates of a link, counted from each link's last update.
func (s *Session) pace(interval int64) {
	for i := range s.subs {
		s.subs[i].next += interval - s.interval
	}
	s.interval = interval
}

// subscribeOne makes sure of a subscription and that its `subscribed` is asked for.
func (l *loop) subscribeOne(s *Session, link string) {
	t := l.join(link)
	i := t.markSub
	if t.mark != l.command {
		i = uint32(len(s.subs)) //nolint:gosec // at most wire.MaxSubscriptions
		s.subs = append(s.subs, sub{topic: t.index, told: syncing})
		t.mark, t.markSub = l.command, i
		l.enter(s, i)
		l.hub.metrics.subscriptions.Inc()
	}
	if u := &s.subs[i]; u.told != asked {
		u.told = asked
		s.dirty.remove(i) // nothing of it before its `subscribed`
		if !t.known {
			s.unknown++
		}
	}
}

// unsubscribe ends subscriptions.
func (l *loop) unsubscribe(s *Session, links []string) {
	l.command++
	for i := range s.subs {
		t := l.topics[s.subs[i].topic]
		t.mark, t.markSub = l.command, uint32(i)
	}
	for _, link := range links {
		if !s.id.Allows(link) {
			continue // it has none; and how long a look for one takes would tell whether others have
		}
		i, ok := l.byLink[link]
		if !ok || l.topics[i].mark != l.command {
			continue // it has none, which is what it asks for
		}
		t := l.topics[i]
		t.mark = 0
		l.remove(s, t.markSub)
	}
	s.lane = l.appendUnsubscribed(l.laneOf(s), links, "")
	l.touch(s, false)
}

// remove ends subscription i of a session; the last one takes its place.
func (l *loop) remove(s *Session, i uint32) {
	l.leave(&s.subs[i])
	l.hub.metrics.subscriptions.Dec()
	last := uint32(len(s.subs) - 1) //nolint:gosec // at most wire.MaxSubscriptions
	if i != last {
		moved := s.subs[last]
		s.subs[i] = moved
		t := l.topics[moved.topic]
		t.roster[moved.pos].sub = i
		t.markSub = i
	}
	s.dirty.remove(i)
	if s.dirty.has(last) { // which is now i
		s.dirty.remove(last)
		s.dirty.add(i)
	}
	s.subs = s.subs[:last]
	if last == 0 {
		s.subs, s.dirty = nil, dirtySet{}
	}
}

// removeAll ends all subscriptions of a session.
func (l *loop) removeAll(s *Session) {
	for len(s.subs) > 0 {
		l.remove(s, uint32(len(s.subs)-1)) //nolint:gosec // at most wire.MaxSubscriptions
	}
}

// reserve makes room for n subscriptions: exactly as much for a few, since bytes per connection count.
func (s *Session) reserve(n int) {
	if n > cap(s.subs) {
		if n > 64 {
			n = min(n+n/4, wire.MaxSubscriptions)
		}
		s.subs = append(make([]sub, 0, n), s.subs...)
	}
	s.dirty.reserve(cap(s.subs))
}

// answer puts the `subscribed` that is waiting, if one is, in the lane as it stands.
func (l *loop) answer(s *Session) {
	if s.graceAt != 0 || s.has(answerDue) {
		s.lane = l.appendAnswer(l.laneOf(s), s, nil)
		l.touch(s, false)
	}
}

// laneOf returns the session's lane to append to.
func (l *loop) laneOf(s *Session) []byte {
	if s.lane != nil {
		return s.lane
	}
	if n := len(l.scratch.lanes); n > 0 {
		lane := l.scratch.lanes[n-1]
		l.scratch.lanes = l.scratch.lanes[:n-1]
		return lane
	}
	return make([]byte, 0, 512)
}

// freeLane takes the lane away from a session: an idle session has none.
func (l *loop) freeLane(s *Session) {
	if cap(s.lane) > 0 && cap(s.lane) <= 4<<10 && len(l.scratch.lanes) < portion {
		l.scratch.lanes = append(l.scratch.lanes, s.lane[:0])
	}
	s.lane = nil
}

func (l *loop) ready(s *Session) {
	s.lane = l.appendReady(l.laneOf(s), s)
	l.touch(s, false)
}

func (l *loop) fail(s *Session, code wire.ErrorCode, message string) {
	s.lane = l.appendError(l.laneOf(s), code, message)
	l.touch(s, false)
}

// drained goes on with a session whose rest has been sent.
func (l *loop) drained(s *Session) {
	s.flags &^= blocked
	l.hub.metrics.blocked.Dec()
	l.touch(s, false)
}
