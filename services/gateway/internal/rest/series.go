package rest

import (
	"slices"
	"strconv"
)

// series is what a link got by minute.
type series struct {
	from, seq    int64 // first minute; place at which the series is true
	counts, bots []int64
	// beyond tells that there was a click of a later minute, by a clock that is ahead of this one.
	beyond bool
}

func newSeries(from, to int64) *series {
	return &series{from: from, counts: make([]int64, to-from), bots: make([]int64, to-from)}
}

func (s *series) add(minute, count, bots int64) {
	if i := minute - s.from; i >= 0 && i < int64(len(s.counts)) {
		s.counts[i] += count
		s.bots[i] += bots
	} else if i >= 0 {
		s.beyond = true
	}
}

// extend makes a series that ends before to end there, and forgets what no request can ask for any more.
func (s *series) extend(to int64) {
	more := to - s.from - int64(len(s.counts))
	if more <= 0 {
		return
	}
	old := max(0, to-s.from-maxHistory)
	s.from += old
	grow := func(numbers []int64) []int64 {
		return append(numbers[min(old, int64(len(numbers))):], make([]int64, min(more, maxHistory))...)
	}
	s.counts, s.bots = grow(s.counts), grow(s.bots)
}

// window returns a copy of the minutes [from, to), which the series has.
func (s *series) window(from, to int64) *series {
	return &series{
		from: from, seq: s.seq,
		counts: slices.Clone(s.counts[from-s.from : to-s.from]), bots: slices.Clone(s.bots[from-s.from : to-s.from]),
	}
}

// click adds a click of a record time in Unix milliseconds.
func (s *series) click(timeMs int64, bot bool) {
	bots := int64(0)
	if bot {
		bots = 1
	}
	s.add(timeMs/60_000, 1, bots)
}

// append appends the member history: its clicks by steps of so many minutes.
func (s *series) append(b []byte, step int64) []byte {
	b = strconv.AppendInt(append(b, `,"history":{"from":`...), s.from*60_000, 10)
	b = strconv.AppendInt(append(b, `,"step_ms":`...), step*60_000, 10)
	b = strconv.AppendInt(append(b, `,"seq":`...), s.seq, 10)
	b = appendSums(append(b, `,"counts":[`...), s.counts, step)
	b = appendSums(append(b, `],"bots":[`...), s.bots, step)
	return append(b, "]}"...)
}

// appendSums appends the sums of every step numbers, comma-separated. step divides their number.
func appendSums(b []byte, numbers []int64, step int64) []byte {
	for i := int64(0); i < int64(len(numbers)); i += step {
		sum := int64(0)
		for _, n := range numbers[i : i+step] {
			sum += n
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, sum, 10)
	}
	return b
}
