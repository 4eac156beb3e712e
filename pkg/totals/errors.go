package totals

import (
	"errors"
	"fmt"
)

var (
	// ErrMissing says that nothing was stored for the partition yet, or that it is gone. It is never to be taken for 0: who
	// wrote before may have known more.
	ErrMissing = errors.New("redis has no totals of the partition")
	// ErrExists says that there are totals where none were expected.
	ErrExists = errors.New("redis has totals of the partition already")
	// ErrClosed reports a call after Close.
	ErrClosed = errors.New("the store was closed")
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
