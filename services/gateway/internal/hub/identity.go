package hub

import (
	"slices"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// adopt makes id the identity of a session, ends what it does not cover, and says `ready`.
func (l *loop) adopt(s *Session, id *auth.Identity) {
	s.id = id
	l.withdraw(s)
	l.ready(s)
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
