package tally

import (
	"fmt"
	"math"
	"reflect"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

func TestStretch(t *testing.T) {
	t.Parallel()
	now := time.Unix(100_000*60, 0)
	at := func(link string, minute int64) *fold.Record {
		return &fold.Record{Key: []byte(link), TimeMs: minute*60_000 + 17}
	}
	s := newStretch(3)
	for range 2 { // the second time with memory that is used already
		s.begin(10)
		if !s.isEmpty() {
			t.Fatal("it is not empty at first")
		}
		s.count(at("a", 99_999), false, now)
		s.count(at("b", 100_000), true, now)
		s.count(at("a", 100_000), true, now)
		s.count(at("a", 99_999), false, now)
		s.count(at("b", 100_000), false, now)
		s.count(at("c", 100_000-26*60), false, now) // expired: it counts, and is in no minute
		s.count(&fold.Record{Key: []byte("c"), TimeMs: math.MinInt64}, false, now)
		s.count(&fold.Record{Key: []byte("c"), TimeMs: math.MaxInt64}, false, now) // Redis cannot count that far
		s.end(17, totals.Fingerprint{Offset: 16, Sum: 1})
		want := totals.Batch{
			Partition: 3, From: 10, To: 17, Last: totals.Fingerprint{Offset: 16, Sum: 1},
			Links: []totals.LinkDelta{
				{Link: "a", Count: 3, Bots: 1, AtMs: 99_999*60_000 + 17},
				{Link: "b", Count: 2, Bots: 1, AtMs: 100_000*60_000 + 17},
				{Link: "c", Count: 3, AtMs: math.MaxInt64},
			},
			Minutes: []totals.MinuteDelta{
				{Minute: 99_999, Links: []totals.LinkDelta{{Link: "a", Count: 2}}},
				{Minute: 100_000, Links: []totals.LinkDelta{{Link: "b", Count: 2, Bots: 1}, {Link: "a", Count: 1, Bots: 1}}},
			},
		}
		if !reflect.DeepEqual(s.batch, want) {
			t.Fatalf("batch\n%+v, want\n%+v", s.batch, want)
		}
		if s.entries != 6 {
			t.Errorf("%d entries, want 6", s.entries)
		}
	}
}

// Whatever is clicked in whatever order of times, a stretch adds up to what a map of maps does, and names nothing twice.
func TestStretchAddsUp(t *testing.T) {
	t.Parallel()
	now := time.Unix(100_000*60, 0)
	s := newStretch(0) // used again and again, as by a worker
	rapid.Check(t, func(t *rapid.T) {
		type sums map[string]totals.LinkDelta
		links, minutes := sums{}, map[int64]sums{}
		add := func(to sums, link string, bots, atMs int64) {
			d := to[link]
			to[link] = totals.LinkDelta{Link: link, Count: d.Count + 1, Bots: d.Bots + bots, AtMs: atMs}
		}
		s.begin(0)
		for range rapid.IntRange(0, 60).Draw(t, "clicks") {
			link := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "link")
			minute := 100_000 - rapid.SampledFrom([]int64{-1, 0, 1, 2, 1500, 1520}).Draw(t, "minutes ago")
			bots := rapid.Int64Range(0, 1).Draw(t, "bots")
			s.count(&fold.Record{Key: []byte(link), TimeMs: minute * 60_000}, bots == 1, now)
			add(links, link, bots, minute*60_000)
			if minute < 100_000-keptMinutes {
				continue
			}
			if minutes[minute] == nil {
				minutes[minute] = sums{}
			}
			add(minutes[minute], link, bots, 0)
		}
		hold := func(what string, got []totals.LinkDelta, want sums) {
			if len(got) != len(want) {
				t.Fatalf("%s: %v, want %v", what, got, want)
			}
			for _, d := range got {
				if want[d.Link] != d {
					t.Fatalf("%s: %+v, want %+v", what, d, want[d.Link])
				}
			}
		}
		hold("in all", s.batch.Links, links)
		if len(s.batch.Minutes) != len(minutes) {
			t.Fatalf("%d minutes, want %d", len(s.batch.Minutes), len(minutes))
		}
		for _, m := range s.batch.Minutes {
			hold(fmt.Sprint("minute ", m.Minute), m.Links, minutes[m.Minute])
		}
	})
}

// Once warm, a click allocates nothing on its way from the chunk to the batch; the rest is the fingerprint of the last record
// of each chunk.
func TestFoldingDoesNotAllocate(t *testing.T) {
	w := newFoldingWorker(t)
	if n := testing.AllocsPerRun(200, w.step); n > 5 {
		t.Errorf("%v allocations in a chunk of %d clicks", n, feed.MaxRecords)
	}
	counted := &dto.Metric{}
	if err := w.metrics.counted.Write(counted); err != nil || counted.GetCounter().GetValue() != float64(w.chunk.Next) {
		t.Errorf("%v of %d clicks counted: %v", counted, w.chunk.Next, err)
	}
}
