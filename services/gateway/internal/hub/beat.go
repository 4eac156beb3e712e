package hub

import "github.com/linkpulse/linkpulse/pkg/wire"

// beatSpread is over how many places the first heartbeats are spread, so that those of clients that came at once (another
// gateway was restarted) do not all fall due at once for ever after.
const beatSpread = 16

// firstBeat schedules a session's first heartbeat: in the second half of the interval from now.
func (l *loop) firstBeat(s *Session) {
	every := l.hub.beatEvery
	place := int64(l.joined*7%beatSpread) + 1 // 7 visits every place and keeps neighbours apart
	s.lastBeat = l.now
	l.after(s, l.now+every/2+every*place/(2*beatSpread), kindBeat)
}

// beat makes a session's next write carry heartbeat and ping, unless one has carried them of late.
func (l *loop) beat(s *Session) {
	if s.has(closing) || l.heed(s) {
		return
	}
	every := l.hub.beatEvery
	if l.now-s.lastBeat <= every/2 { // an update has carried it
		l.after(s, s.lastBeat+every, kindBeat)
		return
	}
	s.flags |= beatDue
	l.touch(s, true)
	l.after(s, l.now+every, kindBeat)
	if silent := l.silence(s); silent >= every {
		l.after(s, l.now-silent+wire.SilenceBeats*every, kindSilence)
	}
}

// judge drops a session whose peer has given no sign of life for two intervals: no message, no pong, and, where the
// connection was blocked, no byte taken. Being slow is none of these.
func (l *loop) judge(s *Session) {
	if l.silence(s) >= wire.SilenceBeats*l.hub.beatEvery {
		l.drop(s, dropSilent)
	}
}

// silence returns how long ago a session's peer gave the last sign of life, in milliseconds. One that came since the turn
// began is negative.
func (l *loop) silence(s *Session) int64 { return stampOf(l.now).until(stamp(s.heard.Load())) }

// drop removes a session and its connection at once.
func (l *loop) drop(s *Session, why dropReason) {
	if s.has(gone) {
		return
	}
	l.removeAll(s)
	if s.has(blocked) {
		l.hub.metrics.blocked.Dec()
	}
	s.flags |= gone
	s.unpark()
	s.conn.CloseNow()
	l.freeLane(s)
	l.sessions[s.index] = nil
	l.freeSess = append(l.freeSess, s.index)
	l.live--
	if s.said != 0 && why.condition == "" {
		why.code = wire.CloseCode(s.said)
	}
	l.hub.metrics.ended(why)
	l.settle()
}

// dropReason says why a session ended: by a close code that was said, or by a condition that leaves nothing to say.
type dropReason struct {
	code      wire.CloseCode
	condition string
}

// Ends without a close frame of ours, as the metric names them.
//
//nolint:gochecknoglobals // constants of a struct type
var (
	dropLost       = dropReason{condition: "lost"}       // a write failed
	dropSilent     = dropReason{condition: "silent"}     // no sign of life for two heartbeats
	dropUnanswered = dropReason{condition: "unanswered"} // our close frame was not answered in time
	dropStopped    = dropReason{condition: "stopped"}    // the process ended first
)
