package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

const (
	// renewFrom and renewTo are between which parts of its life a token is replaced. The last tenth is left for a source
	// that is away or a gateway that is busy; the lot spreads clients that were given their tokens together.
	renewFrom, renewTo = 0.75, 0.9
	// renewLeast is the least time between two questions for a token that go well: a wrong clock must not become a loop.
	renewLeast = 5 * time.Second
	// renewPause and renewPauseMost bound the wait after one that did not.
	renewPause, renewPauseMost = time.Second, 30 * time.Second
)

// noTokens is the reason of a refusal where there is no source; what a gateway says is for whoever sends messages.
const noTokens = "it asks for a token, and this client has none"

// errSameToken says that a source has nothing new.
var errSameToken = errors.New("there is no other token yet")

// pass is what a Watcher knows of its tokens between connections. It belongs to the run goroutine.
type pass struct {
	next     string // the token of the next connection; empty: it is to be asked for
	spent    string // the last one that a gateway refused
	why      error  // what the gateway said to it
	accepted bool   // a gateway has taken one
}

// ask asks the source for a token.
func (w *Watcher) ask(ctx context.Context, spent string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.opts.ConnectTimeout)
	defer cancel()
	token, err := w.opts.Tokens.Token(ctx, spent)
	if err == nil {
		err = CheckToken(token)
	}
	if err != nil {
		return "", fmt.Errorf("getting a token: %w", err)
	}
	return token, nil
}

// takeToken returns the token of the next connection, empty where the Watcher has no source. Where end has an error
// there is none, and nothing to connect for.
func (w *Watcher) takeToken(ctx context.Context) (token string, end ending) {
	if w.opts.Tokens == nil {
		return "", ending{}
	}
	if token = w.pass.next; token != "" {
		w.pass.next = ""
		return token, ending{}
	}
	token, err := w.ask(ctx, w.pass.spent)
	switch {
	case errors.Is(err, ErrNoToken):
		return "", ending{err: &StoppedError{Reason: err.Error()}, class: wire.CloseStop}
	case err != nil:
		return "", ending{err: err, class: wire.CloseBackOff, hint: -1}
	case token == w.pass.spent:
		return "", ending{err: w.pass.why, class: wire.CloseBackOff, hint: -1}
	}
	return token, ending{}
}

// replace asks for another token after a gateway has refused one, and says how to go on. A token that was never accepted
// is a mistake of whoever set the program up, so without another one it is over. One that was accepted and has expired is
// waited for: whatever renews it is late. One that was revoked was so on purpose.
func (w *Watcher) replace(ctx context.Context, end ending) ending {
	if w.opts.Tokens == nil {
		if stopped, ok := errors.AsType[*StoppedError](end.err); ok && !end.revoked {
			stopped.Reason = noTokens
		}
		return end
	}
	w.pass.spent = end.token
	token, err := w.ask(ctx, end.token)
	switch {
	case errors.Is(err, ErrNoToken):
		return end
	case err == nil && token != end.token:
		w.pass.next = token
		end.class = wire.CloseReconnect
		return end
	case err == nil && (!w.pass.accepted || end.revoked):
		return end
	case err == nil:
		err = errSameToken
	}
	w.pass.why = fmt.Errorf("%w; %w", end.err, err)
	end.err, end.class = w.pass.why, wire.CloseBackOff
	return end
}

// renewal keeps the token of one connection good: before it expires, the source is asked for another, and that is sent.
// It belongs to the goroutine that handles the connection; the source, which may take its time, is asked beside it.
type renewal struct {
	token    string    // the connection's, empty: it has none
	begun    time.Time // when the gateway took it
	expires  time.Time // by the gateway's clock; zero: never
	share    float64   // of its life from begun, after which it is replaced
	at       time.Time // when to do something next; zero: nothing is to be done
	offered  string    // was sent and is not answered yet
	refused  string    // the last one that the gateway did not take
	failures int       // in a row
	problem  string    // why there is no other token so far, empty: nothing went wrong
	answers  chan answer
}

// answer is what a source says.
type answer struct {
	token string
	err   error
}

// accepted notes that the gateway has taken the token that it was sent last, and until when.
func (r *renewal) accepted(expiresAt int64, ahead time.Duration) {
	if r.offered != "" {
		r.token, r.offered = r.offered, ""
	}
	r.begun, r.expires, r.at, r.failures, r.problem = time.Now(), time.Time{}, time.Time{}, 0, ""
	if expiresAt == 0 || r.token == "" {
		return
	}
	r.expires = time.UnixMilli(expiresAt)
	r.share = renewFrom + rand.Float64()*(renewTo-renewFrom) //nolint:gosec // spreads load, guards nothing
	r.plan(ahead)
}

// latest returns the token that the gateway judged last.
func (r *renewal) latest() string {
	if r.offered != "" {
		return r.offered
	}
	return r.token
}

// plan says when to replace the token, the gateway's clock being that much ahead of this machine's.
func (r *renewal) plan(ahead time.Duration) {
	left := r.expires.Add(-ahead).Sub(r.begun)
	r.at = r.begun.Add(max(renewLeast, time.Duration(r.share*float64(left))))
}

// clock corrects the plan when it has become known how far the gateway's clock is ahead.
func (r *renewal) clock(ahead time.Duration) {
	if !r.at.IsZero() && r.failures == 0 && r.offered == "" {
		r.plan(ahead)
	}
}

// failed plans another attempt. The token stays good for as long as it is.
func (r *renewal) failed(why string) {
	r.problem = why
	r.at = time.Now().Add(renewPause + jitter(renewPause, renewPauseMost, r.failures))
	r.failures++
}

// answered notes that the gateway did not take a token that was offered. False: none was.
func (r *renewal) answered(m wire.Error) bool {
	if r.offered == "" || m.Code != wire.ErrBadToken && m.Code != wire.ErrOverloaded {
		return false
	}
	if m.Code == wire.ErrBadToken {
		r.refused = r.offered
	}
	r.offered = ""
	r.failed("the gateway did not take another token: " + m.Message)
	return true
}

// renew does what is to be done about the token now: asks the source beside, or notes that the gateway has not answered.
func (c *conn) renew(ctx context.Context) {
	r := &c.renewal
	if r.at.IsZero() || time.Now().Before(r.at) {
		return
	}
	if r.offered != "" {
		r.offered = ""
		r.failed("the gateway does not answer to another token")
		return
	}
	r.at = time.Time{}
	spent := r.token
	if r.refused != "" {
		spent = r.refused
	}
	c.beside.Go(func() {
		token, err := c.w.ask(ctx, spent)
		r.answers <- answer{token, err} // one question at a time: there is room
	})
}

// offer sends what the source has given, if it is something new.
func (c *conn) offer(a answer) {
	r := &c.renewal
	switch {
	case errors.Is(a.err, ErrNoToken):
		r.problem = a.err.Error() // and it is not asked again
	case a.err != nil:
		r.failed(a.err.Error())
	case a.token == r.token || a.token == r.refused:
		r.failed(errSameToken.Error())
	default:
		select {
		case c.tokens <- a.token:
			c.w.nudge()
			r.offered, r.at = a.token, time.Now().Add(c.w.opts.ConnectTimeout)
		default: // the one before could not be sent yet
			r.failed("the gateway takes no message")
		}
	}
}
