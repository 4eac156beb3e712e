package totalscmd

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/totalscmd/backup"
)

func (w *world) read(name string) []byte {
	w.t.Helper()
	content, err := os.ReadFile(w.path(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return content
}

func TestExportAndImport(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2!", "a1", "d1", "c1")
		w.tally()
		w.redis.HSet("linkpulse:{1:0}:totals", "i:a", "1000", "ib:a", "10")
		before := w.keys()
		o := w.must(&Export{File: w.path("backup")})
		if !strings.Contains(o.stderr, "epoch 1, 2 partitions, 3 links are in DIR/backup") || o.stdout != "" {
			w.t.Errorf("%v", o)
		}
		w.golden("export.ndjson", string(w.read("backup")))
		if o := w.must(&Export{File: "-"}); o.stdout != string(w.read("backup")) {
			w.t.Errorf("standard output is another backup: %v", o)
		}
		w.refused(&Import{File: w.path("backup")}, "every partition has totals", "rebuild --from FILE")
		w.redis.FlushAll()
		w.golden("import.txt", w.must(&Import{File: w.path("backup")}).String())
		if after := w.keys(); !reflect.DeepEqual(after, before) {
			w.t.Errorf("redis has %v, it had %v", after, before)
		}
		w.click("a1", "a3", "d1", "d2")
		w.tally()
		w.wantExact()
	})
}

// Partitions that have totals keep them; those that have none are restored.
func TestImportOfWhatIsGone(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1")
		w.tally()
		w.must(&Export{File: w.path("backup")})
		w.click("a2", "d2")
		w.tally()
		w.redis.Del("linkpulse:{1:1}:totals")
		o := w.must(&Import{File: w.path("backup")})
		for _, want := range []string{"partition 0 has totals, at offset 2: they stay", "partition 1 has the totals of offset 1 again: 1 links"} {
			if !strings.Contains(o.stdout, want) {
				w.t.Errorf("%vdoes not say %q", o, want)
			}
		}
		w.tally()
		w.wantExact()
	})
}

func TestImportRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before func(w *world)
		want   []string
	}{
		"another epoch": {func(w *world) { w.must(&Rebuild{From: fromLog, Yes: true}) }, []string{"epoch 1, epoch 2 stands", "rebuild --from"}},
		"another rule":  {func(w *world) { w.must(&Rebuild{From: fromLog, Window: 5, Yes: true}) }, []string{"10/3600000/1", "5/3600000/1"}},
		"what retention has cut since": {
			func(w *world) { w.click("a3", "a4"); w.cut(0, 3) }, []string{"nothing was changed", "partition 0", "1 records between are gone", "--accept-loss"},
		},
		"a window that is not there": {func(w *world) { w.cut(0, 1) }, []string{"partition 0", "what could make later clicks duplicates is gone"}},
		"another log":                {func(w *world) { w.recreate(4) }, []string{"another record is at offset 1"}},
		"a shorter log":              {func(w *world) { w.recreate(0) }, []string{"the log ends at 0"}},
		"a cut file":                 {func(w *world) { w.file("backup", string(w.read("backup")[:300])) }, []string{"it was cut"}},
		"a changed file": {func(w *world) {
			w.file("backup", strings.Replace(string(w.read("backup")), `"count":2`, `"count":3`, 1))
		}, []string{"SHA-256"}},
		"no file":       {func(w *world) { _ = os.Remove(w.path("backup")) }, []string{"no such file"}},
		"redis is away": {func(w *world) { w.redis.Away(true) }, []string{"connect"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun(t, func(w *world) {
				w.click("a1", "a2", "d1")
				w.tally()
				w.must(&Export{File: w.path("backup")})
				tc.before(w)
				for key := range w.keys() {
					if !strings.Contains(key, "lock") {
						w.redis.Del(key)
					}
				}
				if o := w.refused(&Import{File: w.path("backup")}, tc.want...); o.code() != 1 || len(w.keys()) != 0 {
					w.t.Errorf("%vredis has %v", o, w.keys())
				}
			})
		})
	}
}

func TestExportRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		before func(w *world)
		want   string
	}{
		"totals that are gone":           {func(w *world) { w.redis.FlushAll(); w.cut(0, 1) }, "the log begins at 1"},
		"totals that cannot be read":     {func(w *world) { w.redis.HSet("linkpulse:{1:1}:totals", "c:d", "x") }, "c:d"},
		"totals of another rule":         {func(w *world) { w.redis.HSet("linkpulse:{1:1}:totals", "rule", "x") }, "counted by the rule"},
		"redis is away":                  {func(w *world) { w.redis.Away(true) }, "connect"},
		"an epoch that began in between": {func(w *world) { w.beginDuringExport() }, "epoch 2 began meanwhile"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun(t, func(w *world) {
				w.click("a1", "a2", "d1")
				w.tally()
				w.file("backup", "the one of yesterday")
				tc.before(w)
				w.refused(&Export{File: w.path("backup")}, tc.want)
				if got := w.read("backup"); string(got) != "the one of yesterday" {
					w.t.Errorf("the old file is gone: %s", got)
				}
				w.wantOneFile()
			})
		})
	}
}

// wantOneFile wants no file that was begun and not finished.
func (w *world) wantOneFile() {
	w.t.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil || len(entries) != 1 {
		w.t.Errorf("%d files are there, %v: %v", len(entries), err, entries)
	}
}

// beginDuringExport begins an epoch while the next export runs.
func (w *world) beginDuringExport() {
	w.redis.Latency(5 * time.Millisecond)
	time.AfterFunc(7*time.Millisecond, func() {
		if o := w.run(&Rebuild{From: fromLog, Yes: true}); o.err != nil {
			w.t.Error(o)
		}
	})
	w.during = func(_ context.Context, n int) {
		if n == 4 {
			time.Sleep(time.Second)
		}
	}
}

func TestExportInterrupted(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1")
		w.tally()
		w.file("backup", "the one of yesterday")
		w.redis.Latency(5 * time.Millisecond)
		for at := time.Millisecond; at < 15*time.Millisecond; at += 2 * time.Millisecond {
			ctx, cancel := context.WithTimeout(w.t.Context(), at)
			if o := w.runIn(ctx, &Export{File: w.path("backup")}); o.code() != 1 || !strings.Contains(o.String(), "told to end") {
				w.t.Errorf("after %v: %v", at, o)
			}
			cancel()
			w.wantOneFile()
		}
		if got := w.read("backup"); string(got) != "the one of yesterday" {
			w.t.Errorf("the old file is gone: %s", got)
		}
	})
}

// What has not begun to be counted is in a backup as what it is: nothing, at offset 0.
func TestExportBeforeTheTally(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1")
		w.must(&Export{File: w.path("backup")})
		w.must(&Import{File: w.path("backup")})
		w.tally()
		w.wantExact()
	})
}

// The log of a partition that nobody clicks on is empty after a while, and begins at its end: what was cut is too old to
// matter.
func TestABackupOfAQuietPartition(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "a2", "d1")
		w.tally()
		w.must(&Export{File: w.path("backup")})
		w.sleep(6 * 24 * time.Hour)
		w.cut(0, 2)
		w.must(&Status{})
		w.redis.FlushAll()
		w.must(&Import{File: w.path("backup")})
		w.click("a1", "a3")
		w.tally()
		w.wantExact()
		w.wantVerdict(&Verify{Base: w.path("backup")}, 0, "counted on from the backup at 2")
	})
}

// Whatever bit of a backup is changed on its way, an import restores what was exported, or nothing.
func TestImportOfDamagedFiles(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1!")
		w.tally()
		before := w.keys()
		w.must(&Export{File: w.path("backup")})
		content := w.read("backup")
		restored := 0
		for i := 0; i < len(content); i += 3 { // package backup looks at each bit
			changed := bytes.Clone(content)
			changed[i] ^= 1 << (i % 8)
			w.file("backup", string(changed))
			w.redis.FlushAll()
			o := w.run(&Import{File: w.path("backup")})
			switch after := w.keys(); {
			case o.err != nil && len(after) == 0:
			case o.err == nil && reflect.DeepEqual(after, before):
				restored++
			default:
				w.t.Fatalf("byte %d: %vredis has %v", i, o, after)
			}
		}
		if restored > 10 {
			w.t.Errorf("%d of %d changes did not matter", restored, len(content))
		}
	})
}

