package bots

import (
	"hash/maphash"
	"sync/atomic"
)

// cacheSize is how many verdicts are kept: 64 KiB. Real traffic repeats some thousand user agents.
const cacheSize = 1 << 13

// cache keeps the verdicts of recent user agents in an array of fixed size: no lock, no list, nothing that grows.
//
// A slot holds 63 bits of the user agent's hash and the verdict in the lowest bit. Two user agents of one slot evict
// each other, which is all the eviction there is. Two that agree in all 63 bits would share a verdict; the hash is
// keyed by a seed of this process, so nobody can look for such a pair, and by chance one in 2^63 is.
type cache struct {
	seed  maphash.Seed
	slots [cacheSize]atomic.Uint64
}

func newCache() *cache { return &cache{seed: maphash.MakeSeed()} }

func (c *cache) hash(ua []byte) uint64 { return maphash.Bytes(c.seed, ua) }

// The slot is taken from the upper bits, so that the bit that makes room for the verdict is not missed in it.
func (c *cache) slot(h uint64) *atomic.Uint64 { return &c.slots[h>>51%cacheSize] }

func (c *cache) get(h uint64) (bot, ok bool) {
	v := c.slot(h).Load()
	return v&1 == 1, v>>1 == h>>1
}

func (c *cache) put(h uint64, bot bool) {
	v := h &^ 1
	if bot {
		v |= 1
	}
	c.slot(h).Store(v)
}
