package follower

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// store is a Snapshotter whose answers a test decides on: by default the truth at the end of the log.
type store struct {
	topic  *feedtest.Topic
	window int64

	mu    sync.Mutex // guards what follows
	calls [][]string
	err   error
	next  int64         // where the totals stand; below 0: at the end
	hold  chan struct{} // not nil: an answer waits until it is closed
}

func (s *store) Totals(ctx context.Context, partition int32, links []string) (map[string]fold.Total, At, error) {
	s.mu.Lock()
	s.calls = append(s.calls, links)
	err, next, hold := s.err, s.next, s.hold
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return nil, At{}, context.Cause(ctx)
		}
	}
	if err != nil {
		return nil, At{}, err
	}
	log := s.topic.Records(partition)
	if next < 0 && len(log) > 0 {
		next = log[len(log)-1].Offset + 1
	}
	at := At{Position: totals.Position{Next: max(next, 0)}}
	if below := between(log, 0, at.Next); len(below) > 0 {
		at.Last = totals.FingerprintOf(below[len(below)-1])
	}
	return truth(log, s.window, at.Next), at, nil
}

func (s *store) set(f func(s *store)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *store) callCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

// rig is a running Set in a bubble.
type rig struct {
	*Set
	topic    *feedtest.Topic
	store    *store
	registry *prometheus.Registry
	logs     *observer.ObservedLogs
}

// run starts a Set in the test's bubble and stops it with the test; prepare fills the log first.
func run(t *testing.T, partitions int, window int64, prepare func(*feedtest.Topic)) *rig {
	t.Helper()
	topic := feedtest.New(partitions)
	if prepare != nil {
		prepare(topic)
	}
	cfg := configOf(window)
	cfg.Partitions = partitions
	kept := &store{topic: topic, window: window, next: -1}
	r := runSet(t, cfg, topic, kept)
	r.store = kept
	return r
}

// runSet starts a Set of any configuration on a topic, and stops it with the test.
func runSet(t *testing.T, cfg Config, topic *feedtest.Topic, snapshots Snapshotter) *rig {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	r := &rig{topic: topic, registry: prometheus.NewRegistry(), logs: logs}
	var err error
	r.Set, err = New(cfg, Deps{Source: topic, Snapshots: snapshots, Log: zap.New(core), Registry: r.registry})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

func (r *rig) append(trace string) {
	for _, rec := range logOf(trace) {
		r.topic.Append(click.Partition(rec.Key, len(r.partitions)), rec)
	}
}

// metric returns the value of a metric, with labels as in `name{label="value"}`.
func (r *rig) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == "linkpulse_gateway_"+name && strings.Join(values, ",") == strings.Join(labels, ",") {
				return m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s %v", name, labels)
	return 0
}

// flag is a Watcher of a running Set.
type flag struct {
	mu   sync.Mutex // guards told
	told int
}

func (f *flag) Changed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told++
}

func (f *flag) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.told
}

func TestSetCountsWhatIsWatched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 4, 100, nil)
		r.append("a1 b1 a2 c0 a1")
		synctest.Wait()
		if err := r.Ready(); err != nil {
			t.Fatalf("not ready with all of the log read: %v", err)
		}
		f := new(flag)
		a, b := r.Watch("a", f), r.Watch("b", new(flag))
		synctest.Wait()
		wantCount(t, a, 2)
		wantCount(t, b, 1)
		told := f.count()
		r.append("a3 b1 d1")
		synctest.Wait()
		wantCount(t, a, 3)
		wantCount(t, b, 1)
		if f.count() != told+1 {
			t.Fatalf("told %d times of one click", f.count()-told)
		}
		if got := r.metric(t, "follower_records_total", "duplicate"); got != 2 {
			t.Fatalf("%v duplicates in the metrics, want 2", got)
		}
		if got := r.metric(t, "follower_watched_links"); got != 2 {
			t.Fatalf("%v watched links in the metrics, want 2", got)
		}
		a.Release(f)
		if watched, waiting := r.metric(t, "follower_watched_links"), r.metric(t, "follower_waiting_links"); watched != 1 || waiting != 0 {
			t.Fatalf("%v watched, %v waiting in the metrics, want 1 and 0", watched, waiting)
		}
	})
}

func wantCount(t *testing.T, w *Watched, count int64) {
	t.Helper()
	if r, ok := w.Read(); !ok || r.Count.Count != count {
		t.Fatalf("reading of %s: %+v, %v; want %d", w.Link(), r, ok, count)
	}
}

