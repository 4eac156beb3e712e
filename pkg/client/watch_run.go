package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// Waits before a connection, as PROTOCOL.md section 8 states them.
const (
	watchBackoff    = 500 * time.Millisecond
	watchBackoffMax = 20 * time.Second
	// backOffLeast and backOffMost bound the first wait after a close of the class "back off".
	backOffLeast = time.Second
	backOffMost  = 5 * time.Second
	// settled is how long a connection must last for the next one to start without a debt.
	settled = 5 * time.Second
	// maxHint bounds what a goodbye can ask for, so that a wrong one does not silence a client for a day.
	maxHint = time.Minute
)

// ending is how a connection ended, or that it could not be made.
type ending struct {
	err   error
	class wire.CloseClass
	// hint is how long the gateway asks to wait, negative if it does not.
	hint  time.Duration
	lived time.Duration // since `ready`, 0: there was none
	// refused tells that it ended because of its token, which is the one given; revoked, that this was done on purpose.
	refused, revoked bool
	token            string
}

// run keeps a connection for as long as ctx lasts.
func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	if !w.awaitLinks(ctx) {
		w.setState(func(s *State) { s.Phase = PhaseClosed })
		return
	}
	at, attempts := rand.IntN(len(w.urls)), 0 //nolint:gosec // spreads load, guards nothing
	for {
		w.setState(func(s *State) {
			s.URL, s.RetryAt = w.urls[at], time.Time{}
			if s.Phase == PhaseIdle {
				s.Phase = PhaseConnecting
			}
		})
		end := w.connect(ctx, w.urls[at])
		if ctx.Err() != nil {
			w.setState(func(s *State) { *s = State{Phase: PhaseClosed, Since: s.Since} })
			return
		}
		if end.refused {
			end = w.replace(ctx, end)
		}
		if end.class == wire.CloseStop {
			w.setState(func(s *State) {
				s.Phase, s.Err, s.Reason = PhaseClosed, end.err, end.err.Error()
				s.ExpiresAt, s.TokenProblem = time.Time{}, ""
			})
			return
		}
		if end.lived >= settled {
			attempts = 0
		}
		wait := w.waitAfter(end, attempts)
		attempts++
		at = (at + 1) % len(w.urls)
		w.setState(func(s *State) {
			s.Phase, s.Err, s.Reason = PhaseReconnecting, end.err, end.err.Error()
			s.Attempt, s.RetryAt = attempts, time.Now().Add(wait)
			s.Gateway, s.Connection = "", ""
			s.ExpiresAt, s.TokenProblem = time.Time{}, ""
		})
		pause(ctx, wait)
	}
}

// awaitLinks waits until there is a link to watch. False: the Watcher was closed.
func (w *Watcher) awaitLinks(ctx context.Context) bool {
	for {
		w.mu.Lock()
		some := w.ledger.wanted > 0
		w.mu.Unlock()
		if some {
			return true
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return false
		}
	}
}

// waitAfter returns how long to wait for the next connection.
func (w *Watcher) waitAfter(end ending, attempts int) time.Duration {
	var wait time.Duration
	switch {
	case end.hint >= 0:
		wait = end.hint
	case end.class == wire.CloseBackOff:
		wait = backOffLeast + rand.N(backOffMost-backOffLeast) //nolint:gosec // spreads load, guards nothing
	default:
		wait = jitter(watchBackoff, watchBackoffMax, 0)
	}
	if attempts > 0 {
		wait = max(wait, jitter(watchBackoff, watchBackoffMax, attempts))
	}
	return wait
}

// setState changes the state and tells it, if it has changed. It is called by the run goroutine only.
func (w *Watcher) setState(change func(*State)) {
	w.mu.Lock()
	before := w.state
	change(&w.state)
	if w.state.Phase != before.Phase {
		w.state.Since = time.Now()
	}
	after := w.state
	w.mu.Unlock()
	if w.opts.OnState != nil && !sameState(before, after) {
		w.opts.OnState(after)
	}
}

// sameState compares without comparing errors, whose types need not be comparable; one that matters has a Reason.
func sameState(a, b State) bool {
	a.Err, b.Err = nil, nil
	return a == b
}

// connect makes one connection and serves it until it ends.
func (w *Watcher) connect(ctx context.Context, target string) ending {
	token, end := w.takeToken(ctx)
	if end.err != nil {
		return end
	}
	dial := &websocket.DialOptions{HTTPClient: w.opts.HTTPClient}
	if token != "" {
		dial.HTTPHeader = http.Header{"Authorization": {"Bearer " + token}}
	}
	dialCtx, cancel := context.WithTimeout(ctx, w.opts.ConnectTimeout)
	defer cancel()
	//nolint:bodyclose // the WebSocket library owns the body
	ws, resp, err := websocket.Dial(dialCtx, target, dial)
	if err != nil {
		end = w.refused(resp, fmt.Errorf("connecting to %s: %w", target, err))
		end.token = token
		return end
	}
	ws.SetReadLimit(wire.MaxServerMessage)
	end = newConn(w, ws, token).serve(ctx)
	w.mu.Lock()
	w.changed(w.ledger.lost()...)
	w.mu.Unlock()
	return end
}

// refused tells what follows from a handshake that failed.
func (w *Watcher) refused(resp *http.Response, err error) ending {
	end := ending{err: err, class: wire.CloseReconnect, hint: -1}
	if resp == nil {
		return end
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		stopped := &StoppedError{Status: resp.StatusCode, Reason: detail(resp)}
		return ending{err: stopped, class: wire.CloseStop, hint: -1, refused: resp.StatusCode == http.StatusUnauthorized}
	}
	// Everything else passes: a 404 is an ingress whose backend is not there yet. Another gateway may accept at once, so
	// only a single address makes Retry-After worth waiting for, with jitter on top: everybody was told the same.
	end.class = wire.CloseBackOff
	if after := retryAfter(resp.Header.Get("Retry-After")); after > 0 && len(w.urls) == 1 {
		end.hint = after + jitter(watchBackoff, watchBackoffMax, 0)
	} else if resp.StatusCode == http.StatusServiceUnavailable && len(w.urls) > 1 {
		end.class = wire.CloseReconnect
	}
	return end
}

// detail is what the answer to a handshake says in words, empty where it is no problem document (RFC 9457).
func detail(resp *http.Response) string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if resp.Body == nil || json.NewDecoder(resp.Body).Decode(&problem) != nil {
		return ""
	}
	return problem.Detail
}

// endingOf reads the error that a connection ended with. said is the `error` before the close, if one came: it says in
// words what the code means.
func endingOf(err error, said wire.Error) ending {
	end := ending{err: err, class: wire.CloseAbnormal.Class(), hint: -1}
	ce := websocket.CloseError{}
	if !errors.As(err, &ce) {
		return end
	}
	code := wire.CloseCode(ce.Code) //nolint:gosec // a close code has two bytes
	end.class = code.Class()
	end.revoked = code == wire.CloseRevoked
	end.refused = end.revoked || code == wire.CloseUnauthenticated
	switch {
	case end.class == wire.CloseStop && said.Message != "":
		end.err = &StoppedError{Code: code, Reason: said.Message}
	case end.class == wire.CloseStop:
		end.err = &StoppedError{Code: code, Reason: ce.Reason}
	case said.Message != "":
		end.err = fmt.Errorf("the gateway closed the connection: %d %s: %s", code, code, said.Message)
	default:
		end.err = fmt.Errorf("the gateway closed the connection: %d %s", code, code)
	}
	return end
}
