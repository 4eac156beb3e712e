package rest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
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
		if got := r.ledger.readingNow(); got != maxHistories {
			t.Errorf("%d histories are being read, want %d", got, maxHistories)
		}
		start := time.Now()
		waits.Wait()
		if took := time.Since(start); took > patience { // those whose turn did not come gave up as well
			t.Errorf("the last request was answered after %v", took)
		}
	})
}

// store makes the store know everything up to now of a link, as the tally does.
func (l *ledger) store(link string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	byMinute := make(map[int64]Minute)
	for _, c := range l.account(link).recent {
		m := byMinute[c.timeMs/60_000]
		m.Minute = c.timeMs / 60_000
		m.Count++
		if c.bot {
			m.Bots++
		}
		byMinute[m.Minute] = m
	}
	l.minutes, l.next = slices.Collect(maps.Values(byMinute)), l.position
}

// Whatever comes between two polls of a history, clicks, minutes, a ring that has moved on, another window: what is kept
// and moved on is what the store and the ring would say.
func TestPolledHistoryIsThatOfTheStore(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	synctest.Test(t, func(t *testing.T) {
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		r := newRig(t, func(c *Config) { c.Linger = time.Hour })
		answers := 0
		for range 600 {
			switch random.IntN(10) {
			case 0:
				r.ledger.store("a")
			case 1:
				time.Sleep(time.Duration(random.IntN(150)) * time.Second)
			case 2:
				if random.IntN(40) == 0 { // a night without polls
					time.Sleep(time.Duration(random.IntN(30)) * time.Hour)
					r.ledger.store("a")
				}
			case 3:
				r.ledger.floor = r.ledger.next // the ring ends where the store is
			case 4, 5:
				r.ledger.click("a", random.IntN(3) == 0)
			default:
				answers++
				history := []int64{1, 5, 60, 90, 1440}[random.IntN(5)]
				got := decode[linkAnswer](t, r.get(fmt.Sprintf("/links/a/clicks?history=%dm", history)))
				want := newSeries(thisMinute()+1-history, thisMinute()+1)
				for _, c := range r.ledger.account("a").recent {
					want.click(c.timeMs, c.bot)
				}
				if h := got.History; h.From != want.from*60_000 || h.Seq != got.Seq ||
					!slices.Equal(h.Counts, want.counts) || !slices.Equal(h.Bots, want.bots) {
					t.Fatalf("history of %d minutes: %+v\nwant %+v", history, h, want)
				}
			}
		}
		if reads := r.ledger.reads; reads*5 > answers {
			t.Fatalf("%d reads of the store for %d polls", reads, answers)
		}
	})
}

func TestHistoryIsReadAgain(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		then  func(r *rig)
		reads int
	}{
		{"not for clicks", func(r *rig) { r.ledger.click("a", false) }, 0},
		{"not for time", func(*rig) { time.Sleep(5 * time.Second) }, 0},
		{"when it is not known what came since", func(r *rig) {
			r.ledger.click("a", false)
			r.ledger.store("a")
			r.ledger.floor = r.ledger.position
		}, 1},
		{"when a clock is ahead", func(r *rig) {
			r.ledger.click("a", false)
			a := r.ledger.account("a")
			a.recent[len(a.recent)-1].timeMs += 120_000
		}, 1},
		{"when the link was let go", func(*rig) { time.Sleep(11 * time.Second) }, 1},
		{"for a longer one", func(r *rig) { decode[linkAnswer](t, r.get("/links/a/clicks?history=2h")) }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				r.ledger.click("a", false)
				r.ledger.store("a")
				decode[linkAnswer](t, r.get("/links/a/clicks?history=1h"))
				before := r.ledger.reads
				tc.then(r)
				decode[linkAnswer](t, r.get("/links/a/clicks?history=1h"))
				if got := r.ledger.reads - before; got != tc.reads {
					t.Fatalf("%d reads of the store, want %d", got, tc.reads)
				}
			})
		})
	}
}

func TestKeptHistoriesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxLinks = 2 * maxPasts })
		for i := range maxPasts + 10 {
			decode[linkAnswer](t, r.get(fmt.Sprintf("/links/l%d/clicks?history=1m", i)))
		}
		k := r.handler.current.Load()
		if got := k.pasts.Load(); got != maxPasts {
			t.Fatalf("%d histories are kept, want %d", got, maxPasts)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := k.pasts.Load(); got != 0 {
			t.Fatalf("%d histories are kept of links that are gone", got)
		}
	})
}
