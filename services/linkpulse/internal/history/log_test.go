package history

import (
	"errors"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// rec is a record of one partition in a test table: link, event id (0: none), seconds, bot.
type rec struct {
	link string
	id   byte
	at   int64
	bot  bool
}

func partition(recs ...rec) Partition {
	p := Partition{End: int64(len(recs))}
	for o, r := range recs {
		c := click.Record{Bot: r.bot}
		c.ID[0] = r.id
		p.Records = append(p.Records, Record{
			Offset: int64(o), TimeMs: r.at * 1000, Key: []byte(r.link), Value: c.Append(nil),
		})
	}
	return p
}

func TestFold(t *testing.T) {
	t.Parallel()
	poison := partition(rec{"a", 1, 0, false}, rec{"a", 2, 0, false})
	poison.Records[0].Value = []byte("{}")
	hole := partition(rec{"a", 1, 0, false}, rec{"a", 2, 0, false}, rec{"a", 1, 0, false})
	hole.Records = []Record{hole.Records[0], hole.Records[2]} // the window is counted in offsets, not in records
	for _, tc := range []struct {
		name   string
		p      Partition
		window int64
		want   []int64 // count(a, n) for n = 0…
		bots   int64   // of the total
	}{
		{"empty", partition(), 2, []int64{0}, 0},
		{"all different", partition(rec{"a", 1, 0, false}, rec{"a", 2, 0, true}), 2, []int64{0, 1, 2}, 1},
		{"another link's click of the same id", partition(rec{"a", 1, 0, false}, rec{"b", 1, 0, false}), 2, []int64{0, 1, 1}, 0},
		{"occurrence decides, counted or not", partition(rec{"a", 1, 0, false}, rec{"a", 1, 0, false}, rec{"a", 1, 0, false}, rec{"a", 1, 0, false}), 2, []int64{0, 1, 1, 1, 1}, 0},
		{"the window's first offset is inside", partition(rec{"a", 1, 0, false}, rec{"a", 2, 0, false}, rec{"a", 1, 0, false}), 2, []int64{0, 1, 2, 2}, 0},
		{"before the window", partition(rec{"a", 1, 0, false}, rec{"a", 2, 0, false}, rec{"a", 1, 0, false}), 1, []int64{0, 1, 2, 3}, 0},
		{"as old as the time bound", partition(rec{"a", 1, 0, false}, rec{"a", 1, 3600, false}), 2, []int64{0, 1, 2}, 0},
		{"younger than the time bound", partition(rec{"a", 1, 0, false}, rec{"a", 1, 3599, false}), 2, []int64{0, 1, 1}, 0},
		{"time that ran backwards", partition(rec{"a", 1, 3599, false}, rec{"a", 1, 0, false}), 2, []int64{0, 1, 1}, 0},
		{"no id is never a duplicate", partition(rec{"a", 0, 0, false}, rec{"a", 0, 0, false}), 2, []int64{0, 1, 2}, 0},
		{"poison moves the offset on", poison, 2, []int64{0, 0, 1}, 0},
		{"a hole", hole, 1, []int64{0, 1, 1, 2}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f, err := fold(&Log{Epoch: 7, Window: tc.window, Within: time.Hour, Partitions: []Partition{tc.p}})
			if err != nil {
				t.Fatal(err)
			}
			for n, want := range tc.want {
				if got := f.at("a", int64(n)); got.Count != want || got.Seq != int64(n) || got.Epoch != 7 {
					t.Errorf("count(a, %d) = %+v, want %d", n, got, want)
				}
			}
			totals, err := Totals(*f.log)
			if err != nil || totals["a"] != tc.want[len(tc.want)-1] {
				t.Errorf("Totals = %v, %v", totals, err)
			}
			if got := f.total("a"); got.Bots != tc.bots || got.Count != tc.want[len(tc.want)-1] {
				t.Errorf("total = %+v, want %d with %d bots", got, tc.want[len(tc.want)-1], tc.bots)
			}
		})
	}
}

func TestFoldKeepsToThePartitionOfTheLink(t *testing.T) {
	t.Parallel()
	log := Log{Window: 2, Within: time.Hour, Partitions: make([]Partition, 4)}
	home := click.Partition("a", 4)
	log.Partitions[home] = partition(rec{"a", 1, 0, false})
	log.Partitions[(home+1)%4] = partition(rec{"a", 2, 0, false})
	f, err := fold(&log)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.total("a"); got.Count != 1 {
		t.Fatalf("total = %+v, want the 1 click of its own partition", got)
	}
}

func TestLogThatIsNotWhole(t *testing.T) {
	t.Parallel()
	twice := partition(rec{"a", 1, 0, false}, rec{"a", 2, 0, false})
	twice.Records[1].Offset = 0
	beyond := partition(rec{"a", 1, 0, false})
	beyond.End = 0
	for name, partitions := range map[string][]Partition{
		"no partitions": nil, "an offset twice": {twice}, "beyond the end": {beyond},
	} {
		if _, err := Check(nil, Log{Partitions: partitions}); !errors.Is(err, ErrLog) {
			t.Errorf("%s: %v, want ErrLog", name, err)
		}
	}
}
