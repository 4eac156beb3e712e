package recount_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/recount"
)

func newFold() *fold.Fold { return fold.New(fold.Params{Window: 3, Within: time.Hour}) }

func clickOf(link string, id byte, bot bool) fold.Record {
	value := click.Record{ID: click.ID{15: id}, Bot: bot}
	return fold.Record{TimeMs: 100 + int64(id), Key: []byte(link), Value: value.Append(nil)}
}

// sample is a log with everything in it: a 1, a 1 again, a hole, poison, b 1 by a bot, a 1 outside the window.
func sample() *feedtest.Topic {
	topic := feedtest.New(2)
	topic.Append(1, clickOf("a", 1, false))
	topic.Append(1, clickOf("a", 1, false))
	topic.Hole(1, 2)
	topic.Append(1, fold.Record{Key: []byte("a"), Value: []byte("{}")})
	topic.Append(1, clickOf("b", 2, true))
	topic.Append(1, clickOf("a", 1, false))
	return topic
}

func TestRunCountsEveryLink(t *testing.T) {
	t.Parallel()
	var positions []int64
	res, err := recount.Run(t.Context(), sample(), newFold(), recount.Request{
		Partition: 1,
		Progress:  func(position, _ int64) { positions = append(positions, position) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]fold.Total{"a": {Count: 2, AtMs: 101}, "b": {Count: 1, Bots: 1, AtMs: 102}}
	if !maps.Equal(res.Totals, want) {
		t.Fatalf("totals %v, want %v", res.Totals, want)
	}
	if res.Start != 0 || res.Next != 7 || res.Duplicates != 1 || res.Poison != 1 || res.Holes != 2 {
		t.Fatalf("result %+v", res)
	}
	if len(positions) == 0 || positions[len(positions)-1] != 7 {
		t.Fatalf("progress %v, want it to end at 7", positions)
	}
}

func TestRunCountsOnlyTheLinksAskedFor(t *testing.T) {
	t.Parallel()
	res, err := recount.Run(t.Context(), sample(), newFold(), recount.Request{Partition: 1, Links: []string{"b", "never"}})
	if err != nil || !maps.Equal(res.Totals, map[string]fold.Total{"b": {Count: 1, Bots: 1, AtMs: 102}}) {
		t.Fatalf("totals %v, %v; want b alone", res.Totals, err)
	}
	none, err := recount.Run(t.Context(), sample(), newFold(), recount.Request{Partition: 1, Links: []string{}})
	if err != nil || len(none.Totals) != 0 {
		t.Fatalf("totals %v, %v; want none: no link was asked for", none.Totals, err)
	}
}

func TestRunOfACutLogSaysWhereItBegins(t *testing.T) {
	t.Parallel()
	topic := sample()
	topic.Cut(1, 5)
	res, err := recount.Run(t.Context(), topic, newFold(), recount.Request{Partition: 1})
	if err != nil || res.Start != 5 || res.Next != 7 || res.Totals["a"].Count != 1 {
		t.Fatalf("result %+v, %v", res, err)
	}
}

func TestRunOfAnEmptyLog(t *testing.T) {
	t.Parallel()
	res, err := recount.Run(t.Context(), sample(), newFold(), recount.Request{Partition: 0})
	if err != nil || res.Next != 0 || len(res.Totals) != 0 {
		t.Fatalf("result %+v, %v", res, err)
	}
}

func TestRunEndsWithItsContextAndWithErrors(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := recount.Run(ctx, sample(), newFold(), recount.Request{Partition: 1}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	trouble := errors.New("broker away")
	topic := sample()
	topic.Fail(1, 1, trouble)
	if _, err := recount.Run(t.Context(), topic, newFold(), recount.Request{Partition: 1}); !errors.Is(err, trouble) {
		t.Fatalf("error %v", err)
	}
}

func TestRunUntil(t *testing.T) {
	t.Parallel()
	for until, want := range map[int64]map[string]fold.Total{
		0: {},
		1: {"a": {Count: 1, AtMs: 101}},
		4: {"a": {Count: 1, AtMs: 101}},
		5: {"a": {Count: 1, AtMs: 101}},
		6: {"a": {Count: 1, AtMs: 101}, "b": {Count: 1, Bots: 1, AtMs: 102}},
	} {
		f := newFold()
		res, err := recount.Run(t.Context(), sample(), f, recount.Request{Partition: 1, Until: &until})
		if err != nil || res.Next != until || f.Position() != until || !maps.Equal(res.Totals, want) {
			t.Errorf("until %d: %+v, %v", until, res, err)
		}
		if until == 4 && (res.Holes != 2 || res.Duplicates != 1 || res.Last.Offset != 1) {
			t.Errorf("until %d: %+v", until, res)
		}
	}
	if _, err := recount.Run(t.Context(), sample(), newFold(), recount.Request{Partition: 1, Until: new(int64(8))}); !errors.Is(err, feed.ErrBeyondEnd) {
		t.Errorf("beyond the end: %v", err)
	}
}

// Wherever it is cut in two, the two parts are the whole: the second one is warmed up.
func TestRunFrom(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(1)
	for _, id := range []byte{1, 2, 1, 3, 2, 1, 1, 4, 3, 1, 2, 2} {
		topic.Append(0, clickOf("a", id, id == 2))
		topic.Append(0, clickOf("b", id, false))
	}
	whole, err := recount.Run(t.Context(), topic, newFold(), recount.Request{})
	if err != nil {
		t.Fatal(err)
	}
	for from := int64(0); from <= whole.Next; from++ {
		first, err := recount.Run(t.Context(), topic, newFold(), recount.Request{Until: &from})
		if err != nil {
			t.Fatal(err)
		}
		second, err := recount.Run(t.Context(), topic, newFold(), recount.Request{From: from, Window: 3})
		if err != nil || second.From != from || second.Next != whole.Next {
			t.Fatalf("from %d: %+v, %v", from, second, err)
		}
		for link, want := range whole.Totals {
			if got := first.Totals[link].Plus(second.Totals[link]); got != want {
				t.Errorf("cut at %d: %s %+v, want %+v", from, link, got, want)
			}
		}
		if first.Duplicates+second.Duplicates != whole.Duplicates {
			t.Errorf("cut at %d: %d + %d duplicates, want %d", from, first.Duplicates, second.Duplicates, whole.Duplicates)
		}
	}
}

func TestRunByMinute(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(1)
	for i, minute := range []int64{10, 11, 11, 10, 12} {
		r := clickOf("a", byte(i), i == 2)
		r.TimeMs = minute*60_000 + int64(i)
		topic.Append(0, r)
	}
	res, err := recount.Run(t.Context(), topic, newFold(), recount.Request{MinutesSince: 11})
	want := map[int64]map[string]fold.Total{11: {"a": {Count: 2, Bots: 1}}, 12: {"a": {Count: 1}}}
	if err != nil || !maps.EqualFunc(res.Minutes, want, maps.Equal) {
		t.Fatalf("minutes %v, %v; want %v", res.Minutes, err, want)
	}
	if res.Totals["a"].Count != 5 || res.Last.Offset != 4 || string(res.Last.Key) != "a" {
		t.Fatalf("result %+v", res)
	}
}

// A topic that is created anew while it is counted gives no totals of both, however long it is.
func TestNoCountOfTwoLogs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topic := feedtest.New(1)
		topic.HasIDs, topic.BatchRecords = true, 1
		for n := range byte(5) {
			topic.Append(0, clickOf("a", n, false))
		}
		anew := topic.Records(0)
		res, err := recount.Run(t.Context(), topic, newFold(), recount.Request{
			Progress: func(position, _ int64) {
				if position == 2 {
					topic.CreateAnew(0, anew...)
				}
			},
		})
		if err == nil || !strings.Contains(err.Error(), "created anew") {
			t.Fatalf("%+v, %v", res, err)
		}
	})
}
