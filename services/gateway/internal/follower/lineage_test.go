package follower

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
)

var errLeaderAway = errors.New("leader away")

// createAnew puts another log in the place of a topic of one partition. Whoever waits for records of it is told that it
// is gone.
func createAnew(topic *feedtest.Topic, trace string) {
	topic.Fail(0, 1<<30, errLeaderAway)
	synctest.Wait()
	topic.Truncate(0, 0)
	appendAnew(topic, trace)
	topic.Fail(0, 0, nil)
}

// appendAnew appends clicks of another day than those of logOf.
func appendAnew(topic *feedtest.Topic, trace string) {
	for _, r := range logOf(trace) {
		r.TimeMs += 1_000_000
		topic.Append(0, r)
	}
}

// The topic is created anew below a gateway that has counted five clicks. Whatever the new log holds, nobody is ever told
// a number other than five: not four and one, not what the new log has.
func TestTopicCreatedAnewBelowAFollower(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, log, later, reason, laterReason string }{
		{"empty", "", "a1 a2 a3 a4 a5 a6", stopBeyondEnd, stopRecreated},
		{"shorter", "a6 a7", "a8 a9 a1 a2", stopBeyondEnd, stopRecreated},
		{"as long", "a6 a7 a8 a9 a1", "a2", stopRecreated, stopRecreated},
		{"longer", "b1 a1 a2 a3 a4 a5 a6 a7", "a9", stopRecreated, stopRecreated},
		{"the same clicks again", "a1 a2 a3 a4 a5 a6", "a7", stopRecreated, stopRecreated},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := run(t, 1, 100, nil)
				r.append("a1 a2 a3 a4 a5")
				told := new(flag)
				w := r.Watch("a", told)
				synctest.Wait()
				wantReading(t, w, 5, 5)
				calls := r.store.callCount()
				createAnew(r.topic, tc.log)
				wantStopped(t, r, w, tc.reason)
				appendAnew(r.topic, tc.later)
				time.Sleep(lookAgain + backoffMost)
				wantStopped(t, r, w, tc.laterReason)
				late := r.Watch("b", new(flag))
				time.Sleep(time.Minute)
				synctest.Wait()
				wantSyncing(t, w)
				wantSyncing(t, late)
				if got := r.store.callCount(); got != calls {
					t.Errorf("%d reads of totals for a log that is another", got-calls)
				}
				if got := told.count(); got != 2 {
					t.Errorf("told %d times, want 2: it landed, it is syncing", got)
				}
				if said := r.logs.FilterMessageSnippet("totals rebuild").FilterLevelExact(zap.ErrorLevel).Len(); said < 1 || said > 2 {
					t.Errorf("said %d times what to do, want once for each reason", said)
				}
			})
		})
	}
}

// wantStopped waits until the only partition has stopped, and holds every reading until then against the five clicks of
// the old log.
func wantStopped(t *testing.T, r *rig, w *Watched, reason string) {
	t.Helper()
	for range int((endGrace + 3*backoffMost) / (10 * time.Millisecond)) {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if got, ok := w.Read(); ok && (got.Count.Count != 5 || got.Seq != 5) {
			t.Fatalf("told %d@%d, which is of no log that was", got.Count.Count, got.Seq)
		}
	}
	wantSyncing(t, w)
	for _, other := range []string{stopRecreated, stopBeyondEnd} {
		want := 0.0
		if other == reason {
			want = 1
		}
		if got := r.metric(t, "follower_stopped_partitions", other); got != want {
			t.Errorf("%v partitions have stopped as %s in the metrics, want %v", got, other, want)
		}
	}
	if err := r.Ready(); err == nil || !strings.Contains(err.Error(), "partition 0 ") || !strings.Contains(err.Error(), reason) {
		t.Errorf("Ready = %v, want partition 0 and %s", err, reason)
	}
}

