package totalstest

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var params = fold.Params{Window: 10, Within: time.Hour}

func record(link string, id byte) fold.Record {
	value := (&click.Record{ID: click.ID{15: id}}).Append(nil)
	return fold.Record{TimeMs: time.Now().UnixMilli(), Key: []byte(link), Value: value}
}

// A tally that was rolled back folds the same again.
func TestTallyAndBackup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(t)
		e := r.Open(t).Epoch(1, totals.RuleOf(params))
		topic := feedtest.New(1)
		for _, id := range []byte{1, 2, 1, 3} {
			topic.Append(0, record("a", id))
		}
		tally := func(to int64) {
			t.Helper()
			if err := Tally(t.Context(), e, topic, params, 0, to); err != nil {
				t.Fatal(err)
			}
		}
		want := func(count, at int64) {
			t.Helper()
			got, pos, err := e.Totals(t.Context(), 0, []string{"a"})
			if err != nil || pos.Next != at || got["a"].Count != count {
				t.Fatalf("totals %v at %d, %v; want %d at %d", got, pos.Next, err, count, at)
			}
		}
		tally(2)
		want(2, 2)
		restore := r.Backup()
		tally(-1)
		want(3, 4)
		tally(1) // it is further on
		want(3, 4)
		restore()
		want(2, 2)
		tally(-1)
		want(3, 4)
		minute := time.Now().Unix() / 60
		h, err := e.History(t.Context(), 0, "a", minute, minute+1)
		if err != nil || h.Minutes[0].Count != 3 {
			t.Fatalf("history %+v, %v; want 3 clicks", h, err)
		}
		if got := r.Calls("HMGET"); got.Count == 0 || got.Arguments < got.Count {
			t.Fatalf("calls %+v", got)
		}
	})
}

func TestFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(t)
		e := r.Open(t).Epoch(1, totals.RuleOf(params))
		position := func() (time.Duration, error) {
			begun := time.Now()
			_, err := e.Position(t.Context(), 0)
			return time.Since(begun), err
		}
		if took, err := position(); !errors.Is(err, totals.ErrMissing) || took != 0 {
			t.Fatalf("%v after %v", err, took)
		}
		r.Latency(time.Millisecond)
		if took, err := position(); !errors.Is(err, totals.ErrMissing) || took != time.Millisecond {
			t.Fatalf("with latency: %v after %v", err, took)
		}
		r.Latency(0)
		r.Mute(true)
		if took, err := position(); !totals.IsAway(err) || took != Config().Timeout {
			t.Fatalf("mute: %v after %v", err, took)
		}
		r.Mute(false)
		if _, err := position(); !errors.Is(err, totals.ErrMissing) {
			t.Fatalf("after it was mute: %v", err)
		}
		r.Away(true)
		if _, err := position(); !totals.IsAway(err) {
			t.Fatalf("away: %v", err)
		}
		r.Away(false)
		time.Sleep(2 * time.Second)
		if _, err := position(); !errors.Is(err, totals.ErrMissing) {
			t.Fatalf("after it was away: %v", err)
		}
	})
}
