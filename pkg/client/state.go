package client

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// Phase is where a [Watcher] stands.
type Phase uint8

const (
	// PhaseIdle means that no link was ever asked for, so there is no connection.
	PhaseIdle Phase = iota
	// PhaseConnecting means that the first connection is being made.
	PhaseConnecting
	// PhaseLive means that it is connected, and what is shown is as new as the gateway's promise says.
	PhaseLive
	// PhaseStale means that it is connected, but the gateway is silent or says that its counts are behind.
	PhaseStale
	// PhaseReconnecting means that a connection was lost or could not be made; counts are shown as they were.
	PhaseReconnecting
	// PhaseClosed means that the Watcher has ended; see Err.
	PhaseClosed
)

// String returns the phase in one word.
func (p Phase) String() string {
	switch p {
	case PhaseConnecting:
		return "connecting"
	case PhaseLive:
		return "live"
	case PhaseStale:
		return "stale"
	case PhaseReconnecting:
		return "reconnecting"
	case PhaseClosed:
		return "closed"
	default:
		return "idle"
	}
}

// State is what a [Watcher] knows about its connection.
type State struct {
	Phase Phase
	Since time.Time // when the phase began
	// Reason says why it is not live, for people; empty while it is.
	Reason string
	// Err is what ended the last connection, or the Watcher; nil while connected.
	Err error
	// URL is the gateway that is used or was tried last.
	URL string
	// Gateway, Connection and Epoch are what the gateway said of itself in `ready`.
	Gateway, Connection string
	Epoch               int64
	// Attempt counts connections in a row that failed or did not last.
	Attempt int
	// RetryAt is when the next connection is tried, while reconnecting.
	RetryAt time.Time
	// CompleteTo is the time up to which the gateway has every click in its counts, zero if it does not know; Lag is how
	// far that was behind its clock. Both are of the latest heartbeat, which came at Heartbeat.
	CompleteTo time.Time
	Lag        time.Duration
	Heartbeat  time.Time
	// ExpiresAt is when the gateway will no longer take the token of the connection, by its clock; zero: never, as far as
	// is known. TokenProblem says why there is no other token yet, though it was time to have one; empty: nothing is wrong.
	ExpiresAt    time.Time
	TokenProblem string
}

// StoppedError says that a gateway refuses this client for good: connecting again would end the same way.
type StoppedError struct {
	// Code is the close code, 0 where the handshake was refused.
	Code wire.CloseCode
	// Status is the HTTP status of a refused handshake.
	Status int
	// Reason is what the gateway said.
	Reason string
}

// Error says what refused.
func (e *StoppedError) Error() string {
	parts := []string{"the gateway refuses this client"}
	switch {
	case e.Code != 0:
		parts = append(parts, fmt.Sprintf("close %d %s", e.Code, e.Code))
	case e.Status != 0:
		parts = append(parts, fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
	}
	if e.Reason != "" {
		parts = append(parts, e.Reason)
	}
	return strings.Join(parts, ": ")
}
