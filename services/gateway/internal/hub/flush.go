package hub

// chunk is how many bytes of updates one write gathers. It is more than a dashboard of a hundred links needs, and it
// bounds what a stalled connection keeps: the rest of one write. Everything else that it is owed stays state.
const chunk = 16 << 10

// flush writes what a session is owed: its lane, its answer, an update per dirty subscription, heartbeat and ping. It is
// one write, unless there is more than a chunk of updates.
func (l *loop) flush(s *Session) {
	for more := true; more && !s.has(gone|blocked); {
		buf := l.scratch.gather[:0]
		if len(s.lane) > 0 {
			buf = append(buf, s.lane...)
			l.freeLane(s)
		}
		more = false
		if !s.has(closing) {
			if s.has(answerDue) {
				buf = l.appendAnswer(buf, s, nil)
			}
			before := len(buf)
			buf, more = l.appendUpdates(buf, s)
			// An update that goes out late in the interval carries the heartbeat along: it saves a write of its own.
			if s.has(beatDue) || len(buf) > before && l.now-s.lastBeat >= l.hub.beatEvery/2 {
				buf = l.appendBeat(buf, s)
			}
		}
		l.scratch.gather = buf
		if len(buf) > 0 {
			l.write(s, buf)
		}
	}
	if s.parked != nil && len(s.lane) <= laneLimit {
		s.unpark()
	}
}

// write gives bytes to the connection.
func (l *loop) write(s *Session, buf []byte) {
	rest, err := s.conn.TryWrite(buf, s.has(closing))
	l.stats.writes++
	l.stats.bytes += len(buf)
	switch {
	case err != nil:
		l.drop(s, dropLost)
	case rest:
		s.flags |= blocked
		l.hub.metrics.blocked.Inc()
		l.stats.stalls++
	}
}

// appendUpdates appends the update of each dirty subscription that may go out now. more tells that the chunk was full.
func (l *loop) appendUpdates(buf []byte, s *Session) (_ []byte, more bool) {
	frames, wait := 0, int64(0)
	for i, ok := s.dirty.next(0); ok; i, ok = s.dirty.next(i + 1) {
		u := &s.subs[i]
		t := l.topics[u.topic]
		if !t.known || t.reading.Count == u.told { // not known: it comes again with its total
			s.dirty.remove(i)
			continue
		}
		if s.interval > 0 && l.now < u.next {
			if wait == 0 || u.next < wait {
				wait = u.next
			}
			continue
		}
		if len(buf) >= chunk {
			l.stats.countFrames(frames)
			return buf, true
		}
		s.dirty.remove(i)
		buf = append(buf, l.frame(t, u.told)...)
		u.told, u.next = t.reading.Count, l.now+s.interval
		frames++
	}
	if wait != 0 && (s.paceAt == 0 || wait < s.paceAt) {
		s.paceAt = wait
		l.after(s, wait, kindPace)
	}
	l.stats.countFrames(frames)
	return buf, false
}
