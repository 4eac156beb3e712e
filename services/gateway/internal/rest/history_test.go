package rest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// The clock of a bubble begins at a full minute.
func thisMinute() int64 { return time.Now().Unix() / 60 }

func TestHistoryIsStitchedToTheCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		now := thisMinute()
		r.ledger.click("a", false)
		r.ledger.click("a", true) // the store has both,
		r.ledger.minutes = []Minute{{now - 60, 100, 9}, {now - 5, 7, 1}, {now, 2, 1}}
		r.ledger.next = 2
		time.Sleep(61 * time.Second)
		r.ledger.click("a", true) // and not this one: it is in the ring
		got := decode[linkAnswer](t, r.get("/links/a/clicks?history=10m"))
		want := history{
			From: (now - 8) * 60_000, StepMs: 60_000, Seq: 3,
			Counts: []int64{0, 0, 0, 7, 0, 0, 0, 0, 2, 1},
			Bots:   []int64{0, 0, 0, 1, 0, 0, 0, 0, 1, 1},
		}
		wantHistory(t, got, want)
		got = decode[linkAnswer](t, r.get("/links/a/clicks?history=10m&step=5m"))
		want.StepMs, want.Counts, want.Bots = 300_000, []int64{7, 3}, []int64{1, 2}
		wantHistory(t, got, want)
		if got.Seq != 3 || got.Count != 3 {
			t.Fatalf("count %+v, want 3 at 3", got)
		}
		got = decode[linkAnswer](t, r.get("/links/a/clicks?history=24h&step=24h"))
		want.From, want.StepMs, want.Counts, want.Bots = (now-1438)*60_000, 24*3_600_000, []int64{110}, []int64{12}
		wantHistory(t, got, want)
		if got := decode[linkAnswer](t, r.get("/links/a/clicks?history=24h")); len(got.History.Counts) != 1440 {
			t.Fatalf("%d numbers of a day, want 1440", len(got.History.Counts))
		}
	})
}

func wantHistory(t *testing.T, got linkAnswer, want history) {
	t.Helper()
	h := got.History
	if h == nil || h.From != want.From || h.StepMs != want.StepMs || h.Seq != want.Seq ||
		!slices.Equal(h.Counts, want.Counts) || !slices.Equal(h.Bots, want.Bots) {
		t.Fatalf("history %+v, want %+v", h, want)
	}
}

func TestHistoryAheadOfTheCountSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ledger.click("a", false)
		r.ledger.minutes, r.ledger.next = []Minute{{thisMinute(), 3, 0}}, 3
		w := r.get("/links/a/clicks?history=1m")
		got := decode[linkAnswer](t, w)
		if got.Seq != 1 || got.Count != 1 || got.History.Seq != 3 || got.History.Counts[0] != 3 {
			t.Fatalf("answer %+v, history %+v: want 1 at 1, and 3 at 3", got, got.History)
		}
		// The same count has another history a moment later, so its tag must be another.
		r.ledger.minutes, r.ledger.next = []Minute{{thisMinute(), 4, 0}}, 4
		if w := r.get("/links/a/clicks?history=1m", "If-None-Match", w.Header().Get("Etag")); w.Code != 200 {
			t.Fatalf("answer %d, want the new history", w.Code)
		}
	})
}

func TestHistoryMovesOnWithTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ledger.click("a", false)
		r.ledger.next = 1
		tag := r.get("/links/a/clicks?history=1h").Header().Get("Etag")
		reads := r.ledger.reads
		if w := r.get("/links/a/clicks?history=1h", "If-None-Match", tag); w.Code != 304 || r.ledger.reads != reads {
			t.Fatalf("answer %d with %d reads of the store, want 304 without one", w.Code, r.ledger.reads-reads)
		}
		time.Sleep(time.Minute)
		if w := r.get("/links/a/clicks?history=1h", "If-None-Match", tag); w.Code != 200 {
			t.Fatalf("answer %d a minute later, want the history that begins a minute later", w.Code)
		}
	})
}

func TestHistoryOfAStoreInTrouble(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ledger.err = errors.New("connection refused")
		wantProblem(t, r.get("/links/a/clicks?history=1h"), 503, "history_unavailable", "")
		decode[linkAnswer](t, r.get("/links/a/clicks")) // the count is there
		r.ledger.err = context.DeadlineExceeded
		start := time.Now()
		wantProblem(t, r.get("/links/a/clicks?history=1h"), 503, "history_unavailable", "")
		if time.Since(start) != patience {
			t.Fatalf("refused after %v, want %v", time.Since(start), patience)
		}
	})
}

func TestHistoriesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.ledger.err = context.DeadlineExceeded
		var waits sync.WaitGroup
		for range 3 * maxHistories {
			waits.Go(func() { wantProblem(t, r.get("/links/a/clicks?history=1h"), 503, "history_unavailable", "") })
		}
		synctest.Wait()
		if got := r.ledger.reading; got != maxHistories {
			t.Errorf("%d histories are being read, want %d", got, maxHistories)
		}
		start := time.Now()
		waits.Wait()
		if took := time.Since(start); took > patience { // those whose turn did not come gave up as well
			t.Errorf("the last request was answered after %v", took)
		}
	})
}
