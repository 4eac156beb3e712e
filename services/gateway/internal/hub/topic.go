package hub

import "sync/atomic"

// topic is a link that sessions of one loop subscribed to. Changed is for the follower; the rest belongs to the loop.
type topic struct {
	loop *loop
	link string
	// dirty is set while the topic is in the mailbox's list of changed ones, or capped: a hot link then costs the
	// follower one load, and the loop not even a wake-up.
	dirty atomic.Bool

	watched  Watched
	roster   []member
	reading  Reading
	known    bool // reading is there; false while the total is being read
	released bool
	index    uint32
	gen      uint32
	spent    int64 // cap: see admit

	// The frame that was encoded last and what for. It lies in the loop's arena while arena is the arena's number.
	frame      frameRef
	frameTold  int64
	frameSeq   int64
	frameArena uint64

	// Which subscription of the session of the current command this is, while mark is the command's number.
	mark    uint64
	markSub uint32
}

// frameRef is a stretch of the arena.
type frameRef struct{ from, to int }

// member is an entry of a roster: a subscription, by its place.
type member struct{ session, sub uint32 }

// Changed tells the loop that there is a new reading. It is called under the lock of the link's partition.
func (t *topic) Changed() {
	if !t.dirty.Load() && t.dirty.CompareAndSwap(false, true) {
		t.loop.mail.putChanged(t)
	}
}

// The cap on hot links. A person sees no difference between 50 and 500 steps a second, yet each step is a write to every
// subscriber, about 12 µs of the loop. So a link has a bucket of capBurst updates that go out at once, refilled one per
// capEvery. When it is empty, the link is flushed on a grid: every capEvery if it has few subscribers, and rarer the more
// it has, such that a hot link gets about a twentieth of its loop, but at least ten times a second (capMost). The grid is
// the same for all links, so hot links that share a session share its writes too. The update at the grid point is always
// there, so the last count of a burst is at most capMost old. A link below 50 updates a second never waits.
const (
	capEvery  = 20  // ms
	capMost   = 100 // ms
	capBurst  = 25
	capMember = 240 // µs of pause per subscriber: 12 µs of work at a twentieth of a core
)

// capGap is the least time between two updates of a hot link with n subscribers, in milliseconds; a multiple of capEvery.
func capGap(n int) int64 {
	gap := (int64(n)*capMember + 999) / 1000 // rounded up to milliseconds
	return min(capMost, max(capEvery, (gap+capEvery-1)/capEvery*capEvery))
}

// admit takes a token of the topic's bucket. Without one it returns when the topic may be flushed. spent is the time up
// to which the bucket's tokens have been used: one token has come for each capEvery since.
func (t *topic) admit(now int64) (at int64, ok bool) {
	t.spent = max(t.spent, now-capBurst*capEvery)
	if now-t.spent >= capEvery {
		t.spent += capEvery
		return 0, true
	}
	gap := capGap(len(t.roster))
	return (now/gap + 1) * gap, false
}

// join returns the topic of a link, starting to watch the link if nobody of this loop does yet.
func (l *loop) join(link string) *topic {
	if i, ok := l.byLink[link]; ok {
		return l.topics[i]
	}
	t := &topic{loop: l, link: link, spent: l.now - capBurst*capEvery}
	if n := len(l.freeTopics); n > 0 {
		t.index, l.freeTopics = l.freeTopics[n-1], l.freeTopics[:n-1]
		t.gen = l.topics[t.index].gen + 1
		l.topics[t.index] = t
	} else {
		t.index = uint32(len(l.topics)) //nolint:gosec // bounded by connections times subscriptions
		l.topics = append(l.topics, t)
	}
	l.byLink[link] = t.index
	t.watched = l.hub.cfg.Counts.Watch(link, t)
	t.reading, t.known = t.watched.Read()
	l.hub.metrics.topics.Inc()
	return t
}

// enter puts a subscription on the roster of its topic.
func (l *loop) enter(s *Session, i uint32) {
	u := &s.subs[i]
	t := l.topics[u.topic]
	u.pos = uint32(len(t.roster)) //nolint:gosec // bounded by connections
	t.roster = append(t.roster, member{session: s.index, sub: i})
}

// leave takes a subscription off the roster of its topic; the last one ends the watch, and nothing is kept of the link.
func (l *loop) leave(u *sub) {
	t := l.topics[u.topic]
	last := len(t.roster) - 1
	if moved := t.roster[last]; int(u.pos) != last {
		t.roster[u.pos] = moved
		l.sessions[moved.session].subs[moved.sub].pos = u.pos
	}
	t.roster = t.roster[:last]
	if last > 0 {
		if cap(t.roster) > 64 && last < cap(t.roster)/4 {
			t.roster = append(make([]member, 0, cap(t.roster)/2), t.roster...)
		}
		return
	}
	t.released = true
	t.roster = nil
	t.watched.Release(t)
	delete(l.byLink, t.link)
	l.freeTopics = append(l.freeTopics, t.index)
	l.hub.metrics.topics.Dec()
}

// changed handles a topic from the mailbox: it spreads the news, or makes it wait if the link is hot.
func (l *loop) changed(t *topic) {
	if t.released {
		return
	}
	if t.known { // nobody waits longer for a first count because a link is hot
		if at, ok := t.admit(l.now); !ok {
			// It stays dirty, so that it does not come again before.
			l.wheel.add(at, kindCap, t.index, t.gen)
			return
		}
	}
	l.spread(t)
}

// uncap handles the wheel entry of a capped topic: the trailing update. It spends all that came into the bucket while
// the topic waited, so a link stays hot for as long as its next change comes within capEvery of its last update.
func (l *loop) uncap(t *topic) {
	if t.released {
		return
	}
	t.spent = l.now
	l.spread(t)
}

// wideRoster is from how many subscribers on a topic's flush goes through the bulk queue.
const wideRoster = 64

// spread reads a topic and marks what its subscribers are owed. dirty is cleared before the reading, so that a change
// which this reading misses comes again.
func (l *loop) spread(t *topic) {
	t.dirty.Store(false)
	knew := t.known
	t.reading, t.known = t.watched.Read()
	if !knew && !t.known {
		return
	}
	wide := len(t.roster) > wideRoster
	for _, m := range t.roster {
		s := l.sessions[m.session]
		u := &s.subs[m.sub]
		switch {
		case !t.known: // lost its total again: whoever waits for a `subscribed` waits for this link too
			if u.told == asked {
				s.unknown++
			}
		case u.live():
			if u.told != t.reading.Count {
				l.mark(s, m.sub)
				l.touch(s, wide)
			}
		case u.told == syncing:
			u.told = asked
			l.landed(s, wide)
		case !knew: // asked
			s.unknown--
			l.landed(s, wide)
		}
	}
	if t.known && t.reading.At > 0 {
		l.hub.metrics.clickToFlush.Observe(float64(l.unix-t.reading.At) / 1000)
	}
}

// landed makes the session's `subscribed` go out if it waits for no other total.
func (l *loop) landed(s *Session, wide bool) {
	if s.unknown == 0 {
		s.flags |= answerDue
		l.touch(s, wide)
	}
}

// mark makes a subscription dirty.
func (l *loop) mark(s *Session, i uint32) {
	if s.dirty.has(i) {
		l.stats.conflated++
	}
	s.dirty.add(i)
}