func TestNotReadyBeforeEachPartitionCaughtUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 2, 100, func(topic *feedtest.Topic) {
			topic.Append(0, clickRecord(0, "a", 1, false))
			topic.Fail(1, 1000, errors.New("leader away"))
		})
		synctest.Wait()
		if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "partition 1 ") || strings.Contains(err.Error(), "partition 0 ") {
			t.Fatalf("Ready = %v, want partition 1 alone", err)
		}
		if !r.Watermark().IsZero() {
			t.Fatalf("watermark %v before all partitions were read", r.Watermark())
		}
		r.topic.Fail(1, 0, nil)
		time.Sleep(backoffMost + feedtest.MaxWait)
		synctest.Wait()
		if err := r.Ready(); err != nil {
			t.Fatal(err)
		}
		if warned := r.logs.FilterMessageSnippet("cannot be read").Len(); warned != 1 {
			t.Fatalf("warned %d times of one outage, want once", warned)
		}
	})
}

func TestWatermarkIsThatOfTheSlowestPartition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 2, 100, nil)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if late := time.Since(r.Watermark()); late < 0 || late > feedtest.MaxWait {
			t.Fatalf("a quiet log is %v late", late)
		}
		r.topic.Fail(1, 1<<30, errors.New("leader away"))
		synctest.Wait()
		stopped := time.Now()
		time.Sleep(time.Minute)
		if got := r.Watermark(); got.After(stopped) {
			t.Fatalf("watermark is %v past the moment in which a partition stopped", got.Sub(stopped))
		}
		if err := r.Ready(); err != nil {
			t.Fatalf("unready for an outage of the log: %v", err)
		}
		r.topic.Fail(1, 0, nil)
		time.Sleep(backoffMost + feedtest.MaxWait)
		synctest.Wait()
		if late := time.Since(r.Watermark()); late > feedtest.MaxWait {
			t.Fatalf("after the outage %v late", late)
		}
	})
}

func TestTotalsAreReadInOneCallAtATime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 100, nil)
		hold := make(chan struct{})
		r.store.set(func(s *store) { s.hold = hold })
		first := r.Watch("a", new(flag))
		synctest.Wait()
		var rest []*Watched
		for i := range 50 {
			rest = append(rest, r.Watch(fmt.Sprintf("b%d", i), new(flag)))
			synctest.Wait()
		}
		if got := r.store.callCount(); got != 1 {
			t.Fatalf("%d calls are under way, want 1", got)
		}
		if got := r.metric(t, "follower_waiting_links"); got != 51 {
			t.Fatalf("%v links wait in the metrics, want 51", got)
		}
		r.store.set(func(s *store) { s.hold = nil })
		close(hold)
		synctest.Wait()
		wantCount(t, first, 0)
		for _, w := range rest {
			wantCount(t, w, 0)
		}
		if got := r.store.callCount(); got != 2 {
			t.Fatalf("%d calls, want 2: what came during the first goes into the second", got)
		}
	})
}

func TestFailedReadOfTotalsIsTriedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 100, nil)
		r.append("a1 a2")
		r.store.set(func(s *store) { s.err = errors.New("store away") })
		w := r.Watch("a", new(flag))
		time.Sleep(time.Minute)
		synctest.Wait()
		wantSyncing(t, w)
		if calls := r.store.callCount(); calls < 110 || calls > 130 {
			t.Fatalf("%d calls in a minute, want two a second", calls)
		}
		if warned := r.logs.FilterMessageSnippet("totals cannot be read").Len(); warned != 1 {
			t.Fatalf("warned %d times of one outage, want once", warned)
		}
		r.store.set(func(s *store) { s.err = nil })
		time.Sleep(totalsBackoff)
		synctest.Wait()
		wantCount(t, w, 2)
	})
}

func TestTotalsThatStandStillLeaveLinksSyncing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 2, nil)
		r.append("a1 a2 a3 a4 a5")
		r.store.set(func(s *store) { s.next = 1 })
		w := r.Watch("a", new(flag))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		wantSyncing(t, w)
		if err := r.Ready(); err != nil {
			t.Fatalf("totals that stand still keep the gateway unready: %v", err)
		}
		if r.metric(t, "follower_snapshot_reads_total", readBehind) == 0 {
			t.Fatal("no ring miss in the metrics")
		}
		r.store.set(func(s *store) { s.next = 4 })
		time.Sleep(totalsBackoff)
		synctest.Wait()
		wantCount(t, w, 5)
	})
}

func TestLossMakesAPartitionBeginAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 100, nil)
		r.append("a1 a2 a3")
		f := new(flag)
		w := r.Watch("a", f)
		synctest.Wait()
		wantCount(t, w, 3)
		told := f.count()
		r.store.set(func(s *store) { s.err = errors.New("totals come later") })
		r.topic.Cut(0, 10) // the follower was slower than retention
		synctest.Wait()
		time.Sleep(backoffLeast)
		synctest.Wait()
		wantSyncing(t, w)
		if f.count() != told+1 {
			t.Fatalf("told %d times that it is syncing, want once", f.count()-told)
		}
		if got := r.metric(t, "follower_resyncs_total", resyncLost); got != 1 {
			t.Fatalf("%v losses in the metrics, want 1", got)
		}
		r.store.set(func(s *store) { s.err = nil })
		r.append("a4")
		time.Sleep(backoffMost)
		synctest.Wait()
		if got, ok := w.Read(); !ok || got.Seq != 11 {
			t.Fatalf("reading %+v, %v; want one at 11", got, ok)
		}
		if err := r.Ready(); err != nil {
			t.Fatalf("unready after a loss: %v", err)
		}
	})
}

func TestHolesAreSkippedAndCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 100, nil)
		w := r.Watch("a", new(flag))
		r.append("a1")
		r.topic.Hole(0, 2)
		r.append("a2")
		synctest.Wait()
		if got, ok := w.Read(); !ok || got.Count.Count != 2 || got.Seq != 4 {
			t.Fatalf("reading %+v, %v; want 2@4", got, ok)
		}
		if got := r.metric(t, "follower_holes_total"); got != 2 {
			t.Fatalf("%v holes in the metrics, want 2", got)
		}
		if p, lag := r.metric(t, "follower_position", "0"), r.metric(t, "follower_lag_records", "0"); p != 4 || lag != 0 {
			t.Fatalf("position %v, lag %v in the metrics, want 4 and 0", p, lag)
		}
	})
}

// Dashboards come, look and go from many goroutines while clicks come in: what each sees never goes back, and whoever
// stays has the truth in the end.
func TestManyWatchersAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 3, 50, nil)
		links := []string{"a", "b", "c", "d", "e"}
		var crowd sync.WaitGroup
		for n := range 8 {
			crowd.Go(func() {
				for i := range 100 {
					me := new(flag)
					w := r.Watch(links[(n+i)%len(links)], me)
					last := int64(-1)
					for range 3 {
						time.Sleep(time.Duration(1+n) * time.Millisecond)
						if got, ok := w.Read(); ok {
							if got.Count.Count < last {
								t.Errorf("link %s fell from %d to %d", w.Link(), last, got.Count.Count)
							}
							last = got.Count.Count
						}
					}
					w.Release(me)
				}
			})
		}
		for i := range 600 {
			link := links[i*i%len(links)]
			r.topic.Append(click.Partition(link, 3), clickRecord(0, link, byte(i%97), i%5 == 0))
			time.Sleep(time.Millisecond)
		}
		crowd.Wait()
		for _, link := range links {
			partition := click.Partition(link, 3)
			w := r.Watch(link, new(flag))
			synctest.Wait()
			want := truth(r.topic.Records(partition), 50, 1<<40)[link]
			if got, ok := w.Read(); !ok || got.Count.Count != want.Count || got.Bots != want.Bots || got.At != want.AtMs {
				t.Errorf("link %s: %+v, %v; want %+v", link, got, ok, want)
			}
		}
		if got := r.metric(t, "follower_watched_links"); got != float64(len(links)) {
			t.Errorf("%v watched links in the metrics, want %d", got, len(links))
		}
		if got := r.metric(t, "follower_waiting_links"); got != 0 {
			t.Errorf("%v waiting links in the metrics, want 0", got)
		}
	})
}

func TestNewRefusesWhatCannotBe(t *testing.T) {
	t.Parallel()
	deps := Deps{Log: zap.NewNop(), Registry: prometheus.NewRegistry()}
	if _, err := New(Config{Fold: configOf(1).Fold}, deps); err == nil {
		t.Error("no partitions, no error")
	}
	if _, err := New(Config{Partitions: 1}, deps); err == nil {
		t.Error("no window, no error")
	}
	if _, err := New(configOf(1), deps); err != nil {
		t.Error(err)
	}
	if _, err := New(configOf(1), deps); err == nil {
		t.Error("two Sets in one registry, no error")
	}
}

func TestMetricsAreWellNamed(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	deps := Deps{Log: zap.NewNop(), Registry: registry}
	if _, err := New(configOf(1), deps); err != nil {
		t.Fatal(err)
	}
	if _, err := NewReplay(configOf(1), deps); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v, %v", problems, err)
	}
}
