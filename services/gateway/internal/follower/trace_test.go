package follower

import (
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// logOf reads a trace: "a1" is click 1 of link a; the offsets count up from 0.
func logOf(trace string) (log []fold.Record) {
	for o, word := range strings.Fields(trace) {
		log = append(log, clickRecord(int64(o), word[:1], word[1]-'0', false))
	}
	return log
}

// started returns a partition that counts from warmUntil and has read log up to position.
func started(t *testing.T, window int64, log []fold.Record, from, warmUntil, position int64) *partition {
	t.Helper()
	p := alone(t, window)
	p.begin(from, warmUntil)
	p.apply(between(log, from, position), position)
	return p
}

func between(log []fold.Record, from, to int64) (list []fold.Record) {
	for _, r := range log {
		if r.Offset >= from && r.Offset < to {
			list = append(list, r)
		}
	}
	return list
}

// answerAt lands the totals that are true at next for all links that wait.
func answerAt(t *testing.T, p *partition, log []fold.Record, window, next int64) (result string) {
	t.Helper()
	links, life := p.takeWaiting(maxAsked)
	if len(links) == 0 {
		t.Fatal("no link waits for its total")
	}
	return p.land(links, life, truth(log, window, next), next)
}

func wantReading(t *testing.T, w *Watched, count, seq int64) {
	t.Helper()
	r, ok := w.Read()
	if !ok || r.Count.Count != count || r.Seq != seq {
		t.Fatalf("reading of %s: %d@%d, %v; want %d@%d", w.Link(), r.Count.Count, r.Seq, ok, count, seq)
	}
}

func wantSyncing(t *testing.T, w *Watched) {
	t.Helper()
	if r, ok := w.Read(); ok {
		t.Fatalf("reading of %s: %d@%d, want none", w.Link(), r.Count.Count, r.Seq)
	}
}

func TestRingHasClicksFromBeforeTheFirstWatcher(t *testing.T) {
	t.Parallel()
	// The total is read at 1; the click at 1 comes before the answer is applied, and nobody watched when it was folded.
	log := logOf("a1 a2")
	p := started(t, 8, log, 0, 0, 2)
	w := p.watch("a", new(watcher))
	if got := answerAt(t, p, log, 8, 1); got != readLanded {
		t.Fatal(got)
	}
	wantReading(t, w, 2, 2)
}

func TestWarmUpDoesNotCountAfterRollback(t *testing.T) {
	t.Parallel()
	// a1 a2 a1, D = 2; the gateway starts at 3 and the totals roll back to 2. Were the warm-up in the ring, the record at
	// 2 would be added and the count would be 3: it is a duplicate.
	log := logOf("a1 a2 a1")
	p := started(t, 2, log, 1, 3, 3)
	w := p.watch("a", new(watcher))
	if got := answerAt(t, p, log, 2, 2); got != readBehind {
		t.Fatal(got)
	}
	wantSyncing(t, w)
	if got := answerAt(t, p, log, 2, 3); got != readLanded { // the totals were mended
		t.Fatal(got)
	}
	wantReading(t, w, 2, 3)
}

func TestTotalThatLandsDuringWarmUp(t *testing.T) {
	t.Parallel()
	// a1 a2 a3 a4 a5, D = 2: the gateway starts at 1 and counts from 3. The total, 1 at 1, is applied when nothing has been
	// read yet. Were the floor of that moment the fold's own, which is the position, the total would land, the warm-up
	// would add nothing to it, and the count would be 3 at 5.
	log := logOf("a1 a2 a3 a4 a5")
	p := started(t, 2, log, 1, 3, 1)
	w := p.watch("a", new(watcher))
	if got := answerAt(t, p, log, 2, 1); got != readBehind {
		t.Fatal(got)
	}
	wantSyncing(t, w)
	if got := answerAt(t, p, log, 2, 3); got != readLanded { // where counting begins, and ahead of the position
		t.Fatal(got)
	}
	wantReading(t, w, 3, 3)
}

func TestEmptyRingTakesTotalsAtItsFloor(t *testing.T) {
	t.Parallel()
	// Nothing was counted since the start. "S is at least the oldest entry" has no entry to compare with.
	log := logOf("a1 a2 a3")
	p := started(t, 2, log, 1, 3, 3)
	w := p.watch("a", new(watcher))
	if got := answerAt(t, p, log, 2, 3); got != readLanded {
		t.Fatal(got)
	}
	wantReading(t, w, 3, 3)
	unseen := p.watch("b", new(watcher))
	answerAt(t, p, log, 2, 3)
	wantReading(t, unseen, 0, 3)
}

func TestStitchUsesThePositionOfItsMoment(t *testing.T) {
	t.Parallel()
	// The read is asked for at position 1 and answered at 1; meanwhile the log goes on to 3.
	log := logOf("a1 a2 a3 b1")
	p := started(t, 8, log, 0, 0, 1)
	a, b := new(watcher), new(watcher)
	wa, wb := p.watch("a", a), p.watch("b", b)
	links, life := p.takeWaiting(maxAsked)
	p.apply(between(log, 1, 3), 3)
	wantSyncing(t, wa)
	if a.told != 0 {
		t.Fatalf("told %d times of a count that is not there", a.told)
	}
	if got := p.land(links, life, truth(log, 8, 1), 1); got != readLanded {
		t.Fatal(got)
	}
	wantReading(t, wa, 3, 3)
	wantReading(t, wb, 0, 3)
	if a.told != 1 || b.told != 1 {
		t.Fatalf("told %d and %d times that the totals landed", a.told, b.told)
	}
	p.apply(between(log, 3, 4), 4)
	wantReading(t, wb, 1, 4)
}

func TestTotalsAheadOfThePosition(t *testing.T) {
	t.Parallel()
	// S = 3 and the position is 1: the clicks at 1 and 2 are in the total and must not be added again; until the position
	// is there, the count is true at 3.
	log := logOf("a1 a2 a3 a4")
	p := started(t, 8, log, 0, 0, 1)
	a := new(watcher)
	w := p.watch("a", a)
	if got := answerAt(t, p, log, 8, 3); got != readLanded {
		t.Fatal(got)
	}
	for _, step := range []struct {
		to, count, seq int64
		told           int
	}{{1, 3, 3, 1}, {2, 3, 3, 1}, {3, 3, 3, 1}, {4, 4, 4, 2}} {
		p.apply(between(log, step.to-1, step.to), step.to)
		wantReading(t, w, step.count, step.seq)
		if a.told != step.told {
			t.Fatalf("at %d: told %d times, want %d", step.to, a.told, step.told)
		}
	}
}

func TestTotalsBelowTheFloorAreReadAgain(t *testing.T) {
	t.Parallel()
	log := logOf("a1 a2 a3 a4 a5")
	p := started(t, 2, log, 0, 0, 5)
	w := p.watch("a", new(watcher))
	if got := answerAt(t, p, log, 2, 2); got != readBehind { // the floor is 3
		t.Fatal(got)
	}
	wantSyncing(t, w)
	if got := answerAt(t, p, log, 2, 3); got != readLanded {
		t.Fatal(got)
	}
	wantReading(t, w, 5, 5)
}

func TestStartsTwoWindowsBeforeTheEnd(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name                  string
		start, end            int64
		wantFrom, wantCounted int64
	}{
		{"empty log", 0, 0, 0, 0},
		{"short log: all of it counts", 0, 15, 0, 0},
		{"exactly two windows", 0, 20, 0, 0},
		{"long log", 0, 100, 80, 90},
		{"long log that was cut", 50, 100, 80, 90},
		{"cut inside the warm-up", 85, 100, 85, 90},
		{"cut inside the last window", 95, 100, 95, 95},
		{"cut to nothing", 100, 100, 100, 100},
	} {
		if from, counted := startAt(tc.start, tc.end, 10); from != tc.wantFrom || counted != tc.wantCounted {
			t.Errorf("%s: from %d, counted from %d; want %d, %d", tc.name, from, counted, tc.wantFrom, tc.wantCounted)
		}
	}
}

