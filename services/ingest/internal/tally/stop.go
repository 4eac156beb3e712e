package tally

import (
	"errors"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Reason says why a partition's worker has stopped. It is the label of a metric.
type Reason string

// The reasons.
const (
	// Missing: there are no totals, and the log does not start at 0 any more.
	Missing Reason = "missing"
	// Lost: the log begins behind the totals, and what lay between is gone; or what lay before them is, which decides about
	// duplicates.
	Lost Reason = "lost"
	// Recreated: the totals are of another log than this one.
	Recreated Reason = "recreated"
	// OtherRule: the totals were counted by another rule than the deployment's.
	OtherRule Reason = "rule"
	// ForeignKey: a key of the totals holds something else.
	ForeignKey Reason = "key"
)

// reasons are all of them.
func reasons() []Reason { return []Reason{Missing, Lost, Recreated, OtherRule, ForeignKey} }

// StopError says that a worker stops, and how to mend it.
type StopError struct {
	Reason Reason
	// Problem is what was found, Remedy what an operator can do.
	Problem, Remedy string
}

// Error tells both.
func (e *StopError) Error() string {
	return fmt.Sprintf("the tally of this partition stops (%s): %s. %s", e.Reason, e.Problem, e.Remedy)
}

func stopMissing(start int64) error {
	return &StopError{
		Missing, fmt.Sprintf("redis has no totals, and the log begins at %d, so they cannot be counted again from its start", start),
		"Put a backup back with `linkpulse totals import`; without one, `linkpulse totals rebuild --accept-loss` counts what is left",
	}
}

func stopLost(next, start int64) error {
	return &StopError{
		Lost, fmt.Sprintf("the totals are those at offset %d, and the log begins at %d: the clicks between are gone", next, start),
		"Begin a new epoch with `linkpulse totals rebuild`, from a younger backup if there is one",
	}
}

func stopTooFarBehind(offset int64, at time.Time, start int64) error {
	return &StopError{
		Lost, fmt.Sprintf("the record at %d is of %s, and the clicks before %d, of which it may be a duplicate, were cut from the log",
			offset, at.UTC().Format(time.RFC3339), start),
		"Begin a new epoch with `linkpulse totals rebuild`, and keep clicks for longer than a tally can be away",
	}
}

func stopBeyondEnd(next, end int64) error {
	return &StopError{
		Recreated, fmt.Sprintf("the totals are those at offset %d, and the log ends at %d: the topic was created anew, or its log was cut off", next, end),
		"Begin a new epoch with `linkpulse totals rebuild --topic NAME`",
	}
}

func stopOtherRecord(f totals.Fingerprint) error {
	return &StopError{
		Recreated, fmt.Sprintf("another record is at offset %d than the one that was counted there: the topic was created anew", f.Offset),
		"Begin a new epoch with `linkpulse totals rebuild --topic NAME`",
	}
}

func stopOtherLog() error {
	return &StopError{
		Recreated, "the topic has another id than when its records were counted: it was created anew",
		"Begin a new epoch with `linkpulse totals rebuild --topic NAME`",
	}
}

// stopFor makes a StopError of what the store says, where that stops a worker; otherwise it returns err.
func stopFor(err error) error {
	var rule *totals.RuleError
	var key *totals.KeyError
	switch {
	case errors.As(err, &rule):
		return &StopError{OtherRule, rule.Error(), "Nothing was changed"}
	case errors.As(err, &key):
		return &StopError{ForeignKey, key.Error(), "Nothing was changed"}
	}
	return err
}

const (
	// lookAgain is how soon a stopped worker looks whether it was mended.
	lookAgain = 10 * time.Second
	// endGrace is for how long a log may end below the totals: a new leader learns the end of its log a moment after it is
	// elected.
	endGrace = 10 * time.Second
)
