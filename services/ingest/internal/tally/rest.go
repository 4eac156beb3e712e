package tally

import "time"

// rest is how long a worker that has read all of the log lets it grow before it fetches again: applyEvery, give or take
// half of it. What it folded would only wait to be applied, and the fetches of one click each cost it, and the broker,
// more than all the rest.
//
// It ends at a moment of applyEvery that is the partition's own. A batch keeps Redis, and here a core, from everything
// else for a while; workers that once came at the same time, as they do after a pause, would go on doing so.
func rest(partition int32, now time.Time) time.Duration {
	left := (turn(partition) - time.Duration(now.UnixNano())%applyEvery + applyEvery) % applyEvery
	if left < applyEvery/2 {
		left += applyEvery
	}
	return left
}

// turn is when it is a partition's turn, from the beginning of each applyEvery. Multiples of the golden ratio lie evenly
// on a circle, however many partitions there are and whichever of them are here.
func turn(partition int32) time.Duration {
	const golden = 0x9e3779b9                                                         // of 1<<32
	return time.Duration(uint64(uint32(partition)*golden) * uint64(applyEvery) >> 32) //nolint:gosec // below applyEvery
}