// A gateway that starts when the topic was created anew finds the totals of the old log in Redis. It must not stitch them
// to the new one: 5 and what comes after 5.
func TestTopicCreatedAnewBeforeTheStart(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, log, result string }{
		{"empty", "", readAhead},
		{"shorter", "a6 a7", readAhead},
		{"one less", "a6 a7 a8 a9", readAhead},
		{"as long", "a6 a7 a8 a9 a1", readRecreated},
		{"longer", "a1 a2 a3 a4 a5 a6 a7 a8", readRecreated},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				topic, params := feedtest.New(1), configOf(100).Fold
				for _, rec := range logOf("a1 a2 a3 a4 a5") {
					topic.Append(0, rec)
				}
				stored := totalstest.New(t).Open(t).Epoch(3, totals.RuleOf(params))
				if err := totalstest.Tally(t.Context(), stored, topic, params, 0, -1); err != nil {
					t.Fatal(err)
				}
				createAnew(topic, tc.log)
				r := runSet(t, configOf(100), topic, fromRedis{stored})
				w := r.Watch("a", new(flag))
				wantResult := func(result string) {
					t.Helper()
					time.Sleep(5 * time.Second)
					synctest.Wait()
					wantSyncing(t, w)
					if got := r.metric(t, "follower_syncing_partitions", result); got != 1 {
						t.Errorf("%v partitions are syncing as %s in the metrics, want 1", got, result)
					}
				}
				wantResult(tc.result)
				appendAnew(topic, "a2 a3 a4 a5 b1 b2")
				wantResult(readRecreated)
				if r.logs.FilterMessageSnippet("totals rebuild").FilterLevelExact(zap.ErrorLevel).Len() != 1 {
					t.Error("it is not said once what to do")
				}
			})
		})
	}
}

// What looks alike and is the old log all the same: nothing may stop for long, and every count is right in the end.
func TestWhatIsNoOtherLog(t *testing.T) {
	t.Parallel()
	end := func(r *rig, to int64) (lost func()) { // the log ends below, until lost brings the rest back
		all := r.topic.Records(0)
		r.topic.Truncate(0, to)
		return func() {
			for _, rec := range between(all, to, 1<<40) {
				r.topic.Append(0, rec)
			}
		}
	}
	for _, tc := range []struct {
		name    string
		happens func(r *rig)
		stops   bool
		count   int64 // in the end, with one more click
	}{
		{"an error", func(r *rig) { r.topic.Fail(0, 3, errLeaderAway) }, false, 4},
		{"a new leader that knows no better for a moment", func(r *rig) {
			back := end(r, 1)
			time.Sleep(endGrace - time.Second)
			back()
		}, false, 4},
		{"two of them, and errors between", func(r *rig) {
			back := end(r, 2)
			time.Sleep(endGrace / 2)
			r.topic.Fail(0, 3, errLeaderAway)
			time.Sleep(endGrace / 2)
			back()
		}, false, 4},
		{"one that takes very long", func(r *rig) {
			back := end(r, 1)
			time.Sleep(2 * endGrace)
			back()
		}, true, 4},
		{"retention has cut the last record", func(r *rig) {
			r.topic.Fail(0, 3, errLeaderAway)
			r.topic.Cut(0, 3)
		}, false, 4},
		{"the last offsets hold no record", func(r *rig) {
			r.topic.Hole(0, 2)
			synctest.Wait()
			r.topic.Fail(0, 3, errLeaderAway)
		}, false, 4},
		{"a batch that does not decode at first", func(r *rig) {
			r.topic.Fail(0, 1, errLeaderAway)
			r.topic.Break(0, 2, 1)
		}, false, 4},
		{"an answer without the last record", func(r *rig) {
			r.topic.Fail(0, 1, errLeaderAway)
			r.topic.Hide(0, 2, 1)
		}, false, 4},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := run(t, 1, 100, nil)
				r.append("a1 a2 a3")
				w := r.Watch("a", new(flag))
				synctest.Wait()
				wantReading(t, w, 3, 3)
				tc.happens(r)
				synctest.Wait()
				if stopped := r.anyStopped(); stopped != tc.stops {
					t.Errorf("it has stopped: %v, want %v", stopped, tc.stops)
				}
				r.append("a4")
				time.Sleep(2 * backoffMost)
				synctest.Wait()
				wantCount(t, w, tc.count)
				if err := r.Ready(); err != nil {
					t.Error(err)
				}
				for _, reason := range []string{stopRecreated, stopBeyondEnd} {
					if got := r.metric(t, "follower_stopped_partitions", reason); got != 0 {
						t.Errorf("%v partitions have stopped as %s in the metrics", got, reason)
					}
				}
			})
		})
	}
}

func (r *rig) anyStopped() bool {
	for _, p := range r.partitions {
		if p.stopReason() != "" {
			return true
		}
	}
	return false
}

