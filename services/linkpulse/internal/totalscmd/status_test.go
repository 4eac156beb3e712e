package totalscmd

import (
	"strings"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

// linkOf returns a link of a partition.
func linkOf(partition int32) string { return []string{"a", "d"}[partition] }

func TestStatus(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.wantWaiting()
		w.click("a1", "a2", "d1!", "a3")
		w.tally()
		time.Sleep(5 * time.Minute)
		w.click("a4", "a5")
		w.golden("status.txt", w.must(&Status{}).String())
		w.golden("status.json", w.must(&Status{JSON: true}).stdout)
	})
}

// wantWaiting looks at a deployment that has not begun to count.
func (w *world) wantWaiting() {
	w.t.Helper()
	if o := w.must(&Status{}); !strings.Contains(o.stdout, "waiting") {
		w.t.Errorf("before the tally: %v", o)
	}
}

// Whatever stops a tally shows from outside, by the same name.
func TestStatusOfWhatStopped(t *testing.T) {
	t.Parallel()
	one := linkOf(1)
	for name, tc := range map[string]struct {
		breakIt func(w *world)
		state   State
		want    string
	}{
		"missing": {func(w *world) {
			w.redis.FlushAll()
			w.cut(1, 2)
		}, Missing, "the log begins at 2"},
		"lost": {func(w *world) {
			w.click(one+"8", one+"9")
			w.cut(1, 5)
		}, Lost, "1 records between are gone"},
		"lost duplicates": {func(w *world) {
			w.cut(1, 3)
		}, Lost, "what could make later clicks duplicates is gone"},
		"log cut off": {func(w *world) {
			w.recreate(0)
		}, Recreated, "the log ends at 0"},
		"another log": {func(w *world) {
			w.recreate(6)
		}, Recreated, "another record is at offset 3"},
		"another rule": {func(w *world) {
			w.redis.HSet("linkpulse:{1:1}:totals", "rule", "1/1/1")
		}, OtherRule, "rebuild"},
		"a foreign key": {func(w *world) {
			w.redis.Del("linkpulse:{1:1}:totals")
			if err := w.redis.Set("linkpulse:{1:1}:totals", "x"); err != nil {
				w.t.Fatal(err)
			}
		}, ForeignKey, "it is no hash"},
		"a foreign number": {func(w *world) {
			w.redis.HSet("linkpulse:{1:1}:totals", "next", "many")
		}, ForeignKey, "no offset"},
		"redis is away": {func(w *world) { w.redis.Away(true) }, Unknown, "connect"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun(t, func(w *world) {
				w.click(one+"1", one+"2", one+"3", one+"4")
				w.tally()
				tc.breakIt(w)
				o := w.refused(&Status{}, tc.want, "stand still")
				if o.code() != 1 || !strings.Contains(o.stdout, " "+string(tc.state)+"\n") {
					w.t.Errorf("%vit does not say %s", o, tc.state)
				}
			})
		})
	}
}

// recreate creates the topic anew, with so many other clicks in each partition.
func (w *world) recreate(clicks int) {
	w.t.Helper()
	w.close()
	w.open()
	if err := w.fake.DeleteTopic("clicks"); err != nil {
		w.t.Fatal(err)
	}
	delete(w.clicks, "clicks")
	w.init()
	for i := range clicks {
		w.click("a"+string(rune('A'+i)), "d"+string(rune('A'+i)))
	}
}

func TestStatusTellsOfLeftovers(t *testing.T) {
	t.Parallel()
	begun(t, func(w *world) {
		w.tally()
		next := w.store.Epoch(2, totals.Rule{})
		if err := next.Restore(w.t.Context(), 1, &totals.Dump{}); err != nil {
			w.t.Fatal(err)
		}
		if o := w.must(&Status{}); !strings.Contains(o.stdout, "1 partitions have totals of epoch 2") {
			w.t.Errorf("%v", o)
		}
	})
}

func TestStatusWithoutADeployment(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		if o := w.refused(&Status{}, "linkpulse init"); o.code() != 1 {
			w.t.Errorf("%v", o)
		}
	})
}
