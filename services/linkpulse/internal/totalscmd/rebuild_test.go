package totalscmd

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

func (w *world) wantEpoch(epoch int64) deployment.Record {
	w.t.Helper()
	r := w.record()
	if r.Epoch != epoch {
		w.t.Fatalf("epoch %d stands, want %d", r.Epoch, epoch)
	}
	return r
}

func TestRebuildFromTheLog(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2!", "a1", "d1", "a3")
		w.tally()
		w.add("linkpulse:{1:0}:totals", "c:a", 1000) // somebody's mistake
		time.Sleep(time.Minute)
		o := w.must(&Rebuild{From: fromLog, Yes: true})
		w.golden("rebuild-log.txt", o.String())
		w.wantEpoch(2)
		w.wantExact()
		w.click("a4", "a3", "d1")
		w.tally() // goes on where the rebuild ended
		w.wantExact()
		w.wantVerdict(&Verify{}, 0)
		for key := range w.keys() {
			ttl := w.redis.TTL(key)
			switch {
			case strings.HasPrefix(key, "linkpulse:{1:") && ttl > 0 && ttl <= totals.MinuteRetention:
			case strings.HasPrefix(key, "linkpulse:{2:") && (strings.HasSuffix(key, ":totals") == (ttl == 0)):
			default:
				w.t.Errorf("%s expires in %v", key, ttl)
			}
		}
		if ttl := w.redis.TTL("linkpulse:{1:0}:totals"); ttl != keepFor {
			w.t.Errorf("the old totals stay for %v", ttl)
		}
	})
}

// Another rule gives other totals, which are those of the whole log counted by it.
func TestRebuildWithAnotherRule(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2", "a3", "a1", "d1")
		time.Sleep(2 * time.Minute)
		w.click("a1", "d1")
		w.tally()
		o := w.must(&Rebuild{From: fromLog, Window: 2, Within: time.Minute, Yes: true})
		if r := w.wantEpoch(2); r.Window != 2 || r.Within != time.Minute || r.Partitions != partitions {
			w.t.Errorf("record %+v", r)
		}
		for _, want := range []string{"within 2 records and 1m0s; it was 10 and 1h0m0s", "--topic clicks --window 2 --within 1m0s"} {
			if !strings.Contains(o.stdout, want) {
				w.t.Errorf("%vdoes not say %q", o, want)
			}
		}
		w.wantExact()
		if got := w.total("a"); got.Count != 5 {
			w.t.Errorf("a has %d clicks: none is a duplicate by the new rule", got.Count)
		}
		w.click("a2", "a2")
		w.tally()
		w.wantExact()
		w.wantVerdict(&Verify{}, 0)
		w.refused(&Rebuild{From: fromLog, Window: -1, Yes: true}, "window is -1")
		w.wantEpoch(2)
	})
}

func TestRebuildFromTotalsWithCounts(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2!", "d1")
		w.tally()
		before, err := w.epoch().Dump(w.t.Context(), 0)
		if err != nil {
			w.t.Fatal(err)
		}
		counts := w.file("counts", "link,count,bots\na,1000,10\nnew,7\nd,5\n")
		o := w.must(&Import{Counts: counts, Yes: true})
		w.golden("rebuild-counts.txt", o.String())
		w.wantEpoch(2)
		after, err := w.epoch().Dump(w.t.Context(), 0)
		if err != nil || after.Position != before.Position || !reflect.DeepEqual(after.Minutes, before.Minutes) {
			w.t.Errorf("%+v, %v; it was %+v", after, err, before)
		}
		w.click("a3", "d2")
		w.tally()
		w.wantExact() // the log's totals are the log's
		want := func(link string, count, bots int64) {
			w.t.Helper()
			if got := w.total(link); got.Count != count || got.Bots != bots {
				w.t.Errorf("%s is %+v, want %d, %d", link, got, count, bots)
			}
		}
		want("a", 1003, 11)
		want("new", 7, 0)
		want("d", 7, 0)
		// Later rebuilds carry them over, wherever the totals come from; what a file names it replaces.
		w.must(&Rebuild{From: fromTotals, Yes: true})
		want("a", 1003, 11)
		w.must(&Rebuild{From: fromLog, Yes: true})
		want("a", 1003, 11)
		want("new", 7, 0)
		backup := w.path("backup")
		w.must(&Export{File: backup})
		w.must(&Rebuild{From: fromLog, Counts: w.file("more", `{"link":"a","count":1}`), Yes: true})
		want("a", 4, 1)
		want("new", 7, 0)
		w.must(&Rebuild{From: backup, Yes: true})
		want("a", 1003, 11)
		w.wantEpoch(6)
		w.wantVerdict(&Verify{}, 0)
	})
}

