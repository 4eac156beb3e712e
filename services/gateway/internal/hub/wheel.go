package hub

import "math/bits"

// What a wheel entry is about; it sits in the low bits of its key, above it the index of a session or topic.
const (
	kindBeat    = iota // a session's heartbeat is due
	kindSilence        // a session has been silent for so long that it may be dead
	kindGrace          // a session's `subscribed` has waited long enough for totals
	kindPace           // a session's paced subscriptions may be due
	kindGoodbye        // a session is to be drained
	kindClose          // a closing session's time to answer is over
	kindCap            // a hot topic may be flushed again

	kindBits = 3
)

// entry is a deadline. Entries are never taken back: whoever receives one looks whether it still means something. gen
// is that of the session or topic that it was made for, since indexes are used again.
type entry struct {
	at  int64 // milliseconds of the loop's clock
	key uint32
	gen uint32
}

// wheelSlots is how many slots of a millisecond a wheel has. A deadline that is further away than one turn stays in its
// slot and is looked at once a turn, which for a heartbeat of 15 s is 15 looks of some nanoseconds.
const wheelSlots = 1024

// wheel is a timer wheel with millisecond slots: adding and firing are O(1), and a loop needs one runtime timer however
// many sessions it has. A slot is a list through one slice of nodes, so that memory is that of the entries there are: a
// slice per slot would keep the largest burst of each. It is not safe for concurrent use.
type wheel struct {
	now      int64                   // all slots up to here have been looked at
	slots    [wheelSlots]uint32      // first node of each, 0: none
	occupied [wheelSlots / 64]uint64 // which slots have entries
	nodes    []node                  // the first one is not used, so that 0 can mean none
	free     uint32                  // first node that is not used, 0: none
	due      []entry
}

// node is an entry in the list of its slot.
type node struct {
	entry
	next uint32
}

// add sets a deadline. One that has passed fires at the next millisecond.
func (w *wheel) add(at int64, kind int, index, gen uint32) {
	at = max(at, w.now+1)
	n := w.free
	if n != 0 {
		w.free = w.nodes[n].next
	} else {
		if len(w.nodes) == 0 {
			w.nodes = append(w.nodes, node{})
		}
		n = uint32(len(w.nodes)) //nolint:gosec // a few for each session and topic
		w.nodes = append(w.nodes, node{})
	}
	i := at % wheelSlots
	w.nodes[n] = node{entry: entry{at: at, key: index<<kindBits | uint32(kind), gen: gen}, next: w.slots[i]} //nolint:gosec // kind is one of the constants above
	w.slots[i] = n
	w.occupied[i/64] |= 1 << (i % 64)
}

// advance moves the wheel to now and returns what has become due, in slot order. The slice is valid until the next call.
func (w *wheel) advance(now int64) []entry {
	w.due = w.due[:0]
	if now <= w.now {
		return w.due
	}
	from, n := w.now+1, min(now-w.now, wheelSlots)
	w.now = now
	for d := w.distance(from); d < n; d = w.distance(from) {
		from += d
		n -= d
		w.collect(from % wheelSlots)
		from++
		n--
	}
	return w.due
}

// collect moves the due entries of a slot to w.due and frees their nodes.
func (w *wheel) collect(i int64) {
	kept := uint32(0)
	for n := w.slots[i]; n != 0; {
		next := w.nodes[n].next
		if w.nodes[n].at <= w.now {
			w.due = append(w.due, w.nodes[n].entry)
			w.nodes[n].next, w.free = w.free, n
		} else {
			w.nodes[n].next, kept = kept, n
		}
		n = next
	}
	w.slots[i] = kept
	if kept == 0 {
		w.occupied[i/64] &^= 1 << (i % 64)
	}
}

// next returns the time of the next slot with an entry; false when there is none.
func (w *wheel) next() (int64, bool) {
	d := w.distance(w.now + 1)
	return w.now + 1 + d, d < wheelSlots
}

// distance returns how many slots lie between that of the time from and the first one with an entry at or after it,
// wheelSlots when all are empty.
func (w *wheel) distance(from int64) int64 {
	start := from % wheelSlots
	const words = wheelSlots / 64
	for k := range int64(words + 1) {
		word := (start/64 + k) % words
		m := w.occupied[word]
		switch k {
		case 0:
			m &= ^uint64(0) << (start % 64)
		case words: // the lower part of the first word, a turn later
			m &= 1<<(start%64) - 1
		}
		if m != 0 {
			at := word*64 + int64(bits.TrailingZeros64(m))
			return (at - start + wheelSlots) % wheelSlots
		}
	}
	return wheelSlots
}
