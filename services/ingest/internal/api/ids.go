package api

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// minter makes event ids for clicks that were sent without one: UUIDv7 (RFC 9562 section 5.7) with the time at which
// the request was received. The randomness of a whole request is asked for at once, because asking is what costs.
type minter struct {
	random []byte
	used   int // bytes of random
	timeMs int64
}

// randomPerID is what an id takes of randomness, its version and variant bits included.
const randomPerID = 10

// begin makes ready for n ids of a request.
func (m *minter) begin(n int, timeMs int64) {
	n *= randomPerID
	if cap(m.random) < n {
		m.random = make([]byte, n)
	}
	m.random, m.used, m.timeMs = m.random[:n], 0, timeMs
	_, _ = rand.Read(m.random) // crypto/rand.Read fills it whole or ends the process
}

// mint returns the next id.
func (m *minter) mint() (id click.ID) {
	binary.BigEndian.PutUint64(id[:8], uint64(m.timeMs)<<16) //nolint:gosec // Unix milliseconds are positive and fit 48 bits
	m.used += copy(id[6:], m.random[m.used:])
	id[6] = id[6]&0x0f | 0x70 // version 7
	id[8] = id[8]&0x3f | 0x80 // variant of RFC 9562
	return id
}
