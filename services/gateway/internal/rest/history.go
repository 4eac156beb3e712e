package rest

import (
	"context"
	"net/http"
	"time"
)

// maxHistories bounds the histories that are read at a time. A day of minutes is the work of 1,440 reads for the store,
// which has better things to do: without the bound, requests for histories could keep it from counting.
const maxHistories = 4

// clicksWithHistory answers with the count and the clicks by minute.
func (h *Handler) clicksWithHistory(w http.ResponseWriter, r *http.Request, k *keeper, held *held, asked span) *refusal {
	if k.source.History == nil {
		return refuse(reasonNoHistory, "this gateway keeps no history: it runs without a store of totals")
	}
	reading, refused := h.read(r.Context(), k, held)
	if refused != nil {
		return refused
	}
	from, to := asked.window(time.Now())
	// Of one count there is one history, as long as both are true at the same place: whoever has it needs no read.
	if tag := newTag(reading, to, asked.step); tag.matches(r) {
		notModified(w, tag)
		return nil
	}
	series, reading, refused := h.series(r.Context(), k, held, from, to)
	if refused != nil {
		return refused
	}
	tag := newTag(reading, to, asked.step)
	if series.seq != reading.Seq {
		tag = newTag(reading, to, asked.step, series.seq)
	}
	if tag.matches(r) {
		notModified(w, tag)
		return nil
	}
	body := appendLink(make([]byte, 0, 256+8*asked.history/asked.step), held.link, reading, true)
	body = series.append(body, asked.step)
	writeJSON(w, r, tag, append(body, "}\n"...))
	return nil
}

// series returns the minutes [from, to) of a link at the place at which its count is true, as far as that is known.
func (h *Handler) series(ctx context.Context, k *keeper, held *held, from, to int64) (*series, Reading, *refusal) {
	if s, reading, ok := k.recall(held, from, to); ok {
		return s, reading, nil
	}
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > int64(h.cfg.MaxRequests+1)/2 {
		return nil, Reading{}, refuse(reasonBusy, "too many requests wait for the store already; come again")
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	minutes, next, err := h.minutes(ctx, k, held, from, to)
	if err != nil {
		return nil, Reading{}, refuse(reasonHistory, "the history cannot be read now; come again, or ask for the count alone")
	}
	s := newSeries(from, to)
	for _, m := range minutes {
		s.add(m.Minute, m.Count, m.Bots)
	}
	reading, seq, ok := held.watched.Recent(next, s.click)
	if !ok {
		return nil, Reading{}, syncing()
	}
	s.seq = seq
	if s.seq == reading.Seq {
		k.remember(held, s)
	}
	return s, reading, nil
}

// minutes reads a history from the store when it is its turn.
func (h *Handler) minutes(ctx context.Context, k *keeper, held *held, from, to int64) ([]Minute, int64, error) {
	select {
	case h.histories <- struct{}{}:
		defer func() { <-h.histories }()
	case <-ctx.Done():
		return nil, 0, context.Cause(ctx)
	}
	h.metrics.history.Inc()
	return k.source.History.Minutes(ctx, held.link, from, to)
}
