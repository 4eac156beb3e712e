package totals

import (
	"context"
	"errors"
	"io"
	"net"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testRule = Rule{Window: 100, Within: time.Hour, FoldVersion: 1}

// world is a Redis in memory, and a store that reaches it without a socket.
type world struct {
	redis *miniredis.Miniredis
	store *Store
	away  bool
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{redis: miniredis.NewMiniRedis()}
	w.redis.ClockTTL(true)
	t.Cleanup(w.redis.Close)
	w.store = w.open(t)
	return w
}

func (w *world) open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(Config{Addrs: []string{"redis:6379"}, Prefix: "test", Timeout: 2 * time.Second},
		WithDialer(func(context.Context, string, string) (net.Conn, error) {
			if w.away {
				return nil, io.ErrUnexpectedEOF
			}
			conn, err := w.redis.Dial()
			if err != nil {
				return nil, err
			}
			return newRoomy(conn), nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestApplyAndRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.store.Epoch(1, testRule)
		if _, err := e.Position(t.Context(), 3); !errors.Is(err, ErrMissing) {
			t.Fatalf("Position of nothing = %v", err)
		}
		if err := e.Apply(t.Context(), &Batch{Partition: 3, From: None, To: 0}); err != nil {
			t.Fatal(err)
		}
		minute := time.Now().Unix() / 60
		b := &Batch{
			Partition: 3, From: 0, To: 10, Last: Fingerprint{9, 77},
			Links: []LinkDelta{{"next", 3, 1, 1234}, {"c:x", 5, 0, 99}},
			Minutes: []MinuteDelta{
				{minute, []LinkDelta{{Link: "next", Count: 2, Bots: 1}}},
				{minute - 26*60, []LinkDelta{{Link: "next", Count: 1}}},
			},
		}
		if err := e.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		var refused *RefusedError
		if err := e.Apply(t.Context(), b); !errors.As(err, &refused) || refused.Have != 10 {
			t.Fatalf("again: %v", err)
		}
		pos, err := e.Position(t.Context(), 3)
		if err != nil || pos != (Position{10, Fingerprint{9, 77}}) {
			t.Fatalf("Position = %v, %v", pos, err)
		}
		totals, pos, err := e.Totals(t.Context(), 3, []string{"next", "c:x", "none"})
		if err != nil || pos != (Position{10, Fingerprint{9, 77}}) || len(totals) != 2 || totals["next"] != (fold.Total{Count: 3, Bots: 1, AtMs: 1234}) ||
			totals["c:x"] != (fold.Total{Count: 5, AtMs: 99}) {
			t.Fatalf("Totals = %v, %v, %v", totals, pos, err)
		}
	})
}

func TestHistoryDumpAndRestore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		e := w.store.Epoch(1, testRule)
		minute := time.Now().Unix() / 60
		b := &Batch{
			From: None, To: 10, Last: Fingerprint{9, 77},
			Links: []LinkDelta{{"a", 3, 1, 1234}, {"b", 5, 0, 99}},
			Minutes: []MinuteDelta{
				{minute - 2, []LinkDelta{{Link: "a", Count: 2, Bots: 1}, {Link: "b", Count: 5}}},
				{minute, []LinkDelta{{Link: "a", Count: 1}}},
			},
		}
		if err := e.Apply(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		h, err := e.History(t.Context(), 0, "a", minute-3, minute+1)
		want := []Minute{{minute - 3, 0, 0}, {minute - 2, 2, 1}, {minute - 1, 0, 0}, {minute, 1, 0}}
		if err != nil || h.Next != 10 || !slices.Equal(h.Minutes, want) {
			t.Fatalf("History = %+v, %v", h, err)
		}
		d, err := e.Dump(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		d.Links["a"] = LinkTotal{Total: d.Links["a"].Total, Imported: Clicks{100, 7}}
		if err := e.Restore(t.Context(), 0, d); !errors.Is(err, ErrExists) {
			t.Fatalf("Restore over totals = %v", err)
		}
		other := w.store.Epoch(2, testRule)
		if err := other.Restore(t.Context(), 0, d); err != nil {
			t.Fatal(err)
		}
		again, err := other.Dump(t.Context(), 0)
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("Dump = %+v, %v, want %+v", again, err, d)
		}
		totals, _, err := other.Totals(t.Context(), 0, []string{"a"})
		if err != nil || totals["a"] != (fold.Total{Count: 103, Bots: 8, AtMs: 1234}) {
			t.Fatalf("Totals = %v, %v", totals, err)
		}
		time.Sleep(24*time.Hour + 59*time.Minute)
		if h, err = other.History(t.Context(), 0, "a", minute-2, minute+1); err != nil || h.Minutes[0].Count != 0 || h.Minutes[2].Count != 1 {
			t.Fatalf("a day later: %+v, %v", h, err)
		}
		if err := other.Remove(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := other.Position(t.Context(), 0); !errors.Is(err, ErrMissing) {
			t.Fatalf("removed: %v", err)
		}
	})
}
