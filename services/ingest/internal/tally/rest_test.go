package tally

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

func TestRestEndsAtThePartitionsTurn(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	for partition := range int32(100) {
		for at := time.Duration(0); at < 2*applyEvery; at += 777 * time.Microsecond {
			now := start.Add(at)
			d := rest(partition, now)
			if d < applyEvery/2 || d >= applyEvery*3/2 {
				t.Fatalf("partition %d at %v: %v", partition, at, d)
			}
			if got := time.Duration(now.Add(d).UnixNano()) % applyEvery; got != turn(partition) {
				t.Fatalf("partition %d at %v: it ends at %v of its time, want %v", partition, at, got, turn(partition))
			}
		}
	}
}

// However many partitions there are, their turns are apart.
func TestTurnsAreSpread(t *testing.T) {
	for n := 2; n <= 1000; n++ {
		var turns []time.Duration
		for partition := range n {
			turns = append(turns, turn(int32(partition)))
		}
		slices.Sort(turns)
		least := turns[0] + applyEvery - turns[n-1]
		for i := range turns[1:] {
			least = min(least, turns[i+1]-turns[i])
		}
		if even := applyEvery / time.Duration(n); least < even/3 {
			t.Fatalf("%d partitions: two are only %v apart, evenly it were %v", n, least, even)
		}
	}
}

// timed is a store for each partition, of which it notes when batches with clicks were applied.
type timed struct {
	of []*memory

	mu sync.Mutex // guards at
	at map[time.Time][]int32
}

func (s *timed) Position(ctx context.Context, partition int32) (totals.Position, error) {
	return s.of[partition].Position(ctx, partition)
}

func (s *timed) Apply(ctx context.Context, b *totals.Batch) error {
	if len(b.Links) > 0 {
		s.mu.Lock()
		s.at[time.Now()] = append(s.at[time.Now()], b.Partition)
		s.mu.Unlock()
	}
	return s.of[b.Partition].Apply(ctx, b)
}

// Workers whose first batches were at one time do not go on like that.
func TestWorkersDoNotComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions = 12
		log := feedtest.New(partitions)
		m, err := NewMetrics(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		store := &timed{at: make(map[time.Time][]int32)}
		tally := New(Config{Partitions: partitions, Fold: fold.Params{Window: 100, Within: time.Hour}}, Deps{
			Source: log, Store: store, Metrics: m, Log: zaptest.NewLogger(t),
			Retention: func(context.Context) (time.Duration, error) { return 0, nil },
		})
		var all []int32
		for partition := range int32(partitions) {
			all, store.of = append(all, partition), append(store.of, newMemory())
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			tally.Run(ctx, all)
		}()
		begun := time.Now()
		for i := range 300 { // 3 s of clicks on all partitions at a time
			for _, partition := range all {
				rec := click.Record{}
				rec.ID[0], rec.ID[1], rec.ID[2] = byte(i), byte(i>>8), byte(partition)
				log.Append(partition, fold.Record{TimeMs: time.Now().UnixMilli(), Key: []byte("a"), Value: rec.Append(nil)})
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		<-done
		batches := 0
		for at, together := range store.at {
			batches += len(together)
			// In the beginning all of them find clicks, and in the end all hurry.
			if after := at.Sub(begun); len(together) > 1 && after > 2*applyEvery && after < 3*time.Second {
				t.Errorf("after %v the batches of %v were applied together", after, together)
			}
		}
		if batches < 10*partitions {
			t.Errorf("%d batches in 3 s", batches)
		}
	})
}
