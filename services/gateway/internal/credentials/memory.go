package credentials

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

const (
	// rememberFor is how long a token is not verified again. It is how long a key that was taken away still opens, and 59
	// of 60 polls of a client that polls each second.
	rememberFor = time.Minute
	// maxYoung is how many tokens of a time are remembered, twice that in all. An identity is no larger than the claims of
	// its token: 3 KiB at the worst, a few hundred bytes as a rule, so it is about a megabyte.
	maxYoung = 2000
)

// key stands for a token. The token itself is not kept.
type key [sha256.Size]byte

func keyOf(token string) key { return sha256.Sum256([]byte(token)) }

// memory is the tokens that were verified. The zero value remembers none. It is safe for concurrent use.
//
// It forgets by generations: when the young one is full, or old, it becomes the old one, and what was old is gone. That is
// two maps and no list, and an entry is never looked for to be thrown away.
type memory struct {
	mu         sync.Mutex // guards what follows
	young, old map[key]verified
	begun      time.Time // of the young generation
}

type verified struct {
	id *auth.Identity
	at time.Time
}

// recall returns whose a token is, nil where it must be verified.
func (m *memory) recall(k key, now time.Time) *auth.Identity {
	m.mu.Lock()
	v, ok := m.young[k]
	if !ok {
		v, ok = m.old[k]
	}
	m.mu.Unlock()
	if !ok || now.Sub(v.at) >= rememberFor {
		return nil
	}
	if ends := v.id.Ends(); !ends.IsZero() && !now.Before(ends) {
		return nil // the verifier says why
	}
	return v.id
}

// remember notes whose a token is, which was verified now.
func (m *memory) remember(k key, id *auth.Identity, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.young == nil || len(m.young) >= maxYoung || now.Sub(m.begun) >= rememberFor {
		m.old, m.young, m.begun = m.young, make(map[key]verified), now
	}
	m.young[k] = verified{id: id, at: now}
}
