package hub

import (
	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// Revoke ends the sessions whose identity match matches: they are told token_revoked and closed with 4403. It returns when
// every session that there was has been looked at, or the hub's Run is over. From then on none that matches is sent anything
// but that; they are told a few at a time, so that the others do not wait for it.
//
// A session that joins or refreshes meanwhile may be missed by it, and is not by [Config.Revoked], which looks at every
// identity when it becomes a session's. So what that looks at has to know of a revocation before Revoke is called: then an
// identity that the one has found good is a session's that the other finds.
//
// match is called by the loops, concurrently and once per session: it must be quick and must not call the hub. Revoke waits for
// Run, so it must not be called by what Run waits for.
func (h *Hub) Revoke(match func(id *auth.Identity) bool) {
	requests := make([]*revocation, len(h.loops))
	for i, l := range h.loops {
		requests[i] = &revocation{match: match, done: make(chan struct{})}
		l.mail.put(post{kind: postRevoke, revocation: requests[i]}) // if nobody takes it any more, the loop has ended
	}
	for i, l := range h.loops {
		select {
		case <-requests[i].done:
		case <-l.ended:
		}
	}
}

// revocation asks a loop to look at its sessions.
type revocation struct {
	match func(id *auth.Identity) bool
	done  chan struct{} // closed when it has looked at all of them
}

// sweepPortion is how many sessions are looked at per turn. Most of it is waiting for the memory of a session and its identity:
// 0.1 to 0.3 ms for all of these, where a turn of writes takes 1.5.
const sweepPortion = 1024

// sweep is a walk through the sessions of a loop, for all revocations that were asked for before it began.
type sweep struct {
	waiting []*revocation // asked for since
	active  []*revocation // empty: there is no walk
	next    int           // the session to be looked at next
}

// sweepSome looks at the next portion of the sessions; more tells that some are left. Sessions that come meanwhile were found good
// by Config.Revoked after the revocations were known, so it does not matter which side of the walk they come to.
func (l *loop) sweepSome() (more bool) {
	w := &l.sweep
	if len(w.active) == 0 {
		if len(w.waiting) == 0 {
			return false
		}
		w.active, w.waiting, w.next = w.waiting, w.active, 0
	}
	end := min(w.next+sweepPortion, len(l.sessions))
	for _, s := range l.sessions[w.next:end] {
		if s != nil && w.matches(s.id) {
			l.condemn(s, wire.CloseRevoked)
		}
	}
	w.next = end
	if end < len(l.sessions) {
		return true
	}
	for i, r := range w.active {
		close(r.done)
		w.active[i] = nil
	}
	w.active = w.active[:0]
	return len(w.waiting) > 0
}

func (w *sweep) matches(id *auth.Identity) bool {
	for _, r := range w.active {
		if r.match(id) {
			return true
		}
	}
	return false
}

// revoked tells whether an identity was revoked before it became a session's.
func (l *loop) revoked(id *auth.Identity) bool {
	revoked := l.hub.cfg.Revoked
	return revoked != nil && revoked(id)
}
