package totals

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/redis/rueidis"
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

// AwayError says that Redis did not do what it was asked and may do it later. Whether it did it nobody knows, where the
// reason is [Unreachable] or [TimedOut]; otherwise it did not.
type AwayError struct {
	Reason Reason
	Err    error
}

// Error says what is wrong, and where there is something to be done about it, what.
func (e *AwayError) Error() string {
	if do := e.Reason.advice(); do != "" {
		return fmt.Sprintf("redis: %v: %s", e.Err, do)
	}
	return fmt.Sprintf("redis: %v", e.Err)
}

// Unwrap returns what the client or Redis said.
func (e *AwayError) Unwrap() error { return e.Err }

// Reason is why Redis did not do what it was asked. It is a label of metrics.
type Reason string

// Reasons, and the answers of Redis that they stand for.
const (
	// Unreachable: there is no connection, or it broke.
	Unreachable Reason = "unreachable"
	// TimedOut: it did not answer in time.
	TimedOut Reason = "timeout"
	// Canceled: the caller gave up.
	Canceled Reason = "canceled"
	// Loading: it reads its file. LOADING.
	Loading Reason = "loading"
	// Busy: a script of somebody else runs for too long. BUSY.
	Busy Reason = "busy"
	// ReadOnly: it is a replica. READONLY, MASTERDOWN. The next call connects anew, since the master may be elsewhere by now.
	ReadOnly Reason = "readonly"
	// Full: it takes no writes for want of memory, disk or replicas. OOM, MISCONF, NOREPLICAS.
	Full Reason = "full"
	// Denied: it does not know the user, or the user may not. NOAUTH, WRONGPASS, NOPERM.
	Denied Reason = "denied"
	// Misplaced: it has other slots, or the cluster is down. MOVED, ASK, TRYAGAIN, CROSSSLOT, CLUSTERDOWN.
	Misplaced Reason = "misplaced"
	// Failed: anything else.
	Failed Reason = "failed"
)

func (r Reason) advice() string {
	switch r {
	case ReadOnly:
		return "name the master, or the Sentinels that know it"
	case Full:
		return "it needs memory, disk or replicas, and maxmemory-policy noeviction"
	case Denied:
		return "see the user name, the password and the user's rights in REDIS.md"
	case Misplaced:
		return "for a cluster there is --redis-cluster"
	default:
		return ""
	}
}

// reasons by the first word of what Redis answers.
func reasonOf(word string) Reason {
	switch word {
	case "LOADING":
		return Loading
	case "BUSY":
		return Busy
	case "READONLY", "MASTERDOWN":
		return ReadOnly
	case "OOM", "MISCONF", "NOREPLICAS":
		return Full
	case "NOAUTH", "WRONGPASS", "NOPERM":
		return Denied
	case "MOVED", "ASK", "TRYAGAIN", "CROSSSLOT", "CLUSTERDOWN":
		return Misplaced
	default:
		return Failed
	}
}

// awayError wraps what the client returned.
func awayError(err error) *AwayError {
	if away, ok := errors.AsType[*AwayError](err); ok {
		return away
	}
	return &AwayError{Reason: reason(err), Err: err}
}

func reason(err error) Reason {
	if answer, ok := errors.AsType[*rueidis.RedisError](err); ok {
		return answerReason(answer.Error())
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return TimedOut
	case errors.Is(err, context.Canceled):
		return Canceled
	default:
		return Unreachable
	}
}

// answerReason tells by the first word. Before version 7 an error inside a script is told behind the script's name and
// line: "ERR Error running script (call to f_…): @user_script:40: @user_script: 40: -OOM command not allowed".
func answerReason(answer string) Reason {
	if strings.Contains(answer, "Error running script") {
		answer = strings.TrimPrefix(answer[strings.LastIndex(answer, ": ")+2:], "-")
	}
	word, _, _ := strings.Cut(answer, " ")
	return reasonOf(word)
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
