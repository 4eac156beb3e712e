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

// job is a click that has to be posted.
type job struct {
	link int
	due  time.Duration
}

// jobs returns the clicks of all links in the order in which they are due.
func (s *schedule) jobs() []job {
	jobs := make([]job, 0, s.all)
	for link, due := range s.due {
		for _, at := range due {
			jobs = append(jobs, job{link, at})
		}
	}
	slices.SortStableFunc(jobs, func(a, b job) int { return cmp.Compare(a.due, b.due) })
	return jobs
}
