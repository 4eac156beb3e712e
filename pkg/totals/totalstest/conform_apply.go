package totalstest

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

func testApply(t *testing.T, b *bench) {
	if _, err := b.epoch.Position(t.Context(), 0); !errors.Is(err, totals.ErrMissing) {
		t.Fatalf("position of nothing: %v", err)
	}
	if _, _, err := b.epoch.Totals(t.Context(), 0, []string{"a"}); !errors.Is(err, totals.ErrMissing) {
		t.Fatalf("totals of nothing: %v", err)
	}
	b.apply(t,
		totals.Batch{From: totals.None},
		totals.Batch{To: 10, Last: totals.Fingerprint{Offset: 9, Sum: 77}, Links: []totals.LinkDelta{{Link: "a", Count: 3, Bots: 1, AtMs: 1234}, {Link: "b", Count: 5, AtMs: 99}}},
		totals.Batch{From: 10, To: 12, Last: totals.Fingerprint{Offset: 11, Sum: 1}}, // nothing in it counts
		totals.Batch{From: 12, To: 13, Last: totals.Fingerprint{Offset: 12, Sum: 1<<64 - 1}, Links: []totals.LinkDelta{{Link: "a", Count: 1, AtMs: -1}}},
	)
	pos, err := b.epoch.Position(t.Context(), 0)
	if err != nil || pos != (totals.Position{Next: 13, Last: totals.Fingerprint{Offset: 12, Sum: 1<<64 - 1}}) {
		t.Fatalf("position %+v, %v", pos, err)
	}
	b.do(t, "HSET", b.totalsKey(), "i:a", "100", "ib:a", "7", "i:c", "2")
	got, pos, err := b.epoch.Totals(t.Context(), 0, []string{"a", "b", "c", "none"})
	want := map[string]fold.Total{"a": {Count: 104, Bots: 8, AtMs: -1}, "b": {Count: 5, AtMs: 99}, "c": {Count: 2}}
	if wantAt := (totals.Position{Next: 13, Last: totals.Fingerprint{Offset: 12, Sum: 1<<64 - 1}}); err != nil || pos != wantAt ||
		!reflect.DeepEqual(got, want) {
		t.Fatalf("totals %v at %v, %v", got, pos, err)
	}
}

func testNames(t *testing.T, b *bench) {
	links := append(ledgerLinks(), strings.Repeat("z", 128))
	b.apply(t, totals.Batch{From: totals.None}, totals.Batch{
		To: 7, Links: oneEach(links...), Minutes: []totals.MinuteDelta{{Minute: thisMinute(), Links: oneEach(links...)}},
	})
	got, pos, err := b.epoch.Totals(t.Context(), 0, links)
	if err != nil || pos.Next != 7 || len(got) != len(links) {
		t.Fatalf("totals %v at %v, %v", got, pos, err)
	}
	for _, link := range links {
		if got[link] != (fold.Total{Count: 1, AtMs: 1}) {
			t.Errorf("link %s: %+v", link, got[link])
		}
	}
}

func testRefusals(t *testing.T, b *bench) {
	refused := func(want int64, batch totals.Batch) {
		t.Helper()
		before := b.take(t)
		var err *totals.RefusedError
		if got := b.epoch.Apply(t.Context(), &batch); !errors.As(got, &err) || err.Have != want || totals.IsAway(got) {
			t.Fatalf("[%d, %d): %v, want a refusal at %d", batch.From, batch.To, got, want)
		}
		if !b.take(t).equal(before) {
			t.Fatal("a batch that was refused has changed something")
		}
	}
	refused(totals.None, totals.Batch{To: 1, Links: oneEach("a")}) // a missing next is not 0
	b.apply(t, totals.Batch{From: totals.None})
	refused(0, totals.Batch{From: totals.None})
	refused(0, totals.Batch{From: 1, To: 2, Links: oneEach("a")})
	batch := totals.Batch{To: 1, Links: oneEach("a")}
	b.apply(t, batch)
	refused(1, batch)

	before := b.take(t)
	other := b.store.Epoch(b.number, totals.Rule{Window: 1, FoldVersion: 1})
	var rule *totals.RuleError
	if err := other.Apply(t.Context(), &totals.Batch{From: 1, To: 2}); !errors.As(err, &rule) || rule.Want != "1/0/1" {
		t.Fatalf("another rule: %v", err)
	}
	if err := other.Apply(t.Context(), &totals.Batch{From: 5, To: 9}); !errors.As(err, &rule) {
		t.Fatalf("another rule, elsewhere: %v", err) // the rule is what is wrong, wherever the batch begins
	}
	if _, err := other.Position(t.Context(), 0); !errors.As(err, &rule) || totals.IsAway(err) {
		t.Fatalf("position by another rule: %v", err)
	}
	if _, _, err := other.Totals(t.Context(), 0, []string{"a"}); !errors.As(err, &rule) {
		t.Fatalf("totals by another rule: %v", err)
	}
	if _, err := other.History(t.Context(), 0, "a", 1, 2); !errors.As(err, &rule) {
		t.Fatalf("history by another rule: %v", err)
	}
	if _, err := other.Dump(t.Context(), 0); !errors.As(err, &rule) {
		t.Fatalf("all by another rule: %v", err)
	}
	if !b.take(t).equal(before) {
		t.Fatal("a writer of another rule has changed something")
	}
}

