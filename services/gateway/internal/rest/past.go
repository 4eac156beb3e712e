package rest

import (
	"slices"
	"sync"
)

// maxPasts bounds the histories that are kept beside their links, each 23 KB at most. More are served without being kept.
const maxPasts = 500

// past is the history of a link that was read last. The clicks that came since are taken from where the count has them,
// so a client that polls a history asks the store once, and what it is told is as fresh as the count.
type past struct {
	mu     sync.Mutex // guards series; a partition's lock may be taken under it
	series *series    // nil: none is kept
}

// recall returns the minutes [from, to) out of the history that is kept, brought to where the count is. It returns false
// where none is kept, where it begins later, and where it is not known any more what came since.
func (k *keeper) recall(h *held, from, to int64) (*series, Reading, bool) {
	h.past.mu.Lock()
	defer h.past.mu.Unlock()
	s := h.past.series
	if s == nil || s.from > from {
		return nil, Reading{}, false
	}
	s.extend(to)
	r, seq, ok := h.watched.Recent(s.seq, s.click)
	s.seq = seq
	if !ok || seq != r.Seq || s.beyond {
		h.past.series = nil
		k.pasts.Add(-1)
		return nil, Reading{}, false
	}
	return s.window(from, to), r, true
}

// remember keeps a history that is true where the count is. It does not keep s itself.
func (k *keeper) remember(h *held, s *series) {
	h.past.mu.Lock()
	defer h.past.mu.Unlock()
	if s.beyond {
		return // by the time that minute has come, its click would be missing
	}
	if h.past.series == nil {
		if k.pasts.Add(1) > maxPasts {
			k.pasts.Add(-1)
			return
		}
	}
	h.past.series = &series{from: s.from, seq: s.seq, counts: slices.Clone(s.counts), bots: slices.Clone(s.bots)}
}

// forget lets go of a link's history.
func (k *keeper) forget(h *held) {
	h.past.mu.Lock()
	defer h.past.mu.Unlock()
	if h.past.series != nil {
		h.past.series = nil
		k.pasts.Add(-1)
	}
}
