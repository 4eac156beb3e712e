package fold

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

func TestDuplicateIsRawOccurrence(t *testing.T) {
	t.Parallel()
	// Were a duplicate one of a counted record, the third would count: the first has left the window.
	p := params(2)
	log := parse(t, "a1 a1 a1 a1")
	if got := addAll(New(p), log); got != 1 {
		t.Fatalf("counted %d, want 1", got)
	}
	for n := int64(2); n <= 4; n++ {
		f := warmed(p, log, n-2, n)
		if got := addAll(f, log); got != 0 {
			t.Errorf("a reader that begins at %d counts %d more, want 0", n, got)
		}
	}
}

func TestWindowReachesBackExactly(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		trace string
		want  int
	}{
		{"a1 b1 a1", 2},    // the first is at o-D, in the window
		{"a1 b1 b2 a1", 4}, // the first is at o-D-1
		{"a1 b1 a2", 3},
	} {
		if got := addAll(New(params(2)), parse(t, tc.trace)); got != tc.want {
			t.Errorf("%q: counted %d, want %d", tc.trace, got, tc.want)
		}
	}
}

func TestTimeBoundIsExclusiveAndBothWays(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		trace string
		want  int
	}{
		{"a1@0 a1@9", 1},
		{"a1@0 a1@10", 2},
		{"a1@10 a1@0", 2}, // times may go back
		{"a1@9 a1@0", 1},
		// The newest occurrence is too far away in time and an older one is not: every occurrence is looked at.
		{"a1@0 a1@50 a1@5", 2},
		{"a1@0 a1@50 a1@100 a1@9", 3},
	} {
		f := New(Params{Window: 8, Within: 10 * time.Millisecond})
		if got := addAll(f, parse(t, tc.trace)); got != tc.want {
			t.Errorf("%q: counted %d, want %d", tc.trace, got, tc.want)
		}
	}
}

func TestTimesOfForeignProducersDoNotOverflow(t *testing.T) {
	t.Parallel()
	f := New(params(4))
	for i, at := range []int64{math.MinInt64, math.MaxInt64, 0, math.MinInt64 + 1} {
		e := event{offset: int64(i), time: at, link: "a", id: 1}
		want := Counted
		if i == 3 {
			want = Duplicate // of the first, 1 ms away
		}
		if got := f.Add(e.record()); got != want {
			t.Fatalf("time %d: %v, want %v", at, got, want)
		}
	}
}

func TestRetentionCutsInsideTheWindow(t *testing.T) {
	t.Parallel()
	// The log is a1 a1; the first was folded (total 1), then retention cut it. A reader that starts now finds nothing to
	// warm up with.
	fresh := func(p Params, log []event) int {
		f := New(p)
		f.Reset(1)
		return 1 + addAll(f, log[1:])
	}
	const hour = int64(time.Hour / time.Millisecond)
	forever := Params{Window: 2, Within: math.MaxInt64}
	timed := params(2)

	near := []event{{offset: 0, link: "a", id: 1}, {offset: 1, link: "a", id: 1, time: hour - 1}}
	far := []event{{offset: 0, link: "a", id: 1}, {offset: 1, link: "a", id: 1, time: hour}}
	if whole, cut := addAll(New(forever), far), fresh(forever, far); whole != 1 || cut != 2 {
		t.Fatalf("without a time bound: whole log %d, cut log %d; the trace has 1 and 2", whole, cut)
	}
	if whole, cut := addAll(New(timed), far), fresh(timed, far); whole != cut {
		t.Fatalf("with it, a record that could be cut still matters: whole log %d, cut log %d", whole, cut)
	}
	if whole := addAll(New(timed), near); whole != 1 {
		t.Fatalf("within the bound: counted %d, want 1", whole)
	}
}

func TestWarmUpIsTheWholeWindow(t *testing.T) {
	t.Parallel()
	p := params(2)
	log := parse(t, "a1 a2 a1")
	before := addAll(New(p), log[:2])
	if got := before + addAll(warmed(p, log, 0, 2), log); got != 2 {
		t.Errorf("warmed up with [n-D, n): %d, want 2", got)
	}
	if got := before + addAll(warmed(p, log, 1, 2), log); got != 3 {
		t.Errorf("warmed up with one record less: %d; the trace has 3", got)
	}
}