func TestRebuildFromABackupOfAnotherEpoch(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2", "d1")
		w.tally()
		backup := w.path("backup")
		w.must(&Export{File: backup})
		w.must(&Rebuild{From: fromLog, Yes: true})
		w.sleep(3 * time.Hour)
		w.click("a3", "a1", "d2")
		w.tally()
		w.refused(&Import{File: backup}, "the backup is of epoch 1, epoch 2 stands", "rebuild --from FILE")
		w.cut(0, 1)
		w.redis.FlushAll() // nothing but the backup has the first click
		o := w.must(&Rebuild{From: backup, Yes: true})
		if !strings.Contains(o.stdout, "those of a backup of epoch 1, 2000-01-01T00:00:00Z") {
			w.t.Errorf("%v", o)
		}
		w.tally()
		w.wantExact()
	})
}

// What would not be exact is refused, for all partitions at once, before anything is changed.
func TestRebuildRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before func(w *world)
		cmd    Rebuild
		want   []string
	}{
		"a log that was cut": {
			func(w *world) { w.cut(0, 2); w.cut(1, 1) },
			Rebuild{From: fromLog},
			[]string{"partition 0", "the log begins at 2", "partition 1", "the log begins at 1", "--from totals", "--accept-loss"},
		},
		"totals that are gone": {func(w *world) { w.redis.FlushAll() }, Rebuild{From: fromTotals}, []string{"no totals of it yet", "--from log"}},
		"totals that are gone, of a log that was cut": {
			func(w *world) { w.redis.FlushAll(); w.cut(0, 2) }, Rebuild{From: fromTotals}, []string{"partition 0", "they cannot be counted again"},
		},
		"totals of a log that lost records": {
			func(w *world) { w.click("a4", "a5"); w.cut(0, 4) }, Rebuild{From: fromTotals}, []string{"1 records between are gone", "--accept-loss"},
		},
		"totals of another log": {
			func(w *world) { w.recreate(5) }, Rebuild{From: fromTotals}, []string{"the topic was created anew", "--topic clicks"},
		},
		"another log": {func(w *world) { w.recreate(0) }, Rebuild{From: fromLog}, []string{"the topic was created anew", "--topic clicks"}},
		"a window that is not there": {
			func(w *world) { w.cut(0, 1) }, Rebuild{From: fromTotals}, []string{"what could make later clicks duplicates is gone", "--accept-loss"},
		},
		"no backup": {func(w *world) { w.file("backup", "{}\n") }, Rebuild{From: "backup"}, []string{"no backup"}},
		"a backup by another rule": {func(w *world) {
			w.must(&Export{File: w.path("backup")})
			w.must(&Rebuild{From: fromLog, Window: 5, Yes: true})
		}, Rebuild{From: "backup"}, []string{"the rule 10/3600000/1", "5/3600000/1"}},
		"counts that are none": {func(w *world) { w.file("counts", "a,x\n") }, Rebuild{From: fromTotals, Counts: "counts"}, []string{"line 1"}},
		"counts twice":         {func(w *world) { w.file("counts", "a,1\na,2\n") }, Rebuild{From: fromTotals, Counts: "counts"}, []string{"comes twice"}},
		"a topic that is not there": {
			func(*world) {}, Rebuild{From: fromLog, Topic: "clicks-2"}, []string{"clicks-2"},
		},
		"nobody to ask": {func(*world) {}, Rebuild{From: fromLog, Yes: false}, []string{"--yes", "nothing was changed"}},
		"a no":          {func(w *world) { w.asked, w.stdin = true, "y\n" }, Rebuild{From: fromLog}, []string{"Go on?", "nothing was changed"}},
		"redis is away": {func(w *world) { w.redis.Away(true) }, Rebuild{From: fromLog}, []string{"connect"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun(t, func(w *world) {
				w.click("a1", "a2", "a3", "d1")
				w.tally()
				tc.before(w)
				keys, record := w.keys(), w.record()
				c := tc.cmd
				c.Yes = name != "nobody to ask" && name != "a no"
				if c.From == "backup" {
					c.From = w.path(c.From)
				}
				if c.Counts != "" {
					c.Counts = w.path(c.Counts)
				}
				if o := w.refused(&c, tc.want...); o.code() != 1 {
					w.t.Errorf("%v", o)
				}
				if got := w.keys(); !reflect.DeepEqual(got, keys) || w.record() != record {
					w.t.Errorf("redis has %v, it had %v; record %+v", got, keys, w.record())
				}
			})
		})
	}
}