func TestFreshStartStitchesTotalsThatLagOneWindow(t *testing.T) {
	t.Parallel()
	log := logOf("a1 a2 a3 a4 a5 a6 a7 a6 a8 a9")
	from, warmUntil := startAt(0, 10, 3)
	p := started(t, 3, log, from, warmUntil, 10)
	w := p.watch("a", new(watcher))
	if got := answerAt(t, p, log, 3, 7); got != readLanded { // the floor: the end less one window
		t.Fatal(got)
	}
	wantReading(t, w, 9, 10)
}

func TestFirstWindowAfterAStartCountsNothing(t *testing.T) {
	t.Parallel()
	// The a1 at 2 is a duplicate of the one at 0, which a start at 1 has not read: had it been counted there, totals at 2
	// would be stitched to a click too many.
	log := logOf("a1 b1 a1 b2 b3")
	from, warmUntil := startAt(0, 5, 2)
	p := started(t, 2, log, from, warmUntil, 5)
	w := p.watch("a", new(watcher))
	if got := answerAt(t, p, log, 2, 2); got != readBehind {
		t.Fatal(got)
	}
	answerAt(t, p, log, 2, 3)
	wantReading(t, w, 1, 5)
}

func TestNothingIsKeptBetweenWatchers(t *testing.T) {
	t.Parallel()
	// The totals are at 3 when the link is first watched and roll back to 1 before it is watched again: the second count
	// comes from the second answer and the ring alone.
	log := logOf("a1 a2 a3 a4")
	p := started(t, 8, log, 0, 0, 1)
	first := new(watcher)
	w := p.watch("a", first)
	answerAt(t, p, log, 8, 3)
	w.Release(first)
	if len(p.links) != 0 || len(p.waiting) != 0 {
		t.Fatalf("%d links and %d waiting ones are kept", len(p.links), len(p.waiting))
	}
	wantSyncing(t, w)
	p.apply(between(log, 1, 2), 2)
	again := p.watch("a", new(watcher))
	wantSyncing(t, again)
	answerAt(t, p, log, 8, 1)
	wantReading(t, again, 2, 2)
	if first.told != 1 {
		t.Fatalf("a released watcher was told: %d times", first.told)
	}
}

