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
	kindExpire         // a session's identity may have ended

	kindBits = 3
)

// entry is a deadline. Entries are never taken back: whoever receives one looks whether it still means something. gen
// is that of the session or topic that it was made for, since indexes are used again.
type entry struct {
	at  int64 // milliseconds of the loop's clock
	key uint32
	gen uint32
}

const (
	// windowBits: a window has 1024 milliseconds, a slot each.
	windowBits = 10
	windowSize = 1 << windowBits
	// windows is how many windows ahead have a slot of their own, about a minute; the heartbeat's is among them. A
	// deadline that is further away shares the slot of a nearer one and is put back when that one's turn comes.
	windows = 64
)

// wheel is a timer wheel of two rings: the milliseconds of the present window, and the windows to come, whose entries are
// dealt out to the milliseconds when their turn comes. Adding and firing are O(1), and a loop needs one runtime timer
// however many sessions it has, which wakes it only when something is due, and once per window that has entries. A slot
// is a list through one slice of nodes, so that memory is that of the entries there are: a slice per slot would keep the
// largest burst of each. It is not safe for concurrent use.
type wheel struct {
	now    int64 // all slots up to here have been looked at
	window int64 // the present window: the milliseconds [window, window+1) << windowBits

	slots    [windowSize]uint32      // first node of each millisecond of the present window, 0: none
	occupied [windowSize / 64]uint64 // which of them have entries
	ahead    [windows]uint32         // first node of each later window, by its number modulo windows
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
	w.nodes[n].entry = entry{at: at, key: index<<kindBits | uint32(kind), gen: gen} //nolint:gosec // kind is one of the constants above
	w.put(n)
}

// put puts a node in the list of its time, which is not in the past.
func (w *wheel) put(n uint32) {
	at := w.nodes[n].at
	slot := &w.ahead[(at>>windowBits)%windows]
	if at>>windowBits == w.window {
		i := at % windowSize
		slot = &w.slots[i]
		w.occupied[i/64] |= 1 << (i % 64)
	}
	w.nodes[n].next = *slot
	*slot = n
}

// advance moves the wheel to now and returns what has become due, in the order of milliseconds. The slice is valid until
// the next call.
func (w *wheel) advance(now int64) []entry {
	w.due = w.due[:0]
	for w.now < now {
		last := w.window<<windowBits | (windowSize - 1)
		for i, ok := w.first(); ok && w.window<<windowBits|i <= now; i, ok = w.first() {
			w.collect(i)
		}
		w.now = min(now, last)
		if now > last {
			w.turn()
		}
	}
	return w.due
}

// collect moves the entries of a slot to w.due and frees their nodes.
func (w *wheel) collect(i int64) {
	for n := w.slots[i]; n != 0; {
		w.due = append(w.due, w.nodes[n].entry)
		n, w.nodes[n].next, w.free = w.nodes[n].next, w.free, n
	}
	w.slots[i] = 0
	w.occupied[i/64] &^= 1 << (i % 64)
}

// turn makes the next window the present one and deals its entries out.
func (w *wheel) turn() {
	w.window++
	slot := &w.ahead[w.window%windows]
	n := *slot
	*slot = 0
	for n != 0 {
		next := w.nodes[n].next
		w.put(n)
		n = next
	}
}

// first returns the first slot of the present window that has entries. Slots up to now have none.
func (w *wheel) first() (slot int64, ok bool) {
	for i, m := range w.occupied {
		if m != 0 {
			return int64(i*64 + bits.TrailingZeros64(m)), true
		}
	}
	return 0, false
}

// next returns when to advance next: the time of the next deadline if it is in the present window, otherwise the start of
// a window that has entries. false: there is no entry.
func (w *wheel) next() (at int64, ok bool) {
	if i, ok := w.first(); ok {
		return w.window<<windowBits | i, true
	}
	for k := int64(1); k <= windows; k++ {
		if w.ahead[(w.window+k)%windows] != 0 {
			return (w.window + k) << windowBits, true
		}
	}
	return 0, false
}
