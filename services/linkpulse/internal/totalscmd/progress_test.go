package totalscmd

import (
	"strings"
	"testing"
	"time"
)

// On a terminal there is a bar on standard error; standard output is the same.
func TestProgress(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		for range 30 {
			w.click("a1", "a2", "d1")
		}
		w.tally()
		w.must(&Export{File: w.path("backup")})
		for _, c := range []struct {
			cmd  func() Command
			want string
		}{
			{func() Command { return &Verify{} }, "records"},
			{func() Command { return &Export{File: w.path("other")} }, "partitions"},
			{func() Command { w.redis.FlushAll(); return &Import{File: w.path("backup")} }, "partitions"},
		} {
			w.terminal = false
			plain := w.must(c.cmd())
			w.terminal = true
			fancy := w.must(c.cmd())
			if fancy.stdout != plain.stdout || !strings.Contains(fancy.stderr, c.want) || strings.Contains(plain.stderr, "%") {
				w.t.Errorf("without a terminal:\n%v%q\nwith one:\n%v%q", plain, plain.stderr, fancy, fancy.stderr)
			}
		}
		w.terminal = true
		if o := w.must(&Rebuild{From: fromLog, Yes: true}); !strings.Contains(o.stderr, "records") {
			w.t.Errorf("%v", o)
		}
		time.Sleep(time.Second)
		w.wantExact()
	})
}

// A key of the totals that is somebody else's is not made to expire with them.
func TestRebuildLeavesForeignKeysAlone(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.click("a1", "d1")
		w.tally()
		const foreign = "linkpulse:{1:1}:totals"
		w.redis.Del(foreign)
		if err := w.redis.Set(foreign, "somebody else's"); err != nil {
			w.t.Fatal(err)
		}
		o := w.must(&Rebuild{From: fromLog, Yes: true})
		if !strings.Contains(o.stdout, "partition 1: there are no old totals that could be read") {
			w.t.Errorf("%v", o)
		}
		if ttl := w.redis.TTL(foreign); ttl != 0 {
			w.t.Errorf("it expires in %v", ttl)
		}
		w.wantExact()
	})
}
