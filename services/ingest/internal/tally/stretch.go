package tally

import (
	"slices"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

const (
	// maxEntries is how many links and links of minutes a batch names. It bounds for how long one batch keeps Redis from
	// doing anything else, to about 10 ms.
	maxEntries = 8192
	// maxKnown bounds the names that are remembered from batch to batch.
	maxKnown = 1 << 14
)

// stretch collects what a stretch of the log counts. It keeps its memory from one batch to the next: a click on a link
// that was seen before allocates nothing.
type stretch struct {
	batch   totals.Batch
	entries int
	// round numbers the batches; what known says of another round is not in this one.
	round int
	known map[string]*place
	// elsewhere is where links are in minutes that are not those of their latest click.
	elsewhere map[pair]int
}

// place is where a link is in the batch.
type place struct {
	link  string
	round int
	index int // in batch.Links
	// minute is that of its latest click, an index in batch.Minutes, and at the index there.
	minute, at int
}

type pair struct {
	link   *place
	minute int
}

func newStretch(partition int32) *stretch {
	return &stretch{
		batch: totals.Batch{Partition: partition}, known: make(map[string]*place), elsewhere: make(map[pair]int),
	}
}

// begin empties the stretch; it begins at an offset.
func (s *stretch) begin(from int64) {
	b := &s.batch
	b.From, b.To, b.Last = from, from, totals.Fingerprint{}
	b.Links = b.Links[:0]
	for i := range b.Minutes {
		b.Minutes[i].Links = b.Minutes[i].Links[:0]
	}
	b.Minutes = b.Minutes[:0]
	s.entries = 0
	s.round++
	clear(s.elsewhere)
	if len(s.known) > maxKnown {
		clear(s.known)
	}
}

// isEmpty tells whether there is nothing to apply.
func (s *stretch) isEmpty() bool { return s.batch.To == s.batch.From }

// isFull tells whether it is time to apply it.
func (s *stretch) isFull() bool { return s.entries >= maxEntries }

// end moves the end of the stretch; last is of the last record below that.
func (s *stretch) end(next int64, last totals.Fingerprint) { s.batch.To, s.batch.Last = next, last }

// count adds a click.
func (s *stretch) count(r *fold.Record, bot bool, now time.Time) {
	p := s.place(r.Key)
	var bots int64
	if bot {
		bots = 1
	}
	if p.round != s.round {
		p.round, p.index, p.minute = s.round, len(s.batch.Links), -1
		s.batch.Links = append(s.batch.Links, totals.LinkDelta{Link: p.link})
		s.entries++
	}
	l := &s.batch.Links[p.index]
	l.Count++
	l.Bots += bots
	l.AtMs = r.TimeMs

	number := minuteOf(r.TimeMs)
	if !isKept(number, now) {
		return
	}
	s.move(p, number)
	m := &s.batch.Minutes[p.minute].Links[p.at]
	m.Count++
	m.Bots += bots
}

func (s *stretch) place(link []byte) *place {
	p, ok := s.known[string(link)]
	if !ok {
		p = &place{link: string(link)}
		s.known[p.link] = p
	}
	return p
}

// move makes p.minute and p.at those of a minute, in which the link gets an entry if it has none.
func (s *stretch) move(p *place, number int64) {
	if p.minute >= 0 && s.batch.Minutes[p.minute].Minute == number {
		return
	}
	if p.minute >= 0 {
		s.elsewhere[pair{p, p.minute}] = p.at
	}
	p.minute = s.minute(number)
	if at, ok := s.elsewhere[pair{p, p.minute}]; ok {
		p.at = at
		return
	}
	m := &s.batch.Minutes[p.minute]
	p.at = len(m.Links)
	m.Links = append(m.Links, totals.LinkDelta{Link: p.link})
	s.entries++
}

// minute returns the index of a minute, newest first since clicks come roughly in the order of their times.
func (s *stretch) minute(number int64) int {
	for i, m := range slices.Backward(s.batch.Minutes) {
		if m.Minute == number {
			return i
		}
	}
	n := len(s.batch.Minutes)
	if n < cap(s.batch.Minutes) { // its links keep their memory
		s.batch.Minutes = s.batch.Minutes[:n+1]
		s.batch.Minutes[n].Minute = number
	} else {
		s.batch.Minutes = append(s.batch.Minutes, totals.MinuteDelta{Minute: number})
	}
	return n
}

func minuteOf(timeMs int64) int64 { return timeMs / time.Minute.Milliseconds() }

const (
	// keptMinutes is for how many minutes one is kept, and some for a clock that differs from Redis's: Redis decides, and
	// what it would not keep is not worth sending.
	keptMinutes = int64((totals.MinuteRetention + 10*time.Minute) / time.Minute)
	// lastMinute is that of the year 9999. A foreign producer can stamp any time on a record, and one that Redis cannot
	// count with as the time of an expiry would fail every batch that has it.
	lastMinute = 253402300799 / 60
)

// isKept tells whether clicks of a minute are stored by minute.
func isKept(number int64, now time.Time) bool {
	return now.Unix()/60-number <= keptMinutes && number <= lastMinute
}
