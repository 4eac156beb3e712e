package redisconn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/redis/rueidis"
)

// ErrClosed reports a call after Close.
var ErrClosed = errors.New("the store was closed")

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

// Reasons returns all reasons, to register metrics with.
func Reasons() []Reason {
	return []Reason{Unreachable, TimedOut, Canceled, Loading, Busy, ReadOnly, Full, Denied, Misplaced, Failed}
}

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