// A process that was stopped and goes on meets no error: the topic was created anew in between two fetches.
func TestCheckAfterTheProcessStoodStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topic := feedtest.New(1)
		p := alone(t, 100)
		p.source = topic
		for _, rec := range logOf("a1 a2") {
			topic.Append(0, rec)
		}
		reader := feed.NewReader(topic, 0, 0)
		defer reader.Close()
		read := trail{answered: time.Now()}
		next := func() error {
			chunk, err := reader.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err = p.check(t.Context(), &read, chunk); err == nil {
				read.keep(chunk)
			}
			return err
		}
		if err := next(); err != nil || read.next != 2 {
			t.Fatalf("at %d, %v", read.next, err)
		}
		topic.Append(0, clickRecord(0, "a", 3, false))
		time.Sleep(time.Minute)
		if err := next(); err != nil || read.next != 3 {
			t.Fatalf("the same log a minute later: at %d, %v", read.next, err)
		}
		createAnew(topic, "a1 a2 a3 a4")
		time.Sleep(stoodStill + time.Second)
		if err := next(); !errors.Is(err, errOtherLog) || read.next != 3 {
			t.Fatalf("another log: at %d, %v", read.next, err)
		}
	})
}

// The topic is created anew and is as long again, or longer, within one wait of a fetch: no fetch fails, and the answer
// goes on where the old log ended. The ids of the logs are all that tells them apart.
func TestTopicCreatedAnewWithinAFetch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, log string }{
		{"one more", "b6 b7 b8 a9 a1 a2"},
		{"as long", "a6 a7 a8 a9 a1"},
		{"much longer", strings.Repeat("b1 a6 b2 a7 b3 a8 ", 40)},
		{"the same clicks and one more", "a1 a2 a3 a4 a5 a6"},
	} {
		for _, isCut := range []bool{false, true} { // retention has left nothing to compare
			t.Run(fmt.Sprintf("%s, cut %v", tc.name, isCut), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					r := run(t, 1, 100, func(topic *feedtest.Topic) { topic.HasIDs = true })
					r.append("a1 a2 a3 a4 a5")
					w := r.Watch("a", new(flag))
					synctest.Wait()
					wantReading(t, w, 5, 5)
					if isCut {
						r.topic.Cut(0, 5)
						time.Sleep(time.Second)
					}
					anew := logOf(tc.log)
					for i := range anew {
						anew[i].TimeMs += 1_000_000
					}
					r.topic.CreateAnew(0, anew...)
					wantStopped(t, r, w, stopRecreated)
				})
			})
		}
	}
}

// Nothing was ever read of the old log, because retention had left nothing of it, and there is no record to compare.
func TestTopicCreatedAnewBehindAnEmptyLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 100, func(topic *feedtest.Topic) {
			topic.HasIDs = true
			topic.Hole(0, 5)
			topic.Cut(0, 5)
		})
		time.Sleep(time.Second)
		r.topic.CreateAnew(0, logOf("a1 a2 a3 a4 a5 a6 a7")...)
		w := r.Watch("a", new(flag))
		time.Sleep(time.Minute)
		synctest.Wait()
		wantSyncing(t, w)
		if reason := r.partitions[0].stopReason(); reason != stopRecreated {
			t.Errorf("it has stopped for %q", reason)
		}
	})
}

// A topic of which nothing was counted is as good as the next one of its name.
func TestTopicCreatedAnewBeforeItsFirstRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 100, func(topic *feedtest.Topic) { topic.HasIDs = true })
		w := r.Watch("a", new(flag))
		time.Sleep(time.Second)
		wantReading(t, w, 0, 0)
		r.topic.CreateAnew(0, logOf("a1 a2")...)
		time.Sleep(time.Second)
		synctest.Wait()
		wantReading(t, w, 2, 2)
		r.append("a2 a3")
		synctest.Wait()
		wantReading(t, w, 3, 4)
		if r.anyStopped() {
			t.Error("it has stopped")
		}
	})
}

// The log of another cluster that has the same records is as good: a gateway that is moved there goes on.
func TestCopyOfTheLogIsAsGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := run(t, 1, 100, func(topic *feedtest.Topic) { topic.HasIDs = true })
		r.append("a1 a2 a3")
		w := r.Watch("a", new(flag))
		synctest.Wait()
		wantReading(t, w, 3, 3)
		r.topic.CreateAnew(0, r.topic.Records(0)...)
		r.append("a4 a4")
		time.Sleep(time.Second)
		synctest.Wait()
		wantReading(t, w, 4, 5)
		if r.anyStopped() {
			t.Error("it has stopped")
		}
	})
}
