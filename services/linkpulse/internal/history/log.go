package history

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// Record is a record of the clicks topic.
type Record struct {
	Offset int64
	TimeMs int64 // the record's timestamp, Unix milliseconds
	Key    []byte
	Value  []byte
}

// Partition is everything that a partition holds. It must reach back to offset 0: a count is a fold from there.
type Partition struct {
	Records []Record // by rising offset
	End     int64    // the next offset to be written; above every record's
}

// Log is the whole clicks topic with the parameters that decide what counts in it.
type Log struct {
	Epoch      int64         // the deployment's epoch
	Window     int64         // a duplicate's twin is at most this many offsets before it
	Within     time.Duration // and its time is less than this from it
	Partitions []Partition   // by partition number
}

// ErrLog reports a log that cannot be judged by: offsets out of order, or beyond the end.
var ErrLog = errors.New("the log is not whole")

// step is the count of a link from the offset after a counted click on.
type step struct{ next, count, bots int64 }

// folded answers count(link, n) for every link and n.
type folded struct {
	log   *Log
	steps map[string][]step             // of each link, by rising next
	times map[string]map[click.ID]int64 // of each link, how often each id counted; the zero id is left out
	first map[string]map[click.ID]int64 // of each link, the next offset of each id's first counted record
	seen  map[string]map[click.ID]int64 // the same before duplicates were taken out
}

// twin is an earlier occurrence of a (link, event id), counted or not.
type twin struct{ offset, timeMs int64 }

// fold counts the log. A record is a duplicate if the same (link, event id) occurs in the Window offsets before it and
// less than Within from its time. Occurrence is what matters, not whether that one counted: with a window of 2, of four
// records of one click only the first counts.
func fold(log *Log) (*folded, error) {
	f := &folded{
		log:   log,
		steps: make(map[string][]step),
		times: make(map[string]map[click.ID]int64),
		first: make(map[string]map[click.ID]int64),
		seen:  make(map[string]map[click.ID]int64),
	}
	for p := range log.Partitions {
		if err := f.partition(int32(p), &log.Partitions[p]); err != nil {
			return nil, fmt.Errorf("partition %d: %w", p, err)
		}
	}
	return f, nil
}

func (f *folded) partition(number int32, p *Partition) error {
	type key struct {
		link string
		id   click.ID
	}
	last := int64(-1)
	twins := make(map[key][]twin)
	for _, r := range p.Records {
		if r.Offset <= last || r.Offset >= p.End {
			return fmt.Errorf("%w: offset %d after %d, end %d", ErrLog, r.Offset, last, p.End)
		}
		last = r.Offset
		c, err := click.Decode(r.Key, r.Value)
		if err != nil {
			continue // poison counts nowhere
		}
		k := key{string(r.Key), c.ID}
		if click.Partition(k.link, len(f.log.Partitions)) != number {
			continue // a link's count is of its own partition; only a foreign producer writes elsewhere
		}
		duplicate := false
		if !c.ID.IsZero() { // without an id nothing can tell that it was seen before
			for _, t := range twins[k] {
				duplicate = duplicate || t.offset >= r.Offset-f.log.Window && f.near(t.timeMs, r.TimeMs)
			}
			twins[k] = append(twins[k], twin{r.Offset, r.TimeMs})
			tally(f.seen, k.link, k.id)
		}
		if !duplicate {
			f.count(k.link, c, r.Offset+1)
		}
	}
	return nil
}

func (f *folded) near(a, b int64) bool {
	return max(a-b, b-a) < f.log.Within.Milliseconds()
}

func (f *folded) count(link string, c click.Record, next int64) {
	s := step{next: next, count: 1}
	if n := len(f.steps[link]); n > 0 {
		s.count += f.steps[link][n-1].count
		s.bots = f.steps[link][n-1].bots
	}
	if c.Bot {
		s.bots++
	}
	f.steps[link] = append(f.steps[link], s)
	if !c.ID.IsZero() {
		if tally(f.times, link, c.ID) == 1 {
			if f.first[link] == nil {
				f.first[link] = make(map[click.ID]int64)
			}
			f.first[link][c.ID] = next
		}
	}
}

// tally counts one more and returns how many there are.
func tally(m map[string]map[click.ID]int64, link string, id click.ID) int64 {
	if m[link] == nil {
		m[link] = make(map[click.ID]int64)
	}
	m[link][id]++
	return m[link][id]
}

// ack is the acknowledgement of a click: from then on a watermark may vouch for it.
type ack struct {
	at   time.Time
	next int64 // the largest next offset of this click and all that were acknowledged before it
}

// acks returns every link's acknowledgements by time.
func (f *folded) acks(events []Event) map[string][]ack {
	acks := make(map[string][]ack)
	for _, e := range events {
		if e.Kind == Acked {
			acks[e.Link] = append(acks[e.Link], ack{e.At, f.first[e.Link][e.ID]})
		}
	}
	for _, of := range acks {
		slices.SortStableFunc(of, func(a, b ack) int { return a.at.Compare(b.at) })
		for i := 1; i < len(of); i++ {
			of[i].next = max(of[i].next, of[i-1].next)
		}
	}
	return acks
}

// at returns the count of a link over its partition's records [0, seq).
func (f *folded) at(link string, seq int64) click.Count {
	steps := f.steps[link]
	c := click.Count{Epoch: f.log.Epoch, Seq: seq}
	if i := sort.Search(len(steps), func(i int) bool { return steps[i].next > seq }); i > 0 {
		c.Count, c.Bots = steps[i-1].count, steps[i-1].bots
	}
	return c
}

// end returns the end of the link's partition.
func (f *folded) end(link string) int64 {
	return f.log.Partitions[click.Partition(link, len(f.log.Partitions))].End
}

// total returns the count of a link over its whole partition.
func (f *folded) total(link string) click.Count { return f.at(link, f.end(link)) }