func TestRebuildWhenSomebodyAgrees(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1")
		w.asked, w.stdin = true, "yes\n"
		w.must(&Rebuild{From: fromLog})
		w.wantEpoch(2)
		w.wantExact()
	})
}

// A loss that is accepted is told, and what is there is counted.
func TestRebuildAcceptingLoss(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2", "a3", "d1")
		w.tally()
		w.click("a4", "a5", "a6")
		w.cut(0, 5) // a4 and a5 are at 3 and 4
		o := w.must(&Rebuild{From: fromTotals, AcceptLoss: true, Yes: true})
		if !strings.Contains(o.stdout, "LOST: 2 records") {
			w.t.Errorf("%v", o)
		}
		w.tally()
		if got := w.total("a"); got.Count != 4 {
			w.t.Errorf("a is %+v, want 3 and a6", got)
		}
		base := w.path("base")
		w.must(&Export{File: base})
		w.click("a7")
		w.tally()
		w.wantVerdict(&Verify{}, 2, "--base")
		o = w.must(&Rebuild{From: fromLog, AcceptLoss: true, Yes: true})
		if !strings.Contains(o.stdout, "LOST: 5 records") || w.total("a").Count != 2 {
			w.t.Errorf("%v%+v", o, w.total("a"))
		}
	})
}

// The topic was deleted and created anew: the new log is counted, and the old counts are carried over as another system's.
func TestRebuildOfARecreatedTopic(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]int64{fromLog: 3, fromTotals: 3 + 2, "backup": 3 + 2} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			begun(t, func(w *world) {
				w.click("a1", "a2!", "d1")
				w.tally()
				c := &Rebuild{From: from, Topic: "clicks", Yes: true}
				if from == "backup" {
					c.From = w.path("backup")
					w.must(&Export{File: c.From})
					w.redis.FlushAll()
				}
				w.recreate(3) // aA, aB, aC; dA, dB, dC
				o := w.must(c)
				if !strings.Contains(o.stdout, "from its start") {
					w.t.Errorf("%v", o)
				}
				w.wantEpoch(2)
				w.tally()
				w.wantExact()
				if got := w.total("a"); got.Count != want {
					w.t.Errorf("a is %+v, want %d", got, want)
				}
				w.wantVerdict(&Verify{}, 0)
			})
		})
	}
}

func TestRebuildOnAnotherTopic(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2")
		w.tally()
		if err := w.fake.CreateTopic("clicks-2", partitions, nil); err != nil {
			w.t.Fatal(err)
		}
		o := w.must(&Rebuild{From: fromTotals, Topic: "clicks-2", Yes: true})
		for _, want := range []string{"ingests end", "--topic clicks-2"} {
			if !strings.Contains(o.stdout, want) {
				w.t.Errorf("%vdoes not say %q", o, want)
			}
		}
		if r := w.wantEpoch(2); r.Topic != "clicks-2" {
			w.t.Errorf("%+v", r)
		}
		w.click("a3")
		w.tally()
		w.wantExact()
		if got := w.total("a"); got.Count != 3 {
			w.t.Errorf("a is %+v", got)
		}
	})
}

// Wherever a rebuild is told to end, either nothing has changed, or the new epoch has begun and all is there.
func TestRebuildInterrupted(t *testing.T) {
	aborted, began := 0, 0
	for at := time.Millisecond; at < 2*time.Second && began == 0; at += 3 * time.Millisecond {
		t.Run(at.String(), func(t *testing.T) {
			begun(t, func(w *world) {
				w.click("a1", "a2", "d1")
				w.tally()
				w.redis.Latency(5 * time.Millisecond)
				keys := w.keys()
				ctx, cancel := context.WithTimeout(w.t.Context(), at)
				defer cancel()
				o := w.runIn(ctx, &Rebuild{From: fromLog, Yes: true})
				w.sleep(holdFor)
				if w.record().Epoch == 1 {
					aborted++
					// What was staged expires.
					if o.code() != 1 || !reflect.DeepEqual(w.keysInUse(), keys) {
						w.t.Errorf("%vredis has %v, it had %v", o, w.keysInUse(), keys)
					}
					return
				}
				began++
				if o.err != nil && !errors.Is(o.err, kafkalog.ErrUnknownOutcome) {
					w.t.Errorf("%v", o)
				}
				w.wantExact()
			})
		})
	}
	if aborted < 5 || began == 0 {
		t.Errorf("%d were aborted, %d came to their end", aborted, began)
	}
}

