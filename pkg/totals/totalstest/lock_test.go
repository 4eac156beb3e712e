package totalstest

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

func TestLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := New(t).Open(t)
		take := func() (*totals.Lock, error) { return s.Lock(t.Context(), "rebuild", "alice on ops-1", 30*time.Second) }
		mine, err := take()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := take(); !errors.Is(err, totals.ErrLocked) || !strings.Contains(err.Error(), "alice on ops-1") {
			t.Fatalf("a second one: %v", err)
		}
		for range 5 {
			time.Sleep(20 * time.Second)
			if err := mine.Extend(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := take(); !errors.Is(err, totals.ErrLocked) {
			t.Fatalf("after it was extended: %v", err)
		}
		time.Sleep(31 * time.Second)
		if err := mine.Extend(t.Context()); !errors.Is(err, totals.ErrLocked) {
			t.Fatalf("extending what is over: %v", err)
		}
		theirs, err := take()
		if err != nil {
			t.Fatal(err)
		}
		if err := mine.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := take(); !errors.Is(err, totals.ErrLocked) {
			t.Fatalf("after somebody else gave back what was not theirs: %v", err)
		}
		if err := theirs.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := take(); err != nil {
			t.Fatalf("after it was given back: %v", err)
		}
	})
}

func TestSurvey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := New(t).Open(t).Epoch(1, totals.RuleOf(params))
		if s, err := e.Survey(t.Context(), 0); err != nil || s != (totals.Survey{}) {
			t.Fatalf("of nothing: %+v, %v", s, err)
		}
		minute := time.Now().Unix() / 60
		at := func(m int64) []totals.MinuteDelta {
			return []totals.MinuteDelta{{Minute: m, Links: []totals.LinkDelta{{Link: "a", Count: 1}}}}
		}
		links := []totals.LinkDelta{{Link: "a", Count: 2}, {Link: "next", Count: 1, Bots: 1}}
		for _, b := range []totals.Batch{
			{From: totals.None}, {To: 3, Links: links, Minutes: at(minute - 1400)}, {From: 3, To: 4, Minutes: at(minute - 700)},
		} {
			if err := e.Apply(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
		}
		if s, err := e.Survey(t.Context(), 0); err != nil || s != (totals.Survey{Links: 2, NewestMinute: minute - 700}) {
			t.Fatalf("%+v, %v; want the minute %d", s, err, minute-700)
		}
	})
}
