package totalstest

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

// testMinutes: minutes that have expired by Redis's clock are not written, and the others know when they do.
func testMinutes(t *testing.T, b *bench) {
	retention := int64(totals.MinuteRetention / time.Minute)
	minute := thisMinute()
	old, oldest := minute-retention-1, minute-retention+5
	batch := totals.Batch{From: totals.None, To: 1, Links: oneEach("a")}
	for _, m := range []int64{old, oldest, minute} {
		batch.Minutes = append(batch.Minutes, totals.MinuteDelta{Minute: m, Links: oneEach("a")})
	}
	b.do(t, "SET", b.minuteKey(old-1), "what is not in the batch is not looked at")
	b.apply(t, batch)
	im := b.take(t, old, oldest, minute)
	if _, ok := im[b.minuteKey(old)]; ok {
		t.Fatal("a minute was written that has expired")
	}
	for _, m := range []int64{oldest, minute} {
		h, ok := im[b.minuteKey(m)]
		expires := time.Now().Unix() + h.seconds
		if want := (m + retention) * 60; !ok || h.fields["c:a"] != "1" || expires < want-2 || expires > want+2 {
			t.Fatalf("minute %d: %+v expires at %d, want %d", m, h, expires, want)
		}
	}
	if seconds := im[b.totalsKey()].seconds; seconds != -1 {
		t.Fatalf("the totals expire in %d s", seconds)
	}
}

func testHistory(t *testing.T, b *bench) {
	l := NewLedger(2, 200)
	b.apply(t, *l.Batch(0, totals.None, l.End()))
	want := l.At(l.End()).Minutes
	to := thisMinute() + 1
	from := to - 1500
	for _, link := range ledgerLinks() {
		h, err := b.epoch.History(t.Context(), 0, link, from, to)
		if err != nil || h.Next != l.End() || int64(len(h.Minutes)) != to-from {
			t.Fatalf("link %s: %d minutes at %d, %v", link, len(h.Minutes), h.Next, err)
		}
		for i, m := range h.Minutes {
			if m.Minute != from+int64(i) || (totals.Clicks{Count: m.Count, Bots: m.Bots}) != want[m.Minute][link] {
				t.Fatalf("link %s, minute %d: %+v, want %+v", link, i, m, want[m.Minute][link])
			}
		}
	}
	if h, err := b.epoch.History(t.Context(), 0, "a", to, to); err != nil || len(h.Minutes) != 0 || h.Next != l.End() {
		t.Fatalf("of no minutes: %+v, %v", h, err)
	}
	if h, err := b.epoch.History(t.Context(), 0, "a", to, from); err != nil || len(h.Minutes) != 0 {
		t.Fatalf("backwards: %+v, %v", h, err)
	}
	if _, err := b.epoch.History(t.Context(), 0, "a", 0, to); !errors.Is(err, totals.ErrTooMany) || totals.IsAway(err) {
		t.Fatalf("of more minutes than there can be: %v", err)
	}
	if _, err := b.epoch.History(t.Context(), 1, "a", from, to); !errors.Is(err, totals.ErrMissing) {
		t.Fatalf("of nothing: %v", err)
	}
}

func testHistoryOfOtherTypes(t *testing.T, b *bench) {
	minute := thisMinute()
	for name, spoil := range map[string]func(){
		"a minute":          func() { b.do(t, "SET", b.minuteKey(minute-1), "x") },
		"a minute's number": func() { b.do(t, "HSET", b.minuteKey(minute), "c:a", "many") },
		"the totals": func() {
			b.do(t, "DEL", b.totalsKey())
			b.do(t, "SET", b.totalsKey(), "x")
		},
	} {
		b.begin(t)
		b.apply(t, totals.Batch{From: totals.None})
		spoil()
		var problem *totals.KeyError
		if _, err := b.epoch.History(t.Context(), 0, "a", minute-1, minute+1); !errors.As(err, &problem) || totals.IsAway(err) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := b.epoch.Dump(t.Context(), 0); !errors.As(err, &problem) {
			t.Errorf("%s: all: %v", name, err)
		}
	}
}

