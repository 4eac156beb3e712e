package totalscmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/lineage"
)

// State is what can be told of a partition's totals from outside. Those that stop its tally are called as the tally does.
type State string

// The states.
const (
	// OK: the tally goes on from there.
	OK State = "ok"
	// Waiting: there is nothing yet, and the tally will begin at the start of the log.
	Waiting State = "waiting"
	// Missing: there is nothing, and the log does not start at 0 any more.
	Missing State = "missing"
	// Lost: the log begins behind the totals.
	Lost State = "lost"
	// Recreated: the totals are of another log.
	Recreated State = "recreated"
	// OtherRule: the totals were counted by another rule.
	OtherRule State = "rule"
	// ForeignKey: a key holds something else.
	ForeignKey State = "key"
	// Unknown: Redis or Kafka could not be asked.
	Unknown State = "unknown"
)

// isStopped tells whether the tally cannot go on from there, as far as can be told.
func (s State) isStopped() bool { return s != OK && s != Waiting }

// condition is how a partition's totals are, beside the log.
type condition struct {
	partition  int32
	state      State
	position   totals.Position // Next is totals.None where there is none
	start, end int64           // of the log
	problem    string          // empty where there is none
}

func (c *condition) is(state State, format string, args ...any) {
	c.state, c.problem = state, fmt.Sprintf(format, args...)
}

// examine finds out how the totals of a partition are.
func examine(ctx context.Context, source feed.Source, epoch *totals.Epoch, partition int32) condition {
	c := condition{partition: partition, state: OK, position: totals.Position{Next: totals.None}}
	var err error
	if c.start, c.end, err = source.Bounds(ctx, partition); err != nil {
		c.is(Unknown, "%v", err)
		return c
	}
	position, err := epoch.Position(ctx, partition)
	var rule *totals.RuleError
	var key *totals.KeyError
	switch {
	case errors.Is(err, totals.ErrMissing) && c.start > 0:
		c.is(Missing, "redis has no totals, and the log begins at %d, so they cannot be counted again from its start. "+
			"Put a backup back with `linkpulse totals import`", c.start)
	case errors.Is(err, totals.ErrMissing):
		c.state = Waiting
	case errors.As(err, &rule):
		c.is(OtherRule, "%v", rule)
	case errors.As(err, &key):
		c.is(ForeignKey, "%v", key)
	case err != nil:
		c.is(Unknown, "%v", err)
	default:
		c.position = position
		c.hold(ctx, source)
	}
	return c
}

// endGrace is for how long a log may end below the totals: a new leader learns the end of its log a moment after it is
// elected.
const endGrace = 10 * time.Second

// hold holds the position against the log.
func (c *condition) hold(ctx context.Context, source feed.Source) {
	next, last := c.position.Next, c.position.Last
	for begun := time.Now(); c.end < next && time.Since(begun) < endGrace && pause(ctx, patiencePause); {
		var err error
		if c.start, c.end, err = source.Bounds(ctx, c.partition); err != nil {
			c.is(Unknown, "%v", err)
			return
		}
	}
	switch {
	case next > c.end:
		c.is(Recreated, "the totals are those at offset %d, and the log ends at %d: the topic was created anew, or its log was cut off. "+
			"Begin a new epoch with `linkpulse totals rebuild --topic NAME`", next, c.end)
		return
	case next < c.start:
		c.is(Lost, "the totals are those at offset %d, and the log begins at %d: %d records between are gone. "+
			"Begin a new epoch with `linkpulse totals rebuild`, from a younger backup if there is one", next, c.start, c.start-next)
		return
	}
	found, _, err := lineage.Find(ctx, source, c.partition, last)
	switch {
	case err != nil:
		c.is(Unknown, "%v", err)
	case found == lineage.Short:
		c.is(Unknown, "%v: it was there a moment ago", feed.ErrBeyondEnd)
	case found == lineage.Other:
		c.is(Recreated, "another record is at offset %d than the one that was counted there: the topic was created anew. "+
			"Begin a new epoch with `linkpulse totals rebuild --topic NAME`", last.Offset)
	}
}

// recordFrom returns a copy of the first record in [from, to), and whether there is one.
func recordFrom(ctx context.Context, source feed.Source, partition int32, from, to int64) (r fold.Record, ok bool, err error) {
	reader := feed.NewReader(source, partition, from)
	defer reader.Close()
	for next := from; next < to; {
		chunk, err := reader.Next(ctx)
		if err != nil {
			return r, false, err
		}
		if len(chunk.Records) > 0 {
			r = chunk.Records[0]
			r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
			return r, r.Offset < to, nil
		}
		next = chunk.Next
	}
	return r, false, nil
}

// clockMargin is for clocks that differ and for segments that are cut whole: what is that much older than the time within
// which duplicates are known makes none, whatever the clocks that stamped the two.
const clockMargin = time.Hour

// canGoOn tells whether counting on from an offset gives what counting from the start would: every record that can make
// a later one a duplicate must be there, or be too old for that. The log of a quiet partition holds less than a window.
//
// What was cut is older than the oldest record that is left, and, where none is left before the offset, than retention. A
// tally goes by retention, and stops where that does not tell.
func (s *session) canGoOn(ctx context.Context, c *condition, next int64) (bool, error) {
	source, params := s.source(s.record.Topic), s.record.Fold()
	if c.start <= max(0, next-params.Window) {
		return true, nil
	}
	oldest, isLeft, err := recordFrom(ctx, source, c.partition, c.start, next)
	if err != nil {
		return false, err
	}
	first, ok, err := recordFrom(ctx, source, c.partition, next, c.end)
	if err != nil {
		return false, err
	}
	now := time.Now()
	at := now
	if ok {
		at = time.UnixMilli(first.TimeMs)
	}
	isTooOld := func(cutBefore time.Time) bool { return at.Sub(cutBefore) >= params.Within+clockMargin }
	retention, err := s.cluster.Retention(ctx, s.record.Topic)
	switch {
	case err != nil:
		return false, err
	case retention > 0 && !isTooOld(now.Add(-retention)):
		return false, nil
	case isLeft:
		return isTooOld(time.UnixMilli(oldest.TimeMs)), nil
	default:
		return retention > 0, nil
	}
}
