package tally

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
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

// A click on a link that was seen before allocates nothing.
func TestStretchDoesNotAllocate(t *testing.T) {
	now := time.Now()
	s := newStretch(0)
	records := benchRecords(1000)
	fill := func() {
		s.begin(0)
		for i := range records {
			s.count(&records[i], false, now)
		}
	}
	fill()
	if n := testing.AllocsPerRun(10, fill); n > 0 {
		t.Errorf("%v allocations in a stretch of 1,000 clicks", n)
	}
}
