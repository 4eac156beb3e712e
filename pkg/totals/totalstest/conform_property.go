package totalstest

import (
	"errors"
	"maps"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

// testProperty: whatever several owners, lost answers, batches that arrive late, and a Redis that goes back in time do,
// totals, minutes and next agree after every step.
func testProperty(t *testing.T, b *bench) {
	l := NewLedger(6, 200)
	minutes := minutesOf(l.Batch(0, 0, l.End()))
	rapid.Check(t, func(t *rapid.T) {
		b.begin(t)
		h := &heap{bench: b, ledger: l, minutes: minutes, images: []image{b.take(t, minutes...)}}
		t.Repeat(map[string]func(*rapid.T){
			"":          h.check,
			"step":      h.step,
			"late":      h.late,
			"save":      func(t *rapid.T) { h.images = append(h.images, b.take(t, minutes...)) },
			"roll back": func(t *rapid.T) { b.put(t, rapid.SampledFrom(h.images).Draw(t, "image"), minutes...) },
			"evict":     func(t *rapid.T) { b.do(t, "DEL", b.totalsKey()) },
		})
		h.settle(t)
	})
}

// owners of the partition, each of which believes to be the only one.
const owners = 3

// heap is a Redis in the hands of several owners.
type heap struct {
	bench   *bench
	ledger  *Ledger
	minutes []int64
	images  []image

	at   [owners]int64 // where each believes the totals to be
	sent []*totals.Batch
}

// check compares what is stored with the ledger. Minutes may be there without totals, but never the other way round.
func (h *heap) check(t *rapid.T) {
	im := h.bench.take(t, h.minutes...)
	stored, ok := im[h.bench.totalsKey()]
	if !ok {
		return
	}
	next, err := strconv.ParseInt(stored.fields["next"], 10, 64)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	want := h.ledger.At(next)
	fields := map[string]string{"next": stored.fields["next"], "rule": rule().String(), "last": want.Last.String()}
	for link, total := range want.Links {
		set(fields, link, total.Total.Count, total.Total.Bots)
		fields["t:"+link] = strconv.FormatInt(total.Total.AtMs, 10)
	}
	if !maps.Equal(stored.fields, fields) {
		t.Fatalf("totals\n%v, want\n%v", stored.fields, fields)
	}
	for _, m := range h.minutes {
		fields := make(map[string]string)
		for link, c := range want.Minutes[m] {
			set(fields, link, c.Count, c.Bots)
		}
		if got := im[h.bench.minuteKey(m)].fields; !maps.Equal(got, fields) {
			t.Fatalf("at %d minute %d is\n%v, want\n%v", next, m, got, fields)
		}
	}
}

func set(fields map[string]string, link string, count, bots int64) {
	fields["c:"+link] = strconv.FormatInt(count, 10)
	if bots > 0 {
		fields["b:"+link] = strconv.FormatInt(bots, 10)
	}
}

// step lets an owner send its next batch. The batch or its answer may be lost; then the owner sends the same again, by and
// by, since it stands where it stood.
func (h *heap) step(t *rapid.T) {
	i := rapid.IntRange(0, owners-1).Draw(t, "owner")
	from := h.at[i]
	to := min(max(from, 0)+rapid.Int64Range(0, 30).Draw(t, "records"), h.ledger.End())
	batch := h.ledger.Batch(0, from, to)
	h.sent = append(h.sent, batch)
	switch rapid.SampledFrom([]string{"arrives", "arrives", "arrives", "is lost", "answer is lost"}).Draw(t, "batch") {
	case "is lost":
	case "answer is lost":
		h.apply(t, batch)
	default:
		h.at[i] = h.apply(t, batch)
	}
}

// late lets a batch of before arrive, again or at last.
func (h *heap) late(t *rapid.T) {
	if len(h.sent) == 0 {
		t.Skip("nothing was sent yet")
	}
	h.apply(t, rapid.SampledFrom(h.sent).Draw(t, "batch"))
}

// apply returns where the totals are according to the answer.
func (h *heap) apply(t *rapid.T, batch *totals.Batch) int64 {
	err := h.bench.epoch.Apply(t.Context(), batch)
	var refused *totals.RefusedError
	switch {
	case errors.As(err, &refused):
		return refused.Have
	case err != nil:
		t.Fatalf("applying [%d, %d): %v", batch.From, batch.To, err)
	}
	return batch.To
}

// settle lets one owner go on alone. It must come to the end, and not take forever.
func (h *heap) settle(t *rapid.T) {
	for range h.ledger.End() {
		h.at[0] = h.apply(t, h.ledger.Batch(0, h.at[0], min(max(h.at[0], 0)+50, h.ledger.End())))
		if h.at[0] == h.ledger.End() {
			break
		}
	}
	if next := h.ledger.Check(t, h.bench.epoch, 0); next != h.ledger.End() {
		t.Fatalf("next %d", next)
	}
}
