package hub

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// smallCounts is a histogram of small counts in powers of two, that is filled a turn at a time: an observation per write
// would cost a percent of the write.
type smallCounts struct {
	desc *prometheus.Desc

	mu    sync.Mutex // guards total
	total smallTally
}

// smallBuckets is how many buckets there are: up to 1, 2, 4, … 128.
const smallBuckets = 8

// smallTally is what was observed; over counts what is in no bucket.
type smallTally struct {
	in        [smallBuckets]uint64
	over, sum uint64
}

func (t *smallTally) observe(n int) {
	t.sum += uint64(n) //nolint:gosec // a count
	for i := range t.in {
		if n <= 1<<i {
			t.in[i]++
			return
		}
	}
	t.over++
}

// add adds a turn's observations and empties them.
func (c *smallCounts) add(t *smallTally) {
	if t.sum == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, n := range t.in {
		c.total.in[i] += n
	}
	c.total.over += t.over
	c.total.sum += t.sum
	*t = smallTally{}
}

// Describe implements prometheus.Collector.
func (c *smallCounts) Describe(descs chan<- *prometheus.Desc) { descs <- c.desc }

// Collect implements prometheus.Collector.
func (c *smallCounts) Collect(metrics chan<- prometheus.Metric) {
	c.mu.Lock()
	t := c.total
	c.mu.Unlock()
	buckets, count := map[float64]uint64{}, uint64(0)
	for i, n := range t.in {
		count += n
		buckets[float64(int(1)<<i)] = count
	}
	metrics <- prometheus.MustNewConstHistogram(c.desc, count+t.over, float64(t.sum), buckets)
}