func TestRecordsBelowThePositionAreSkipped(t *testing.T) {
	t.Parallel()
	log := parse(t, "a1 a2 a3 a4 a5")
	f := New(params(8))
	f.Reset(3)
	if got := addAll(f, log); got != 2 || f.Position() != 5 {
		t.Fatalf("counted %d up to %d, want 2 up to 5", got, f.Position())
	}
	if got := f.Add(log[4].record()); got != Stale || f.Position() != 5 {
		t.Fatalf("the last record again: %v at %d, want stale at 5", got, f.Position())
	}
	f.Warm(log[4].record())
	if f.Floor() != 3 {
		t.Fatalf("a stale record moved the floor to %d", f.Floor())
	}
}

func TestClicksWithoutIDAlwaysCount(t *testing.T) {
	t.Parallel()
	if got := addAll(New(params(8)), parse(t, "a0 a0 a0 a1 a0")); got != 5 {
		t.Fatalf("counted %d, want 5", got)
	}
}

func TestSameIDOnAnotherLinkIsAnotherClick(t *testing.T) {
	t.Parallel()
	if got := addAll(New(params(8)), parse(t, "a1 b1 a1 b1")); got != 2 {
		t.Fatalf("counted %d, want 2", got)
	}
}

func TestPoisonKeepsItsOffsetAndCountsNothing(t *testing.T) {
	t.Parallel()
	f := New(params(2))
	for i, want := range []Verdict{Counted, Poison, Duplicate, Poison, Poison, Counted} {
		e := event{offset: int64(i), link: "a", id: 1, poison: want == Poison}
		if got := f.Add(e.record()); got != want {
			t.Fatalf("offset %d: %v, want %v", i, got, want)
		}
		if f.Position() != int64(i)+1 {
			t.Fatalf("position %d after offset %d", f.Position(), i)
		}
		if link, _ := f.Last(); (link == nil) != (want == Poison) {
			t.Fatalf("offset %d: last link %q", i, link)
		}
	}
	wantList(t, "ring", walk(f, 4, 6), []string{describe(5, 0, "a", false)})
	bad := Record{Offset: 6, Key: []byte("no link"), Value: event{link: "a", id: 1}.record().Value}
	if got := f.Add(bad); got != Poison {
		t.Fatalf("key that is no link: %v", got)
	}
}

func TestPositionMovesWhereNothingCounts(t *testing.T) {
	t.Parallel()
	f := New(params(4))
	addAll(f, parse(t, "! a1 a1 ! a1"))
	if f.Position() != 5 {
		t.Fatalf("position %d, want 5", f.Position())
	}
	f.Skip(9)
	f.Skip(7) // not ahead
	if f.Position() != 9 || f.Floor() != 5 {
		t.Fatalf("position %d, floor %d after a hole; want 9, 5", f.Position(), f.Floor())
	}
}

func TestHolesTakeRoomInTheWindow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		window int64
		want   int
	}{{2, 2}, {3, 1}} {
		f := New(params(tc.window))
		if got := addAll(f, parse(t, "a1 . . a1")); got != tc.want {
			t.Errorf("D = %d: counted %d, want %d", tc.window, got, tc.want)
		}
	}
	f := New(params(3))
	addAll(f, parse(t, "a1 a2 a3"))
	f.Skip(1000) // far more than the window
	wantList(t, "ring after a long hole", walk(f, f.Floor(), f.Position()), nil)
	if got := f.Add(event{offset: 1000, link: "a", id: 3}.record()); got != Counted || f.Floor() != 998 {
		t.Fatalf("after a long hole: %v, floor %d; want counted, 998", got, f.Floor())
	}
}