// A backup of any moment, put into an empty Redis and counted on from, is what the whole log adds up to; with clicks,
// duplicates and retention at random. Where it would not be, it is refused.
func TestABackupIsExactAfterReplay(t *testing.T) {
	t.Parallel()
	const seeds = 40
	var restored atomic.Int64
	t.Cleanup(func() {
		if n := restored.Load(); n < seeds/3 || n == seeds {
			t.Errorf("%d of %d were restored: both should come about", n, seeds)
		}
	})
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			inBubble(t, t.TempDir(), func(w *world) {
				w.init()
				if w.life(rand.New(rand.NewPCG(seed, 4))) {
					restored.Add(1)
				}
			})
		})
	}
}

// life is one of that test. It tells whether the backup could be restored.
func (w *world) life(r *rand.Rand) (restored bool) {
	w.t.Helper()
	some := func() {
		for range r.IntN(25) {
			bot := ""
			if r.IntN(4) == 0 {
				bot = "!"
			}
			w.click(string("acdf"[r.IntN(4)]) + string("0123456789"[r.IntN(10)]) + bot)
			if r.IntN(3) == 0 {
				w.sleep(time.Duration(r.IntN(40)) * time.Minute)
			}
			if r.IntN(5) == 0 {
				w.tally()
			}
		}
	}
	some()
	w.must(&Export{File: w.path("backup")})
	at := time.Now()
	var exported [partitions]int64
	if f, err := backup.Open(w.path("backup")); err != nil {
		w.t.Fatal(err)
	} else {
		for p := range exported {
			exported[p] = f.Sections[p].Next
		}
		_ = f.Close()
	}
	some()
	w.tally()
	w.wantExact()
	var lost []string
	for p := range int32(partitions) {
		all := w.clicks["clicks"][p]
		start := 0
		// Retention cuts what is older than three hours, and sometimes more.
		for start < len(all) && time.Since(time.UnixMilli(all[start].timeMs)) > 3*time.Hour {
			start++
		}
		if len(all) > 0 && r.IntN(4) == 0 {
			start = max(start, r.IntN(len(all)))
		}
		if start > 0 && int64(start) == exported[p] {
			start-- // where nothing is left before a backup, retention is believed, and this was none
		}
		if start > 0 {
			w.cut(p, int64(start))
			lost = append(lost, fmt.Sprintf("%d of %d", start, len(all)))
		}
	}
	w.redis.FlushAll()
	o := w.run(&Import{File: w.path("backup")})
	if o.err != nil {
		if len(lost) == 0 || len(w.keys()) > 0 {
			w.t.Errorf("with a log that lost %v, and a backup of %v ago: %v", lost, time.Since(at), o)
		}
		return false
	}
	w.tally()
	w.wantExact()
	w.wantBackupVerifies()
	return true
}

// wantBackupVerifies counts on from the backup: it must agree.
func (w *world) wantBackupVerifies() {
	w.t.Helper()
	if o := w.run(&Verify{Base: w.path("backup")}); o.code() != 0 {
		w.t.Errorf("%v", o)
	}
}

// A rebuild, from wherever, is what the whole log adds up to.
func TestRebuildsAtRandom(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			inBubble(t, t.TempDir(), func(w *world) {
				w.init()
				r := rand.New(rand.NewPCG(seed, 5))
				for range 4 {
					for range r.IntN(12) {
						w.click(string("acdf"[r.IntN(4)]) + string("012345"[r.IntN(6)]))
						w.sleep(time.Duration(r.IntN(20)) * time.Minute)
					}
					w.tally()
					if r.IntN(2) == 0 {
						w.must(&Export{File: w.path("backup")})
					} else if _, err := os.Stat(w.path("backup")); err != nil {
						continue
					}
					from := []string{fromLog, fromTotals, w.path("backup")}[r.IntN(3)]
					w.must(&Rebuild{From: from, Yes: true})
					w.tally()
					w.wantExact()
					w.wantVerdict(&Verify{}, 0)
				}
			})
		})
	}
}
