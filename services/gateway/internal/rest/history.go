package rest

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// maxHistories bounds the histories that are read at a time. A day of minutes is the work of 1,440 reads for the store,
// which has better things to do: without the bound, requests for histories could keep it from counting.
const maxHistories = 4

// clicksWithHistory answers with the count and the clicks by minute.
func (h *Handler) clicksWithHistory(w http.ResponseWriter, r *http.Request, k *keeper, held *held, span span) error {
	if k.source.History == nil {
		return refuse(reasonNoHistory, "this gateway keeps no history: it runs without a store of totals")
	}
	reading, err := h.read(r.Context(), k, held)
	if err != nil {
		return err
	}
	from, to := span.window(time.Now())
	// Of one count there is one history, as long as both are true at the same place: whoever has it needs no read.
	if tag := newTag(reading, to, span.step); tag.matches(r) {
		notModified(w, tag)
		return nil
	}
	series, reading, err := h.series(r.Context(), k, held, from, to)
	if err != nil {
		return err
	}
	tag := newTag(reading, to, span.step)
	if series.seq != reading.Seq {
		tag = newTag(reading, to, span.step, series.seq)
	}
	if tag.matches(r) {
		notModified(w, tag)
		return nil
	}
	body := appendLink(make([]byte, 0, 256+8*span.history/span.step), held.link, reading, true)
	body = series.append(body, span.step)
	writeJSON(w, r, tag, append(body, "}\n"...))
	return nil
}

// series reads the minutes [from, to) of a link and brings them to the place at which its count is true, as far as that
// is known.
func (h *Handler) series(ctx context.Context, k *keeper, held *held, from, to int64) (*series, Reading, error) {
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
		return nil, Reading{}, errSyncing
	}
	s.seq = seq
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

// series is what a link got by minute.
type series struct {
	from, seq    int64 // first minute; place at which the series is true
	counts, bots []int64
}

func newSeries(from, to int64) *series {
	return &series{from: from, counts: make([]int64, to-from), bots: make([]int64, to-from)}
}

func (s *series) add(minute, count, bots int64) {
	if i := minute - s.from; i >= 0 && i < int64(len(s.counts)) {
		s.counts[i] += count
		s.bots[i] += bots
	}
}

// click adds a click of a record time in Unix milliseconds.
func (s *series) click(timeMs int64, bot bool) {
	bots := int64(0)
	if bot {
		bots = 1
	}
	s.add(timeMs/60_000, 1, bots)
}

// append appends the member history: its clicks by steps of so many minutes.
func (s *series) append(b []byte, step int64) []byte {
	b = strconv.AppendInt(append(b, `,"history":{"from":`...), s.from*60_000, 10)
	b = strconv.AppendInt(append(b, `,"step_ms":`...), step*60_000, 10)
	b = strconv.AppendInt(append(b, `,"seq":`...), s.seq, 10)
	b = appendSums(append(b, `,"counts":[`...), s.counts, step)
	b = appendSums(append(b, `],"bots":[`...), s.bots, step)
	return append(b, "]}"...)
}

// appendSums appends the sums of every step numbers, comma-separated. step divides their number.
func appendSums(b []byte, numbers []int64, step int64) []byte {
	for i := int64(0); i < int64(len(numbers)); i += step {
		sum := int64(0)
		for _, n := range numbers[i : i+step] {
			sum += n
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, sum, 10)
	}
	return b
}
