package hub

import (
	"slices"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// adopt makes id the identity of a session, ends what it does not cover, and says `ready`.
func (l *loop) adopt(s *Session, id *auth.Identity) {
	s.id = id
	if l.revoked(id) {
		l.condemn(s, wire.CloseRevoked)
		return
	}
	if l.heed(s) {
		return
	}
	l.withdraw(s)
	l.ready(s)
}

// left returns how many milliseconds of the time of day are left until a session's identity ends; false: it never does.
func (l *loop) left(s *Session) (ms int64, ends bool) {
	at := s.id.Ends()
	if at.IsZero() {
		return 0, false
	}
	return at.UnixMilli() - l.unix, true
}

// expired tells whether a session's identity has ended. Its entry in the wheel may not have been looked at yet.
func (l *loop) expired(s *Session) bool {
	ms, ends := l.left(s)
	return ends && ms <= 0
}

// heed sees to it that a session ends when its identity does: at once, which it tells; by an entry in the wheel, where that is
// before the next heartbeat; and not at all otherwise, since every heartbeat heeds again. So an identity that is good for
// hours takes no memory, and one that is replaced in time leaves nothing behind. An identity ends by the time of day, and the
// wheel turns by the monotonic clock, so neither the entry nor the lack of one says that it has ended or has not: only the
// comparison here does. Where the time of day jumps ahead, sessions end a heartbeat later at most, and where it jumps back,
// they go on.
func (l *loop) heed(s *Session) (ended bool) {
	ms, ends := l.left(s)
	switch {
	case !ends || ms > l.hub.beatEvery: // no heartbeat is further away than that
		return false
	case ms <= 0:
		l.condemn(s, wire.CloseUnauthenticated)
		return true
	}
	if s.has(ending) && s.endAt.until(stampOf(l.now+ms)) <= 0 {
		return false // that one fires first, and heeds again
	}
	s.flags |= ending
	s.endAt = stampOf(l.now + ms)
	l.after(s, l.now+ms, kindExpire)
	return false
}

// divide returns which of links a session's identity covers, and which not. It comes before anything else is done with a
// link: what is denied is not looked for, so neither the answer nor the time that it takes depends on whether somebody has
// clicked or watches it. Both are valid until forget.
func (l *loop) divide(s *Session, links []string) (covered, denied []string) {
	sc := &l.scratch
	for _, link := range links {
		if s.id.Allows(link) {
			sc.covered = append(sc.covered, link)
		} else {
			sc.denied = append(sc.denied, link)
		}
	}
	l.hub.metrics.denied.Add(float64(len(sc.denied)))
	return sc.covered, sc.denied
}

// forget empties the lists of links, and keeps nothing of what a client sent.
func (l *loop) forget() {
	sc := &l.scratch
	clear(sc.covered)
	clear(sc.denied)
	sc.covered, sc.denied = sc.covered[:0], sc.denied[:0]
}

// withdraw ends the subscriptions that a session's identity does not cover. No `subscribed` waits when it is called, so all
// there are were told of: as live or as syncing. The message has room for all that a session may have: 131 KB of
// [wire.MaxServerMessage].
func (l *loop) withdraw(s *Session) {
	sc := &l.scratch
	for i, u := range slices.Backward(s.subs) { // the last one takes the place of one that ends: it has been looked at
		if link := l.topics[u.topic].link; !s.id.Allows(link) {
			sc.denied = append(sc.denied, link)
			l.remove(s, uint32(i)) //nolint:gosec // at most wire.MaxSubscriptions
		}
	}
	if len(sc.denied) == 0 {
		return
	}
	l.hub.metrics.withdrawn.Add(float64(len(sc.denied)))
	s.lane = l.appendUnsubscribed(l.laneOf(s), sc.denied, wire.ReasonGrant)
	l.forget()
}