func TestAnswerForAReleasedLinkIsNotApplied(t *testing.T) {
	t.Parallel()
	log := logOf("a1 a2")
	p := started(t, 8, log, 0, 0, 2)
	first := new(watcher)
	w := p.watch("a", first)
	links, life := p.takeWaiting(maxAsked)
	w.Release(first)
	w.Release(first) // once more does nothing
	again := p.watch("a", new(watcher))
	if got := p.land(links, life, truth(log, 8, 2), 2); got != readLanded {
		t.Fatal(got)
	}
	wantSyncing(t, w)
	wantSyncing(t, again) // it has a read of its own
	if got := answerAt(t, p, log, 8, 2); got != readLanded {
		t.Fatal(got)
	}
	wantReading(t, again, 2, 2)
	wantSyncing(t, w)
}

func TestReleaseKeepsTheOtherWatchers(t *testing.T) {
	t.Parallel()
	log := logOf("a1 a2")
	p := started(t, 8, log, 0, 0, 1)
	one, two := new(watcher), new(watcher)
	w := p.watch("a", one)
	if p.watch("a", two) != w {
		t.Fatal("two watchers of a link do not share its count")
	}
	answerAt(t, p, log, 8, 1)
	w.Release(one)
	w.Release(one)
	p.apply(between(log, 1, 2), 2)
	wantReading(t, w, 2, 2)
	if one.told != 1 || two.told != 2 {
		t.Fatalf("told %d and %d times, want 1 and 2", one.told, two.told)
	}
}

func TestAnswerFromBeforeANewStartIsNotApplied(t *testing.T) {
	t.Parallel()
	log := logOf("a1 a2 a3")
	p := started(t, 8, log, 0, 0, 3)
	a := new(watcher)
	w := p.watch("a", a)
	answerAt(t, p, log, 8, 3)
	other := p.watch("b", new(watcher))
	links, life := p.takeWaiting(maxAsked)
	p.begin(0, 0) // the log was lost and found again
	if got := p.land(links, life, truth(log, 8, 3), 3); got != readSuperseded {
		t.Fatal(got)
	}
	wantSyncing(t, w)
	wantSyncing(t, other)
	if a.told != 2 {
		t.Fatalf("told %d times; want 2: it landed, it is syncing", a.told)
	}
	if got := answerAt(t, p, log, 8, 2); got != readLanded {
		t.Fatal(got)
	}
	wantReading(t, w, 2, 2)
	p.apply(log, 3)
	wantReading(t, w, 3, 3)
}

func TestSeqIsThePositionNotTheLastClick(t *testing.T) {
	t.Parallel()
	// A first click at offset 0: were seq the offset of the last counted click, it would be 0 both before and after.
	log := logOf("a1 b1 b1")
	p := started(t, 8, log, 0, 0, 0)
	w := p.watch("a", new(watcher))
	answerAt(t, p, log, 8, 0)
	wantReading(t, w, 0, 0) // before any record
	p.apply(between(log, 0, 1), 1)
	wantReading(t, w, 1, 1)
	p.apply(between(log, 1, 3), 3) // nothing of a: its count is true further on all the same
	wantReading(t, w, 1, 3)
	p.apply(nil, 5) // not even a record
	wantReading(t, w, 1, 5)
}

func TestBotsAndTimeOfTheNewestClick(t *testing.T) {
	t.Parallel()
	log := []fold.Record{clickRecord(0, "a", 1, true), clickRecord(1, "a", 2, false), clickRecord(2, "a", 1, false)}
	p := started(t, 8, log, 0, 0, 3)
	w := p.watch("a", new(watcher))
	answerAt(t, p, log, 8, 0)
	r, _ := w.Read()
	if r.Count.Count != 2 || r.Bots != 1 || r.At != 1001 || r.Epoch != 3 {
		t.Fatalf("reading %+v", r)
	}
}
