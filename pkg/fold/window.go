package fold

import (
	"bytes"
	"hash/maphash"
	"math/bits"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// window holds the last D records: a ring indexed by offset mod D, and hash chains over it as in a Lempel-Ziv compressor
// (RFC 1951, section 4; zlib's head and prev). Nothing is ever removed from a chain: its links go back in offsets, so the
// walk ends by itself at the first one that is older than the window, and the record that overwrites a slot is the one
// whose window no longer covers it.
type window struct {
	ring []entry
	// heads holds, by the low bits of a key's hash, 1 + the offset of the newest record there; 0 is none.
	heads []int64
	// keys holds the bytes of the entries' keys: 16 bytes of event id, then the link.
	keys arena

	position int64
	slot     int // position mod D, kept so that no record costs a division

	// seed keys the hash: who may choose event ids must not be able to choose collisions.
	seed    maphash.Seed
	scratch [len(click.ID{}) + click.MaxLinkLen]byte
}

// entry is a slot of the ring. It has no pointers, so the collector does not look at rings.
type entry struct {
	time int64
	at   uint32 // where the key lies in the arena
	tag  uint32 // high half of the key's hash, so that most chain steps do not touch the arena
	prev uint32 // how many offsets back the chain goes on; 0: it ends
	size uint8  // of the key; 0: no click is here (a hole, poison, never written)

	flags uint8
}

const (
	flagCounted uint8 = 1 << iota
	flagBot
)

func newWindow(size int) window {
	return window{
		ring:  make([]entry, size),
		heads: make([]int64, 1<<bits.Len(uint(size))), // more than size: chains are short
		seed:  maphash.MakeSeed(),
	}
}

func (w *window) size() int64 { return int64(len(w.ring)) }

func (w *window) reset(from int64) {
	if w.keys.head > 0 { // else nothing was written, and the memory of an idle fold is best never touched
		clear(w.ring)
		clear(w.heads)
		w.keys.reset()
	}
	w.position = from
	w.slot = int(from % w.size())
}

// at returns the slot of an offset of the window.
func (w *window) at(offset int64) *entry { return w.back(w.position - offset) }

// back returns the slot distance offsets behind the position; distance is 1 to D.
func (w *window) back(distance int64) *entry {
	i := w.slot - int(distance)
	if i < 0 {
		i += len(w.ring)
	}
	return &w.ring[i]
}

func (w *window) link(e *entry) []byte {
	return w.keys.bytes(e)[len(click.ID{}):]
}

func (w *window) keyOf(id click.ID, link []byte) []byte {
	n := copy(w.scratch[:], id[:])
	n += copy(w.scratch[n:], link)
	return w.scratch[:n]
}

// chain makes the record at the position the newest of its chain. It returns the tag of the key and how many offsets back
// the chain goes on, 0 where nothing of it is in the window.
func (w *window) chain(key []byte) (tag, prev uint32) {
	h := maphash.Bytes(w.seed, key)
	head := &w.heads[int(h)&(len(w.heads)-1)] //nolint:gosec // masked
	if d := w.position + 1 - *head; *head != 0 && d <= w.size() {
		prev = uint32(d) //nolint:gosec // 1 to MaxWindow
	}
	*head = w.position + 1
	return uint32(h >> 32), prev
}

// seen tells whether the window holds a record with this key whose time is less than within from e's. It compares whole
// keys, and it looks at every occurrence: times need not be in order.
func (w *window) seen(e *entry, key []byte, within uint64) bool {
	step := e.prev
	for d := int64(0); step != 0; {
		d += int64(step)
		if d > w.size() {
			return false
		}
		o := w.back(d)
		if o.tag == e.tag && apart(o.time, e.time) < within && bytes.Equal(w.keys.bytes(o), key) {
			return true
		}
		step = o.prev
	}
	return false
}

// apart is the distance of two times, right for any two: timestamps may be a foreign producer's.
func apart(a, b int64) uint64 {
	if a < b {
		a, b = b, a
	}
	return uint64(a) - uint64(b) //nolint:gosec // two's complement: the difference of any two int64 fits
}

// push writes the record at the position and moves on.
func (w *window) push(e entry, key []byte) *entry {
	slot := &w.ring[w.slot]
	w.free(slot)
	e.size = uint8(len(key)) //nolint:gosec // at most 144
	for {
		at, ok := w.keys.put(key)
		if ok {
			e.at = at
			break
		}
		w.grow()
	}
	*slot = e
	w.advance()
	return slot
}

// pushNothing leaves the position's slot empty and moves on.
func (w *window) pushNothing() {
	w.free(&w.ring[w.slot])
	w.advance()
}

func (w *window) free(e *entry) {
	w.keys.drop(e)
	*e = entry{}
}

func (w *window) advance() {
	w.position++
	if w.slot++; w.slot == len(w.ring) {
		w.slot = 0
	}
}

func (w *window) skip(next int64) {
	if next-w.position >= w.size() {
		w.reset(next)
		return
	}
	for w.position < next {
		w.pushNothing()
	}
}

// grow doubles the arena, keeping the order of the keys.
func (w *window) grow() {
	larger := w.keys.larger()
	for i := range w.ring {
		e := &w.ring[(w.slot+i)%len(w.ring)] // the slot of the position is the oldest
		if e.size != 0 {
			e.at, _ = larger.put(w.keys.bytes(e)) // it has twice the room
		}
	}
	w.keys = larger
}

// arena is a FIFO of byte strings in one buffer that is reused for ever: what was put first is dropped first. A string
// that would cross the end of the buffer starts at its beginning instead, so each lies in one piece.
type arena struct {
	buf []byte // its length is a power of two, or 0 before the first growth
	// put and dropped count bytes since ever, skipped ones included; mod len(buf) they are places in buf.
	head, tail uint64
}

const minArena = 4 << 10

func (a *arena) reset() { a.head, a.tail = 0, 0 }

func (a *arena) larger() arena {
	return arena{buf: make([]byte, max(minArena, 2*len(a.buf)))}
}

func (a *arena) bytes(e *entry) []byte { return a.buf[e.at:][:e.size] }

// put copies key in and says where; false: there is no room.
func (a *arena) put(key []byte) (at uint32, ok bool) {
	size, n := uint64(len(a.buf)), uint64(len(key))
	if size == 0 {
		return 0, false
	}
	head := a.head
	place := head & (size - 1)
	if place+n > size {
		head += size - place
		place = 0
	}
	if head+n-a.tail > size {
		return 0, false
	}
	copy(a.buf[place:], key)
	a.head = head + n
	return uint32(place), true // MaxWindow keeps the arena below 4 GiB
}

// drop frees the oldest key, which is e's. What was skipped before it at the buffer's end goes with it.
func (a *arena) drop(e *entry) {
	if e.size != 0 {
		a.tail += (uint64(e.at)-a.tail)&uint64(len(a.buf)-1) + uint64(e.size) //nolint:gosec // modular arithmetic
	}
}