// testEpochs: totals of an epoch are of no other one. A writer that has not heard of the new epoch goes on where nobody
// reads any more, also where its batch would fit the new totals: a topic that was created anew begins at 0, too.
func testEpochs(t *testing.T, b *bench) {
	b.apply(t, totals.Batch{From: totals.None}, totals.Batch{To: 5, Links: oneEach("a", "b")})
	zombie := b.epoch
	b.begin(t)
	b.apply(t, totals.Batch{From: totals.None}, totals.Batch{To: 5, Links: oneEach("c")})
	before := b.take(t)
	if err := zombie.Apply(t.Context(), &totals.Batch{From: 5, To: 6, Links: oneEach("a", "c")}); err != nil {
		t.Fatalf("a writer of the old epoch: %v", err)
	}
	if !b.take(t).equal(before) {
		t.Fatal("a writer of the old epoch has changed totals of the new one")
	}
	got, pos, err := b.epoch.Totals(t.Context(), 0, []string{"a", "c"})
	if err != nil || pos.Next != 5 || got["a"].Count != 0 || got["c"].Count != 1 {
		t.Fatalf("%v at %v, %v; want one click on c at 5", got, pos, err)
	}
}

// testNothingInPart: a batch that meets something that it cannot add to, in any of its keys, changes none of them.
func testNothingInPart(t *testing.T, b *bench) {
	minute := thisMinute()
	minutes := []int64{minute - 2, minute - 1, minute}
	batch := &totals.Batch{To: 9, Links: oneEach("a", "b")}
	for _, m := range minutes {
		batch.Minutes = append(batch.Minutes, totals.MinuteDelta{Minute: m, Links: oneEach("a", "b")})
	}
	batch.Links[1].Bots = 1 // so that it is not the same as in the minutes
	for name, spoil := range map[string]func() (key string){
		"a list in the place of a minute": func() string {
			b.do(t, "RPUSH", b.minuteKey(minute), "x")
			return b.minuteKey(minute)
		},
		"a string in the place of another": func() string {
			b.do(t, "SET", b.minuteKey(minute-1), "x")
			return b.minuteKey(minute - 1)
		},
		"a word in a minute": func() string {
			b.do(t, "HSET", b.minuteKey(minute), "c:b", "many")
			return b.minuteKey(minute)
		},
		"a word in the totals": func() string {
			b.do(t, "HSET", b.totalsKey(), "b:b", "many")
			return b.totalsKey()
		},
		"no next": func() string {
			b.do(t, "HDEL", b.totalsKey(), "next")
			batch.From = totals.None
			return b.totalsKey()
		},
		"totals that are a string": func() string {
			b.do(t, "DEL", b.totalsKey())
			b.do(t, "SET", b.totalsKey(), "x")
			return b.totalsKey()
		},
	} {
		b.begin(t)
		b.apply(t, totals.Batch{From: totals.None})
		batch.From = 0
		key := spoil()
		before := b.take(t, minutes...)
		var problem *totals.KeyError
		if err := b.epoch.Apply(t.Context(), batch); !errors.As(err, &problem) || problem.Key != key || totals.IsAway(err) {
			t.Errorf("%s: %v, want the key %s", name, err, key)
		}
		if !b.take(t, minutes...).equal(before) {
			t.Errorf("%s: something was applied", name)
		}
	}
}

