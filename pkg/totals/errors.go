package totals

import (
	"errors"
	"fmt"

	"github.com/linkpulse/linkpulse/pkg/redisconn"
)

var (
	// ErrMissing says that nothing was stored for the partition yet, or that it is gone. It is never to be taken for 0: who
	// wrote before may have known more.
	ErrMissing = errors.New("redis has no totals of the partition")
	// ErrExists says that there are totals where none were expected.
	ErrExists = errors.New("redis has totals of the partition already")
	// ErrInvalid says that what was to be stored cannot be: a number below 0 or above 2^53.
	ErrInvalid = errors.New("there is a number below 0 or above 2^53")
	// ErrTooMany says that a history is longer than any that is stored.
	ErrTooMany = errors.New("more minutes than are stored")
	// ErrClosed reports a call after Close.
	ErrClosed = redisconn.ErrClosed
)

// RefusedError says that a batch began somewhere else than the stored totals end. Nothing was changed.
type RefusedError struct {
	// Have is the stored offset, None where there is none.
	Have int64
}

// Error names the offset.
func (e *RefusedError) Error() string {
	if e.Have == None {
		return "the batch was refused: there are no totals of the partition"
	}
	return fmt.Sprintf("the batch was refused: the totals are those at offset %d", e.Have)
}

// RuleError says that the stored totals were counted by another rule. Nothing was changed: counts of two rules do not mix.
type RuleError struct{ Have, Want string }

// Error names both.
func (e *RuleError) Error() string {
	return fmt.Sprintf("the totals were counted by the rule %q (window/within_ms/fold version), this program counts by %q: "+
		"begin a new epoch with `linkpulse totals rebuild`", e.Have, e.Want)
}

// KeyError says that a key holds something that this package has not written. Nothing was changed.
type KeyError struct{ Key, Problem string }

// Error names the key.
func (e *KeyError) Error() string {
	return fmt.Sprintf("redis key %s: %s: something else writes to it; remove it or use another --redis-prefix", e.Key, e.Problem)
}

// isVerdict tells whether an error says something about the totals, and not about Redis.
func isVerdict(err error) bool {
	var (
		key     *KeyError
		rule    *RuleError
		refused *RefusedError
	)
	return err == nil || errors.Is(err, ErrMissing) || errors.Is(err, ErrExists) || errors.Is(err, ErrLocked) ||
		errors.Is(err, ErrInvalid) || errors.Is(err, ErrTooMany) ||
		errors.As(err, &key) || errors.As(err, &rule) || errors.As(err, &refused)
}

// IsAway tells whether an error is of a Redis that could not be reached, did not answer in time, or could not do what it
// was asked, which passes by itself or by what an operator does about Redis.
func IsAway(err error) bool { return !isVerdict(err) && !errors.Is(err, ErrClosed) }
