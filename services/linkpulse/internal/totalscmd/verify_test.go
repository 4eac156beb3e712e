package totalscmd

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func (w *world) wantVerdict(c *Verify, code int, want ...string) outcome {
	w.t.Helper()
	o := w.run(c)
	if o.code() != code {
		w.t.Errorf("%vshould end with %d", o, code)
	}
	for _, part := range want {
		if !strings.Contains(o.String(), part) {
			w.t.Errorf("%vdoes not say %q", o, part)
		}
	}
	return o
}

func TestVerify(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.wantVerdict(&Verify{}, 0, "partition 1 at 0: agree") // nothing was counted of nothing
		w.click("a1", "a2", "a1", "d1!", "a3")
		w.wantVerdict(&Verify{}, 2, "no totals yet")
		w.tally()
		w.click("a4", "d7") // what came since is no difference
		w.golden("verify-agree.txt", w.wantVerdict(&Verify{}, 0).String())
		w.golden("verify-agree.json", w.wantVerdict(&Verify{JSON: true}, 0).stdout)
	})
}

// Whatever number of Redis is not what the log says, it is found and told.
func TestVerifyFindsDifferences(t *testing.T) {
	t.Parallel()
	const key = "linkpulse:{1:0}:totals"
	minute := "linkpulse:{1:0}:minute:15778080" // the first one of a synctest bubble
	for name, tc := range map[string]struct {
		change func(w *world)
		want   string
	}{
		"a click too many":   {func(w *world) { w.add(key, "c:a", 1) }, "link a: Redis 3 clicks, 1 of bots"},
		"a click too few":    {func(w *world) { w.add(key, "c:a", -1) }, "link a: Redis 1 clicks"},
		"a bot":              {func(w *world) { w.add(key, "b:a", -1) }, "Redis 2 clicks, 0 of bots"},
		"the newest":         {func(w *world) { w.add(key, "t:a", -1) }, "newest 1999-12-31T23:59:59.999Z"},
		"a link too many":    {func(w *world) { w.redis.HSet(key, "c:never", "1") }, "link never: Redis 1 clicks, 0 of bots, log 0 clicks"},
		"a link too few":     {func(w *world) { w.redis.HDel(key, "c:c"); w.redis.HDel(key, "t:c") }, "link c: Redis 0 clicks"},
		"an offset too far":  {func(w *world) { w.add(key, "next", -1) }, "the record that was counted last"},
		"a minute":           {func(w *world) { w.add(minute, "c:a", 1) }, "link a at 2000-01-01T00:00Z: Redis 3 clicks, 1 of bots, log 2 clicks"},
		"a minute gone":      {func(w *world) { w.redis.Del(minute) }, "link c at 2000-01-01T00:00Z: Redis 0 clicks, 0 of bots, log 1 clicks"},
		"a record":           {func(w *world) { w.redis.HSet(key, "last", "3:00000000000000ff") }, "the record that was counted last"},
		"a record that is 0": {func(w *world) { w.redis.HDel(key, "last") }, "the record that was counted last"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun(t, func(w *world) {
				w.click("a1", "a2!", "a1", "c1")
				w.tally()
				tc.change(w)
				o := w.wantVerdict(&Verify{}, 1, "DIFFER", tc.want, "1 of 2 partitions")
				if !strings.Contains(o.stdout, "partition 1 at 0: agree") {
					w.t.Errorf("%vthe other partition agrees", o)
				}
			})
		})
	}
}

func TestVerifySomeOfIt(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "c1", "d1")
		w.tally()
		w.redis.HSet("linkpulse:{1:0}:totals", "c:a", "7", "i:c", "100") // imported counts are not the log's
		w.wantVerdict(&Verify{Links: []string{"c", "d"}}, 0, "partition 0 at 2: agree (1 clicks of 1 links", "partition 1")
		w.wantVerdict(&Verify{Links: []string{"a"}}, 1, "link a: Redis 7")
		if o := w.wantVerdict(&Verify{Partition: new(1)}, 0); strings.Contains(o.stdout, "partition 0") {
			w.t.Errorf("%v", o)
		}
		w.wantVerdict(&Verify{Partition: new(2)}, 2, "there are 2")
	})
}