// One rebuild at a time: the second one is told who is at it.
func TestRebuildsAtOnce(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1")
		w.tally()
		w.redis.Latency(time.Millisecond)
		errs := make(chan error, 4)
		for range cap(errs) {
			go func() { errs <- w.run(&Rebuild{From: fromLog, Yes: true}).err }()
		}
		worked := 0
		for range cap(errs) {
			switch err := <-errs; {
			case err == nil:
				worked++
			case !errors.Is(err, totals.ErrLocked) || !strings.Contains(err.Error(), "a test"):
				w.t.Errorf("%v", err)
			}
		}
		if worked != 1 {
			w.t.Errorf("%d worked", worked)
		}
		w.wantEpoch(2)
		w.wantExact()
	})
}

// What a rebuild that was killed has left is told, and removed when that is asked for.
func TestRebuildAfterOneThatWasKilled(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1")
		w.tally()
		half := w.store.Epoch(2, totals.RuleOf(w.record().Fold()))
		if err := half.Restore(w.t.Context(), 1, &totals.Dump{Links: map[string]totals.LinkTotal{"d": {Total: fold.Total{Count: 99}}}}); err != nil {
			w.t.Fatal(err)
		}
		w.refused(&Rebuild{From: fromLog, Yes: true}, "1 partitions have totals of epoch 2", "--discard")
		o := w.must(&Rebuild{From: fromLog, Discard: true, Yes: true})
		if !strings.Contains(o.stdout, "what an aborted rebuild has left in 1 partitions is removed") {
			w.t.Errorf("%v", o)
		}
		w.wantEpoch(2)
		w.wantExact()
	})
}

// Somebody else's epoch began while this one was being made: nothing of that is touched.
func TestRebuildOvertaken(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1")
		w.tally()
		current := w.record()
		c := &Rebuild{From: fromLog}
		w.asked, w.stdin = true, "yes\n"
		overtake := func() {
			if _, err := deployment.Begin(w.t.Context(), w.cluster, current, current); err != nil {
				w.t.Error(err)
			}
		}
		time.AfterFunc(12*time.Millisecond, overtake)
		w.redis.Latency(2 * time.Millisecond)
		w.refused(c, "another deployment record was written meanwhile")
		w.wantEpoch(2)
		w.sleep(holdFor)
		for key := range w.keys() {
			if strings.Contains(key, "{2:") {
				w.t.Errorf("%s is left", key)
			}
		}
	})
}

// Nobody told whether the record was appended: what was written is kept, since it may be in use.
func TestRebuildWithAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1")
		w.tally()
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: deployment.ControlTopic, Err: kerr.RequestTimedOut, Count: -1})
		o := w.run(&Rebuild{From: fromLog, Yes: true})
		h.Remove()
		switch r := w.record(); {
		case r.Epoch == 2 && o.err == nil:
			w.wantExact()
		case r.Epoch == 1 && strings.Contains(o.String(), "is not known"):
			w.must(&Rebuild{From: fromLog, Discard: true, Yes: true})
			w.wantEpoch(2)
			w.wantExact()
		default:
			w.t.Errorf("%v%+v", o, r)
		}
	})
}

// Who has lost the lock touches nothing any more.
func TestRebuildThatLosesTheLock(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1")
		w.tally()
		w.redis.Latency(300 * time.Millisecond)
		time.AfterFunc(3*time.Second, func() { w.redis.Del("linkpulse:lock:totals") })
		w.refused(&Rebuild{From: fromLog, Yes: true}, "somebody else is at it", "what was written is left")
		w.wantEpoch(1)
		w.redis.Latency(0)
		w.must(&Rebuild{From: fromLog, Discard: true, Yes: true})
		w.wantExact()
	})
}
