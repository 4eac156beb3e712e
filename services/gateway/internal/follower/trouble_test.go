package follower

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
)

// watchAll watches n links, which lie in all partitions.
func watchAll(s *Set, n int) (all []*Watched) {
	for i := range n {
		all = append(all, s.Watch(fmt.Sprintf("link%d", i), new(flag)))
	}
	return all
}

// An outage of the store meets every partition and every link that nobody watched before. It is said once when it begins
// and once when it is over, the store is asked for one link of each partition, and when it is back all links have their
// counts within one wait.
func TestOutageOfTheStore(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, result, says string
		level              zapcore.Level
		trouble            func(*store)
	}{
		{"away", readFailed, "cannot be read", zap.WarnLevel, func(s *store) { s.err = errors.New("connection refused") }},
		{"flushed", readMissing, "no totals", zap.WarnLevel, func(s *store) { s.err = fmt.Errorf("reading: %w", ErrMissing) }},
		{"other rule", readRule, "another rule", zap.ErrorLevel, func(s *store) { s.err = fmt.Errorf("reading: %w", ErrRule) }},
		{"standing still", readBehind, "older than the ring", zap.WarnLevel, func(s *store) { s.next = 1 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const partitions = 12
				r := run(t, partitions, 2, func(topic *feedtest.Topic) {
					for p := range int32(partitions) {
						for id := range byte(5) {
							topic.Append(p, clickRecord(0, "other", 1+id, false))
						}
					}
				})
				known := watchAll(r.Set, 1)[0]
				synctest.Wait()
				wantCount(t, known, 0)
				r.store.set(tc.trouble)
				before := r.store.callCount()
				for i := range 300 {
					r.Watch(fmt.Sprintf("new%d", i), new(flag))
				}
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if got := r.metric(t, "follower_waiting_links"); got != 300 {
					t.Fatalf("%v links wait, want 300", got)
				}
				if got := r.metric(t, "follower_syncing_partitions", tc.result); got != partitions {
					t.Fatalf("%v partitions in the metrics, want %d", got, partitions)
				}
				r.store.set(func(s *store) {
					for i, links := range s.calls[before:] {
						if i >= 2*partitions && len(links) != 1 {
							t.Errorf("call %d asks a store in trouble for %d links", i, len(links))
						}
					}
				})
				if said := r.logs.FilterMessageSnippet(tc.says); said.Len() != 1 || said.All()[0].Level != tc.level {
					t.Fatalf("said %d times: %v; want once, as %v", said.Len(), said.All(), tc.level)
				}
				wantCount(t, known, 0) // it was there before, and goes on
				r.store.set(func(s *store) { s.err, s.next = nil, -1 })
				time.Sleep(totalsBackoff)
				synctest.Wait()
				if got := r.metric(t, "follower_waiting_links"); got != 0 {
					t.Fatalf("%v links wait %v after the end of the outage", got, totalsBackoff)
				}
				if got := r.metric(t, "follower_syncing_partitions", tc.result); got != 0 {
					t.Fatalf("%v partitions in the metrics, want 0", got)
				}
				if said := r.logs.FilterMessageSnippet("totals are read again").Len(); said != 1 {
					t.Fatalf("the end was said %d times, want once", said)
				}
				if err := r.Ready(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// A partition whose waiting links were all released is in no trouble any more, though nothing was read again.
func TestTroubleEndsWithTheLastWaitingLink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 2, nil)
		r.store.set(func(s *store) { s.err = errors.New("away") })
		f := new(flag)
		w := r.Watch("a", f)
		time.Sleep(time.Second)
		synctest.Wait()
		w.Release(f)
		time.Sleep(totalsBackoff)
		synctest.Wait()
		if got := r.metric(t, "follower_syncing_partitions", readFailed); got != 0 {
			t.Fatalf("%v partitions in the metrics, want 0", got)
		}
		if said := r.logs.FilterMessageSnippet("totals are read again").Len(); said != 0 {
			t.Fatal("it is said that totals are read, and nobody read any")
		}
		calls := r.store.callCount()
		time.Sleep(time.Minute)
		if got := r.store.callCount(); got != calls {
			t.Fatalf("%d reads for nobody", got-calls)
		}
	})
}

// A store that takes a question and never answers holds links up for Patience, not for ever.
func TestSilentStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 100, nil)
		for _, p := range r.partitions {
			p.patience = time.Second
		}
		r.append("a1 a2")
		r.store.set(func(s *store) { s.hold = make(chan struct{}) })
		w := r.Watch("a", new(flag))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantSyncing(t, w)
		if got := r.metric(t, "follower_snapshot_reads_total", readFailed); got < 5 || got > 7 {
			t.Fatalf("%v reads failed in 10 s, want one every 1.5 s", got)
		}
		r.store.set(func(s *store) { s.hold = nil })
		time.Sleep(time.Second + totalsBackoff)
		synctest.Wait()
		wantCount(t, w, 2)
	})
}