// The log does not start at 0 any more: a backup is counted on from.
func TestVerifyWithABase(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2!", "a1", "c1")
		w.tally()
		old := w.path("old")
		w.must(&Export{File: old})
		w.sleep(30 * time.Minute)
		for range 4 {
			w.click("a3", "a3", "c1", "a5") // c1 is a duplicate while the first one is in the window
			time.Sleep(time.Minute)
		}
		w.tally()
		base := w.path("base")
		w.must(&Export{File: base})
		w.click("a6", "c7", "a5")
		w.tally()
		w.wantVerdict(&Verify{}, 0)
		w.cut(0, 3)
		w.wantVerdict(&Verify{}, 2, "the log begins at 3", "--base")
		w.wantVerdict(&Verify{Base: base}, 0, "partition 0 at 23: agree", "counted on from the backup at 20")
		w.wantVerdict(&Verify{Base: old}, 2, "what could make later records duplicates is gone")
		w.cut(0, 11) // the window before 20 is not all there
		w.wantVerdict(&Verify{Base: base}, 2, "what could make later records duplicates is gone")
		w.add("linkpulse:{1:0}:totals", "next", -4)
		w.wantVerdict(&Verify{Base: base}, 2, "it was taken back since")
		w.add("linkpulse:{1:0}:totals", "next", 4)
		w.cut(0, 22)
		w.wantVerdict(&Verify{Base: base}, 2, "records between are gone")
		w.wantVerdict(&Verify{Base: w.file("no-backup", "{}\n")}, 2, "no backup")
	})
}

// A quiet log holds less than a window, and that is enough where what was cut is too old to matter.
func TestVerifyWithABaseOfAQuietLog(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2")
		time.Sleep(time.Minute)
		w.click("a3")
		w.tally()
		base := w.path("base")
		w.must(&Export{File: base})
		w.cut(0, 1)
		w.click("a4")
		w.tally()
		w.wantVerdict(&Verify{Base: base}, 2, "duplicates is gone")
		w.sleep(2*time.Hour + time.Minute) // the window in time and an hour for clocks
		w.click("a5")
		w.tally()
		w.must(&Export{File: base})
		w.wantVerdict(&Verify{Base: base}, 0, "counted on from the backup at 5")
		w.click("a6", "a1") // long forgotten: it counts
		w.tally()
		w.wantVerdict(&Verify{Base: base}, 0, "partition 0 at 7: agree (7 clicks")
		w.wantExact()
	})
}

// Clicks go on arriving and being counted while it is compared.
func TestVerifyWhileClicksArrive(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1")
		w.tally()
		done := make(chan struct{})
		stop := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				w.click("a"+string(rune('2'+i%60)), "d"+string(rune('2'+i%60)))
				w.tally()
				time.Sleep(3 * time.Millisecond)
			}
		}()
		w.redis.Latency(time.Millisecond) // so that there is a while
		for range 8 {
			w.wantVerdict(&Verify{}, 0)
		}
		close(stop)
		<-done
	})
}

func TestVerifyAgainstAnotherLog(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2")
		w.tally()
		w.recreate(0)
		w.wantVerdict(&Verify{}, 2, "the log ends at 0")
		w.click("aX", "aY", "aZ")
		o := w.wantVerdict(&Verify{JSON: true}, 1)
		var first verdict
		if err := json.NewDecoder(strings.NewReader(o.stdout)).Decode(&first); err != nil || first.Verdict != differ || first.Next != 2 {
			w.t.Fatalf("%+v, %v", first, err)
		}
		if len(first.Differences) != 2 || first.Differences[0].Record == "" || first.Differences[1].Log.Count != 2 {
			w.t.Errorf("two clicks are two clicks, at another time; the record is another one: %+v", first.Differences)
		}
	})
}

// Who is told to end has not told anything.
func TestVerifyInterrupted(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1")
		w.tally()
		ctx, cancel := context.WithCancel(w.t.Context())
		w.during = func(_ context.Context, n int) {
			if n == 3 {
				cancel()
			}
		}
		if o := w.runIn(ctx, &Verify{}); o.code() != 2 || !strings.Contains(o.String(), "told to end") {
			w.t.Errorf("%v", o)
		}
		cancel()
	})
}

func TestVerifyWithRedisAway(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1")
		w.tally()
		w.redis.Away(true)
		w.wantVerdict(&Verify{}, 2, "cannot tell")
		w.redis.Away(false)
		time.Sleep(time.Second)
		w.redis.HSet("linkpulse:{1:0}:totals", "rule", "1/1/1")
		w.wantVerdict(&Verify{}, 2, "counted by the rule", "partition 1 at 0: agree")
	})
}
