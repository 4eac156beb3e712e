package lifecycle

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStopsAreUndoneLastInFirstOutAndOnce(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	var order []string
	s := NewStops(zap.NewNop())
	for _, name := range []string{"listener", "producer", "log"} {
		s.Push(name, time.Second, func(context.Context) error {
			order = append(order, name)
			if name == "producer" {
				return boom
			}
			return nil
		})
	}
	if err := s.Stop(t.Context()); !errors.Is(err, boom) || err.Error() != "stopping producer: boom" {
		t.Fatalf("Stop = %v", err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatalf("second Stop = %v", err)
	}
	if want := []string{"log", "producer", "listener"}; !slices.Equal(order, want) {
		t.Fatalf("order = %v, want %v", order, want)
	}
}

func TestStepsHaveTheirOwnLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := NewStops(zap.NewNop())
		for range 2 {
			s.Push("hangs", 3*time.Second, func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}
		begun := time.Now()
		if err := s.Stop(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Stop = %v", err)
		}
		if took := time.Since(begun); took != 6*time.Second {
			t.Fatalf("took %v, want 6s", took)
		}
	})
}

func TestRunAllEndsTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		waits := Task{"waits", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		fails := Task{"fails", func(context.Context) error { time.Sleep(time.Second); return boom }}
		if err := RunAll(t.Context(), waits, fails); !errors.Is(err, boom) || err.Error() != "fails: boom" {
			t.Fatalf("RunAll = %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := RunAll(ctx, waits, Task{"ends", func(context.Context) error { return nil }}); err != nil || ctx.Err() != nil {
			t.Fatalf("RunAll = %v, %v: a task that ends must end the others", err, ctx.Err())
		}
	})
}
