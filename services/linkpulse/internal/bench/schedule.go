package bench

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// schedule is the load of a run, drawn before it starts and never changed: whoever reads it needs no lock.
type schedule struct {
	due [][]time.Duration // of each link, when its clicks are due, from the start of the load, rising
	all int               // clicks of all links
}

// draw plans clicks at rate per second for a time, each for a random one of links.
func draw(links int, rate float64, length time.Duration, seed uint64) *schedule {
	rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a load, and a seed repeats it
	s := &schedule{due: make([][]time.Duration, links)}
	for at := 0.0; ; {
		at += rng.ExpFloat64() / rate
		due := time.Duration(at * float64(time.Second))
		if due >= length {
			return s
		}
		link := rng.IntN(links)
		s.due[link] = append(s.due[link], due)
		s.all++
	}
}

// job is a click that a sender has to post.
type job struct {
	link int
	due  time.Duration
}

// jobs returns the clicks of every n-th link from first on, in the order in which they are due.
func (s *schedule) jobs(first, n int) []job {
	var mine []job
	for link := first; link < len(s.due); link += n {
		for _, due := range s.due[link] {
			mine = append(mine, job{link, due})
		}
	}
	slices.SortStableFunc(mine, func(a, b job) int { return cmp.Compare(a.due, b.due) })
	return mine
}
