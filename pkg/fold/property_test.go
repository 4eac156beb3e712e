package fold

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// genLog draws a log from few links, ids and times, so that duplicates, near misses and holes are common.
func genLog(t *rapid.T, n int) (log []event) {
	links := []string{"a", "b", strings.Repeat("y", 100), strings.Repeat("z", click.MaxLinkLen)}
	offset := int64(0)
	now := int64(0)
	for range n {
		switch rapid.IntRange(0, 15).Draw(t, "gap") {
		case 0:
			offset += rapid.Int64Range(1, 3).Draw(t, "hole")
		case 1:
			offset += rapid.Int64Range(1, 40).Draw(t, "long hole")
		}
		now += rapid.Int64Range(-4, 6).Draw(t, "time")
		log = append(log, event{
			offset: offset,
			time:   now,
			link:   rapid.SampledFrom(links).Draw(t, "link"),
			id:     byte(rapid.IntRange(0, 5).Draw(t, "id")),
			bot:    rapid.Bool().Draw(t, "bot"),
			poison: rapid.IntRange(0, 9).Draw(t, "poison") == 0,
		})
		offset++
	}
	return log
}

func genParams(t *rapid.T) Params {
	return Params{
		Window: rapid.Int64Range(1, 60).Draw(t, "D"),
		Within: time.Duration(rapid.IntRange(1, 30).Draw(t, "W")) * time.Millisecond,
	}
}

// follow adds log[i:] and checks each step against the rule; firstCounted is where counting began.
func follow(t *rapid.T, f *Fold, log []event, i int, p Params, firstCounted int64) {
	for ; i < len(log); i++ {
		e := log[i]
		if rapid.Bool().Draw(t, "skip first") {
			f.Skip(e.offset)
		}
		if got, want := f.Add(e.record()), referenceVerdict(log, i, p); got != want {
			t.Fatalf("%+v: %v, the rule says %v", e, got, want)
		}
		position := e.offset + 1
		if f.Position() != position {
			t.Fatalf("position %d after offset %d", f.Position(), e.offset)
		}
		if want := max(firstCounted, position-p.Window); f.Floor() != want {
			t.Fatalf("floor %d at %d, want %d", f.Floor(), position, want)
		}
		from := rapid.Int64Range(f.Floor(), position).Draw(t, "from")
		to := rapid.Int64Range(from, position).Draw(t, "to")
		wantList(t, "walk of the ring", walk(f, from, to), referenceCounted(log[:i+1], from, to, p))
	}
}

func TestFoldIsTheRule(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := genParams(t)
		f := New(p)
		// A used fold is as good as a new one.
		for range rapid.IntRange(0, 2).Draw(t, "lives") {
			addAll(f, genLog(t, 20))
			f.Reset(0)
		}
		log := genLog(t, rapid.IntRange(0, 120).Draw(t, "n"))
		follow(t, f, log, 0, p, 0)
	})
}

func TestAnyWarmStartDecidesAsFromZero(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := genParams(t)
		log := genLog(t, rapid.IntRange(1, 120).Draw(t, "n"))
		i := rapid.IntRange(0, len(log)-1).Draw(t, "first counted")
		n := log[i].offset
		from := max(0, n-p.Window-rapid.Int64Range(0, 20).Draw(t, "more than D"))
		f := warmed(p, log, from, n)
		if f.Position() != n {
			t.Fatalf("position %d after warming up to %d", f.Position(), n)
		}
		// Warm-up ends with its last record; after that nothing counted up to n, which is known.
		last := from
		for _, e := range log[:i] {
			last = max(last, e.offset+1)
		}
		follow(t, f, log, i, p, last)
	})
}

// A log that retention has cut decides like the whole log, as long as no record waits to be folded for longer than
// retention - W - slack, where slack covers the clocks of producers.
func TestRetentionCannotBeSeen(t *testing.T) {
	t.Parallel()
	const (
		within, retention = 10, 60
		skew              = 2 // of each producer's clock, either way
		slack             = 2*skew + 1
	)
	cutCases := 0
	rapid.Check(t, func(t *rapid.T) {
		p := Params{Window: rapid.Int64Range(1, 60).Draw(t, "D"), Within: within * time.Millisecond}
		log := genLog(t, rapid.IntRange(2, 100).Draw(t, "n"))
		appended := make([]int64, len(log))
		now := int64(0)
		for i := range log {
			now += rapid.Int64Range(0, 4).Draw(t, "append time")
			appended[i] = now
			log[i].time = now + rapid.Int64Range(-skew, skew).Draw(t, "clock")
		}
		now += rapid.Int64Range(0, 3).Draw(t, "now")
		oldest, cut := 0, 0
		for oldest < len(log) && appended[oldest] <= now-(retention-within-slack) {
			oldest++
		}
		for cut < len(log) && appended[cut] < now-retention {
			cut++
		}
		if oldest == len(log) {
			return // nothing is left to be folded
		}
		i := rapid.IntRange(oldest, len(log)-1).Draw(t, "first unfolded")
		start := log[rapid.IntRange(0, cut).Draw(t, "cut")].offset
		n := log[i].offset
		if start > n-p.Window {
			cutCases++
		}
		f := warmed(p, log, max(start, n-p.Window, 0), n)
		for ; i < len(log); i++ {
			if got, want := f.Add(log[i].record()), referenceVerdict(log, i, p); got != want {
				t.Fatalf("log cut at %d, %+v: %v, the whole log says %v", start, log[i], got, want)
			}
		}
	})
	if cutCases == 0 {
		t.Fatal("no case cut the log inside the window: the test tests nothing")
	}
}
