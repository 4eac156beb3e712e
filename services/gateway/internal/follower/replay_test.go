package follower

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
)

func TestReplayIsTheFoldOfTheWholeLog(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(1)
	for _, rec := range logOf("a1 b1 a1 a2 c1 b0 b0") {
		topic.Append(0, rec)
	}
	cfg := configOf(2)
	replay, err := NewReplay(cfg, Deps{Source: topic, Log: zap.NewNop(), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // a fold that was used before is as good as a new one
		got, at, err := replay.Totals(t.Context(), 0, []string{"a", "b", "nobody"})
		want := truth(topic.Records(0), 2, 7)
		delete(want, "c") // nobody asked
		if err != nil || at.Next != 7 || len(got) != len(want) || got["a"] != want["a"] || got["b"] != want["b"] {
			t.Fatalf("totals %v at %d, %v; want %v at 7", got, at.Next, err, want)
		}
	}
}

func TestReplayOfACutLogSaysSoOnce(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(2)
	for _, rec := range logOf("a1 a2 a3") {
		topic.Append(1, rec)
	}
	topic.Cut(1, 1)
	core, logs := observer.New(zap.ErrorLevel)
	replay, err := NewReplay(Config{Partitions: 2, Fold: configOf(2).Fold},
		Deps{Source: topic, Log: zap.New(core), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		got, at, err := replay.Totals(t.Context(), 1, []string{"a"})
		if err != nil || at.Next != 3 || got["a"] != (fold.Total{Count: 2, AtMs: 1002}) {
			t.Fatalf("totals %v at %d, %v; want what is left: 2 at 3", got, at.Next, err)
		}
	}
	if logs.Len() != 1 {
		t.Fatalf("said %d times, want once", logs.Len())
	}
}

func TestReplayCanBeCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topic := feedtest.New(1)
		topic.Append(0, clickRecord(0, "a", 1, false))
		topic.BatchRecords = 1
		replay, err := NewReplay(configOf(2), Deps{Source: topic, Log: zap.NewNop(), Registry: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := replay.Totals(ctx, 0, []string{"a"}); !errors.Is(err, context.Canceled) {
			t.Fatalf("error %v", err)
		}
		trouble := errors.New("broker away")
		topic.Fail(0, 1, trouble)
		if _, _, err := replay.Totals(t.Context(), 0, []string{"a"}); !errors.Is(err, trouble) {
			t.Fatalf("error %v", err)
		}
	})
}

// The whole counting side: a Set whose totals are replays.
func TestSetOnReplay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 3, 2, func(topic *feedtest.Topic) {
			for n := range 40 {
				topic.Append(int32(n%3), clickRecord(0, "other", byte(1+n), false))
			}
		})
		replay, err := NewReplay(Config{Partitions: 3, Fold: configOf(2).Fold},
			Deps{Source: r.topic, Log: zap.NewNop(), Registry: r.registry})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.partitions {
			p.snapshots = replay
		}
		r.append("a1 a1 a2 b1 a3")
		w := r.Watch("a", new(flag))
		synctest.Wait()
		wantCount(t, w, 3)
		r.append("a4 a4")
		synctest.Wait()
		wantCount(t, w, 4)
		if got := r.metric(t, "replay_running"); got != 0 {
			t.Fatalf("%v replays are running in the metrics", got)
		}
	})
}

// A link is first watched when the topic was just created anew and the follower has not noticed. Its replay is of the new
// log and the ring of the old one: a a a b b, and then b b of the new one, would be 4 of b. Nobody is told anything but
// what the old log had.
func TestReplayWhenTheTopicWasCreatedAnew(t *testing.T) {
	t.Parallel()
	for _, hasIDs := range []bool{true, false} {
		for _, log := range []string{"", "b6", "b6 b7", "b6 b7 a8 a9 b1", "b6 b7 b8 a9 b1 b2 b3"} {
			t.Run(fmt.Sprintf("%q, ids %v", log, hasIDs), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { replayAnew(t, log, hasIDs) })
			})
		}
	}
}

func replayAnew(t *testing.T, log string, hasIDs bool) {
	topic := feedtest.New(1)
	topic.HasIDs = hasIDs
	for _, rec := range logOf("a1 a2 a3 b4 b5") {
		topic.Append(0, rec)
	}
	cfg := configOf(100)
	replay, err := NewReplay(cfg, Deps{Source: topic, Log: zap.NewNop(), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	r := runSet(t, cfg, topic, replay)
	known := r.Watch("a", new(flag))
	synctest.Wait()
	wantReading(t, known, 3, 5)
	if hasIDs {
		topic.CreateAnew(0, logOf(log)...) // in the middle of a fetch, and nothing fails
	} else {
		createAnew(topic, log)
	}
	late := r.Watch("b", new(flag))
	for range 3000 {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		for _, w := range []*Watched{known, late} {
			if got, ok := w.Read(); ok && (w.Link() == "b" || got.Count.Count != 3) {
				t.Fatalf("%s is told %d@%d of the old log and the new one", w.Link(), got.Count.Count, got.Seq)
			}
		}
	}
	wantSyncing(t, late)
	wantSyncing(t, known)
}
