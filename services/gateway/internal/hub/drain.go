package hub

import (
	"math/rand/v2"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// reconnectSpread is over how long clients that were told goodbye are asked to spread their return, in milliseconds, on
// top of the spread of the goodbyes themselves.
const reconnectSpread = 1000

// drainRequest asks a loop to send its sessions away.
type drainRequest struct {
	reason string
	over   int64         // milliseconds over which the goodbyes are spread
	gone   chan struct{} // closed when the loop has no session left
}

// drainAll draws a moment for each session's goodbye.
func (l *loop) drainAll(d *drainRequest) {
	if l.drain != nil { // the first one stands
		close(d.gone)
		return
	}
	l.drain, l.draining = d, true
	for _, s := range l.sessions {
		if s != nil {
			l.sentence(s)
		}
	}
	l.settle()
}

// sentence schedules a session's goodbye.
func (l *loop) sentence(s *Session) {
	l.after(s, l.now+jitter(l.drain.over), kindGoodbye)
}

// settle tells who waits for the drain that no session is left.
func (l *loop) settle() {
	if l.draining && l.live == 0 {
		l.draining = false
		close(l.drain.gone)
	}
}

// goodbye tells a session where it stands and closes it.
func (l *loop) goodbye(s *Session) {
	if s.has(closing) {
		return
	}
	l.answer(s)
	s.lane = l.appendGoodbye(l.laneOf(s), l.drain.reason, jitter(reconnectSpread))
	l.farewell(s, wire.CloseServiceRestart)
}

// farewell puts a close frame in the lane. The peer has closeGrace to answer it; nothing is written behind it.
func (l *loop) farewell(s *Session, code wire.CloseCode) {
	s.lane = l.appendClose(l.laneOf(s), code)
	s.flags |= closing
	s.said = uint16(code)
	s.unpark()
	l.touch(s, true)
	l.after(s, l.now+closeGrace, kindClose)
}

// jitter returns a number in [0, n).
func jitter(n int64) int64 {
	if n <= 0 {
		return 0
	}
	return rand.Int64N(n) //nolint:gosec // spreads load; nothing depends on it being hard to guess
}
