// Package totals keeps what the log adds up to in Redis: for each partition the offset up to which its log was folded, and
// the clicks of each link below that offset. proto/REDIS.md describes the keys.
//
// Offset and totals change together or not at all. One script compares the offset that the caller began at with the one
// that is stored, and only where they are the same adds the clicks and moves the offset. So nothing that happens to Redis
// or to a writer can count a click twice: a second owner of a partition is refused, a batch whose answer was lost is
// refused when it comes again, and a Redis that lost its last second, or was replaced by a replica that was behind, has an
// older offset with the totals of then, from which the log is folded again.
//
// The same keys are read in one command, so totals and their offset are always of one moment.
package totals