// big returns more than fits into one command.
func big() *totals.Dump {
	d := NewLedger(3, 500).At(500)
	for i := range 2500 {
		link := "link-" + strconv.Itoa(i)
		t := d.Links["a"]
		t.Imported = totals.Clicks{Count: int64(i), Bots: int64(i / 2)}
		d.Links[link] = t
		d.Minutes[thisMinute()][link] = totals.Clicks{Count: 1}
	}
	return d
}

func testDumpAndRestore(t *testing.T, b *bench) {
	d := big()
	left := thisMinute() - 100 // which the dump does not have
	b.do(t, "HSET", b.minuteKey(left), "c:a", "7")
	b.do(t, "HSET", b.minuteKey(thisMinute()), "c:gone", "7")
	old := thisMinute() - 2000
	given := *d
	given.Minutes = maps.Clone(d.Minutes)
	given.Minutes[old] = map[string]totals.Clicks{"a": {Count: 1}} // a backup of yesterday has these
	if err := b.epoch.Restore(t.Context(), 0, &given); err != nil {
		t.Fatal(err)
	}
	got, err := b.epoch.Dump(t.Context(), 0)
	if err != nil || !reflect.DeepEqual(got, d) {
		t.Fatalf("%d links, %d minutes, %v; want %d, %d", len(got.Links), len(got.Minutes), err, len(d.Links), len(d.Minutes))
	}
	im := b.take(t, append(slices.Collect(maps.Keys(d.Minutes)), old, left)...)
	for key, h := range im {
		if isTotals := key == b.totalsKey(); isTotals != (h.seconds == -1) {
			t.Fatalf("%s expires in %d s", key, h.seconds)
		}
	}
	if _, ok := im[b.minuteKey(old)]; ok {
		t.Fatal("a minute was restored that has expired")
	}
	// The tally goes on.
	b.apply(t, totals.Batch{From: d.Next, To: d.Next + 1, Links: oneEach("a")})
}

func testRestoreRefused(t *testing.T, b *bench) {
	d := NewLedger(4, 100).At(100)
	b.apply(t, totals.Batch{From: totals.None})
	before := b.take(t, slices.Collect(maps.Keys(d.Minutes))...)
	if err := b.epoch.Restore(t.Context(), 0, d); !errors.Is(err, totals.ErrExists) || totals.IsAway(err) {
		t.Fatalf("over totals: %v", err)
	}
	if !b.take(t, slices.Collect(maps.Keys(d.Minutes))...).equal(before) {
		t.Fatal("a restore that was refused has changed something")
	}
	b.begin(t)
	for name, bad := range map[string]*totals.Dump{
		"a negative offset": {Position: totals.Position{Next: -1}},
		"a negative total":  {Links: map[string]totals.LinkTotal{"a": {Imported: totals.Clicks{Count: -1}}}},
		"a minute too big":  {Minutes: map[int64]map[string]totals.Clicks{thisMinute(): {"a": {Count: 1<<53 + 1}}}},
	} {
		if err := b.epoch.Restore(t.Context(), 0, bad); !errors.Is(err, totals.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.epoch.Position(t.Context(), 0); !errors.Is(err, totals.ErrMissing) {
		t.Fatalf("after none was restored: %v", err)
	}
}

func testExpireAndRemove(t *testing.T, b *bench) {
	l := NewLedger(5, 100)
	b.apply(t, *l.Batch(0, totals.None, 60))
	if err := b.epoch.Expire(t.Context(), 0, 24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := b.take(t)[b.totalsKey()].seconds; got < 86_390 || got > 86_400 {
		t.Fatalf("the totals expire in %d s", got)
	}
	b.apply(t, *l.Batch(0, 60, 100)) // whoever still writes is not disturbed, and does not undo it
	if next := l.Check(t, b.epoch, 0); next != 100 {
		t.Fatalf("next %d", next)
	}
	if got := b.take(t)[b.totalsKey()].seconds; got < 86_390 {
		t.Fatalf("after a batch the totals expire in %d s", got)
	}
	if err := b.epoch.Remove(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if im := b.take(t, minutesOf(l.Batch(0, 0, 100))...); len(im) != 0 {
		t.Fatalf("after it was removed there is %v", im)
	}
	for range 2 { // nothing is no error
		if err := errors.Join(b.epoch.Remove(t.Context(), 0), b.epoch.Expire(t.Context(), 0, time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}