// testNumbers: no sum is rounded, and nothing that is no whole number of clicks is taken for one.
func testNumbers(t *testing.T, b *bench) {
	const most = 1 << 53
	for _, c := range []struct {
		was string
		add int64
		sum int64 // 0: it is refused
	}{
		{"0", most, most},
		{strconv.Itoa(most - 1), 1, most},
		{strconv.Itoa(most), 0, most},
		{strconv.Itoa(most), 1, 0}, // which is most again in a double
		{strconv.Itoa(most - 1), 2, 0},
		{"123456789012345", 98765432109876, 222222221122221},
		{"9223372036854775807", 1, 0},
		{"9223372036854775808", 1, 0},
		{"-1", 2, 0},
		{"1.5", 1, 0},
		{"nan", 1, 0},
		{"inf", 1, 0},
		{"", 1, 0},
		{"many", 1, 0},
	} {
		name := fmt.Sprintf("%q + %d", c.was, c.add)
		b.begin(t)
		b.apply(t, totals.Batch{From: totals.None})
		b.do(t, "HSET", b.totalsKey(), "c:a", c.was)
		err := b.epoch.Apply(t.Context(), &totals.Batch{To: 1, Links: []totals.LinkDelta{{Link: "a", Count: c.add}}})
		var problem *totals.KeyError
		switch {
		case c.sum == 0 && !errors.As(err, &problem):
			t.Errorf("%s: %v, want a refusal", name, err)
		case c.sum != 0 && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.sum != 0:
			got, _, err := b.epoch.Totals(t.Context(), 0, []string{"a"})
			if err != nil || got["a"].Count != c.sum {
				t.Errorf("%s: %d, %v, want %d", name, got["a"].Count, err, c.sum)
			}
		}
	}
	for _, d := range []totals.LinkDelta{{Count: -1}, {Count: most + 1}, {Count: 1, Bots: -1}, {Count: 1, Bots: most + 1}} {
		batch := &totals.Batch{To: 1, Links: []totals.LinkDelta{d}}
		if err := b.epoch.Apply(t.Context(), batch); !errors.Is(err, totals.ErrInvalid) || totals.IsAway(err) {
			t.Errorf("%+v: %v", d, err)
		}
		batch = &totals.Batch{To: 1, Minutes: []totals.MinuteDelta{{Minute: 1, Links: []totals.LinkDelta{d}}}}
		if err := b.epoch.Apply(t.Context(), batch); !errors.Is(err, totals.ErrInvalid) {
			t.Errorf("%+v in a minute: %v", d, err)
		}
	}
}

// testCreatedAnew: totals that were evicted are folded again from the start of the log, and the minutes that outlived
// them with them.
func testCreatedAnew(t *testing.T, b *bench) {
	l := NewLedger(1, 50)
	b.apply(t, *l.Batch(0, totals.None, 50))
	b.do(t, "DEL", b.totalsKey())
	b.apply(t, *l.Batch(0, totals.None, 30))
	if next := l.Check(t, b.epoch, 0); next != 30 {
		t.Fatalf("next %d", next)
	}
	b.do(t, "DEL", b.totalsKey())
	b.apply(t, totals.Batch{From: totals.None}, *l.Batch(0, 0, 50))
	if next := l.Check(t, b.epoch, 0); next != 50 {
		t.Fatalf("next %d", next)
	}
}

// testManyLinks: more of everything than fits into one command of a script.
func testManyLinks(t *testing.T, b *bench) {
	const n = 10_000
	batch := &totals.Batch{From: totals.None, To: n, Minutes: []totals.MinuteDelta{{Minute: thisMinute()}, {Minute: thisMinute() - 1}}}
	links := make([]string, n)
	for i := range n {
		links[i] = "link-" + strconv.Itoa(i)
		d := totals.LinkDelta{Link: links[i], Count: int64(i + 2), Bots: int64(i % 3), AtMs: int64(i)}
		batch.Links = append(batch.Links, d)
		d.Count, d.Bots = 1, 0
		batch.Minutes[i%2].Links = append(batch.Minutes[i%2].Links, d)
	}
	b.apply(t, *batch)
	batch.From, batch.To = n, 2*n
	b.apply(t, *batch)
	got, pos, err := b.epoch.Totals(t.Context(), 0, links)
	if err != nil || pos.Next != 2*n || len(got) != n {
		t.Fatalf("%d totals at %v, %v", len(got), pos, err)
	}
	for i, link := range links {
		if want := (fold.Total{Count: 2 * int64(i+2), Bots: 2 * int64(i%3), AtMs: int64(i)}); got[link] != want {
			t.Fatalf("link %s: %+v, want %+v", link, got[link], want)
		}
	}
	h, err := b.epoch.History(t.Context(), 0, links[n-1], batch.Minutes[1].Minute, batch.Minutes[1].Minute+1)
	if err != nil || h.Minutes[0].Count != 2 {
		t.Fatalf("history %+v, %v", h, err)
	}
}
