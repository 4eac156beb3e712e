package hub

import (
	"math/bits"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// dirtySet is the set of a session's subscriptions that have something to tell, by their index. The first 64, which is
// more than most sessions have, need no memory of their own.
type dirtySet struct {
	low  uint64
	high *[highWords]uint64 // of those from 64 on, nil: there is no room for any
}

// highWords is how many words the other subscriptions of a session need at most.
const highWords = (wire.MaxSubscriptions - 1) / 64

// reserve makes room for n subscriptions, at most wire.MaxSubscriptions.
func (d *dirtySet) reserve(n int) {
	if n > 64 && d.high == nil {
		d.high = new([highWords]uint64)
	}
}

// word returns the word that holds bit i.
func (d *dirtySet) word(i uint32) *uint64 {
	if i < 64 {
		return &d.low
	}
	return &d.high[i/64-1]
}

func (d *dirtySet) has(i uint32) bool { return *d.word(i)>>(i%64)&1 != 0 }
func (d *dirtySet) add(i uint32)      { *d.word(i) |= 1 << (i % 64) }
func (d *dirtySet) remove(i uint32)   { *d.word(i) &^= 1 << (i % 64) }

// next returns the first one from i on.
func (d *dirtySet) next(i uint32) (uint32, bool) {
	if i < 64 {
		if m := d.low >> i; m != 0 {
			return i + uint32(bits.TrailingZeros64(m)), true //nolint:gosec // below 64
		}
		i = 64
	}
	for d.high != nil && i/64-1 < highWords {
		if m := d.high[i/64-1] >> (i % 64); m != 0 {
			return i + uint32(bits.TrailingZeros64(m)), true //nolint:gosec // below 64
		}
		i = i/64*64 + 64
	}
	return 0, false
}