func TestWarmUpIsNotInTheRing(t *testing.T) {
	t.Parallel()
	// a1 a2 a1, D = 2; a reader starts at 3. If totals roll back to 2, the record at 2 would be taken for a counted one
	// (it is a duplicate) and the total would be 3 instead of 2. The floor forbids the question, and the ring is empty.
	p := params(2)
	log := parse(t, "a1 a2 a1")
	f := warmed(p, log, 1, 3)
	if f.Floor() != 3 {
		t.Fatalf("floor %d, want 3", f.Floor())
	}
	wantList(t, "ring", walk(f, 1, 3), nil)
	if got := f.Add(event{offset: 3, link: "a", id: 2}.record()); got != Duplicate {
		t.Fatalf("a duplicate of a warm-up record: %v", got)
	}
}

func TestEmptyRingHasAFloor(t *testing.T) {
	t.Parallel()
	f := New(params(4))
	if f.Floor() != 0 {
		t.Fatalf("floor of a new fold is %d, want 0", f.Floor())
	}
	f.Reset(7)
	if f.Floor() != 7 || f.Position() != 7 {
		t.Fatalf("floor %d, position %d after a reset to 7", f.Floor(), f.Position())
	}
	f.Skip(9) // nothing is there, and that is known
	if f.Floor() != 7 {
		t.Fatalf("floor %d after a hole, want 7", f.Floor())
	}
}

func TestFloorIsTheLaterOfWarmUpAndWindow(t *testing.T) {
	t.Parallel()
	log := parse(t, "a1 a2 a3 a4 a5 a6 a7 a8")
	f := warmed(params(3), log, 1, 4)
	for _, want := range []int64{4, 4, 4, 5} {
		e := log[f.Position()]
		f.Add(e.record())
		if f.Floor() != want {
			t.Fatalf("floor %d at %d, want %d", f.Floor(), f.Position(), want)
		}
	}
}

func TestLastClick(t *testing.T) {
	t.Parallel()
	f := New(params(2))
	if link, _ := f.Last(); link != nil {
		t.Fatalf("last link of a new fold: %q", link)
	}
	f.Add(event{link: "a", id: 1, bot: true}.record())
	if link, bot := f.Last(); string(link) != "a" || !bot {
		t.Fatalf("last = %q, %v", link, bot)
	}
	f.Skip(5)
	if link, _ := f.Last(); link != nil {
		t.Fatalf("last link after a hole: %q", link)
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	var a, b Total
	a.Add(true, 5)
	b.Add(false, 3)
	b.Add(true, 4)
	if got, want := a.Plus(b), (Total{Count: 3, Bots: 2, AtMs: 4}); got != want {
		t.Fatalf("a + b = %+v, want %+v", got, want)
	}
	if got := a.Plus(Total{}); got != a {
		t.Fatalf("a + nothing = %+v, want %+v", got, a)
	}
}

func TestParamsAreChecked(t *testing.T) {
	t.Parallel()
	for _, p := range []Params{{}, {Window: 1}, {Within: time.Hour}, {Window: MaxWindow + 1, Within: time.Hour}} {
		if p.Check() == nil {
			t.Errorf("%+v passed", p)
		}
	}
	if err := (Params{Window: MaxWindow, Within: time.Millisecond}).Check(); err != nil {
		t.Error(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("New took parameters that Check refuses")
		}
	}()
	New(Params{})
}

func TestFullTagCollisionsAreTold(t *testing.T) {
	t.Parallel()
	// All records in one chain with one tag, as if the hash were constant: whole keys decide.
	f := New(params(64))
	f.heads = make([]int64, 1)
	for o := range int64(200) {
		e := event{offset: o, link: strings.Repeat("x", 1+int(o)%5), id: byte(1 + o%40)}
		tag, _ := f.chain(f.keyOf(click.ID{15: e.id}, []byte(e.link)))
		for i := range f.ring {
			f.ring[i].tag = tag
		}
		f.heads[0] = o // chain made the record its own predecessor; the one before it is at o-1
		want := Counted
		if o >= 40 {
			want = Duplicate // of the record 40 offsets before
		}
		if got := f.Add(e.record()); got != want {
			t.Fatalf("offset %d: %v, want %v", o, got, want)
		}
	}
}
