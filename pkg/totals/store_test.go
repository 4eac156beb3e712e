package totals

import (
	"context"
	"errors"
	"io"
	"net"
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
			return w.redis.Dial()
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
		totals, next, err := e.Totals(t.Context(), 3, []string{"next", "c:x", "none"})
		if err != nil || next != 10 || len(totals) != 2 || totals["next"] != (fold.Total{Count: 3, Bots: 1, AtMs: 1234}) ||
			totals["c:x"] != (fold.Total{Count: 5, AtMs: 99}) {
			t.Fatalf("Totals = %v, %d, %v", totals, next, err)
		}
	})
}
