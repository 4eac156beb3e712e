package hub

import (
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// dismissals is how many sessions are told per turn that their identity is good no more. Tokens that were issued in the same
// second expire in the same millisecond, and a revocation may end twenty thousand sessions: that many writes in a row would keep
// all other updates waiting for a quarter of a second. This is a quarter of the writes of a turn.
const dismissals = portion / 4

// condemn ends a session whose identity is good no more. From here on it is sent nothing but why, when its turn comes, and not
// what waited in its lane either: only what the connection has taken already is on its way. code is 4401 for an identity that
// expired and 4403 for one that was revoked.
func (l *loop) condemn(s *Session, code wire.CloseCode) {
	if s.has(closing | gone) {
		return
	}
	s.flags |= closing | mute
	s.said = uint16(code)
	l.freeLane(s)
	s.unpark()
	l.condemned.push(s)
	l.hub.metrics.evicted[evictionOf(code)].Inc()
}

// dismiss tells condemned sessions why they end; more tells that some are left.
func (l *loop) dismiss() (more bool) {
	for range dismissals {
		s := l.condemned.pop()
		if s == nil {
			return false
		}
		if s.has(gone) {
			continue
		}
		s.flags &^= mute
		l.removeAll(s) // what changes need not pass by it until its peer has gone
		why := evictionOf(wire.CloseCode(s.said))
		s.lane = l.appendError(l.laneOf(s), why.code(), why.message())
		l.farewell(s, wire.CloseCode(s.said))
	}
	return !l.condemned.empty()
}

// eviction is why sessions end whose peers did nothing wrong.
type eviction uint8

const (
	evictedExpired eviction = iota
	evictedRevoked
	evictions
)

// evictionOf returns which one a close code tells of.
func evictionOf(code wire.CloseCode) eviction {
	if code == wire.CloseRevoked {
		return evictedRevoked
	}
	return evictedExpired
}

// String names it as the metric does.
func (e eviction) String() string { return [...]string{"expired", "revoked"}[e] }

func (e eviction) code() wire.ErrorCode {
	return [...]wire.ErrorCode{wire.ErrTokenExpired, wire.ErrTokenRevoked}[e]
}

func (e eviction) message() string {
	return [...]string{
		"the token has expired: connect again with a new one, and send another auth before expires_at next time",
		"the token was revoked: connect again with another one",
	}[e]
}
