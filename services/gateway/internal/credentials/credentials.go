// Package credentials tells who somebody is by what they show: a token, which a verifier looks at, or a ticket, which Redis
// knows. Whatever is revoked is refused, here and in one place.
//
// Tokens that were verified are remembered for a while. A client that polls shows the same one again and again, and so does
// every client that comes back after a deploy; a signature costs a hundred times what a hash does. Only good tokens are
// remembered, so nobody without one can push others out, and not for long: a key that is taken away takes its tokens with
// it within a minute. Expiry and revocation are asked about each time.
package credentials

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/tickets"
)

// Verifier verifies tokens. Its errors are *auth.RefusedError. It is safe for concurrent use.
type Verifier interface {
	Verify(ctx context.Context, token string) (*auth.Identity, error)
}

// Tickets issues and redeems tickets. Its errors are *auth.RefusedError. It is safe for concurrent use.
type Tickets interface {
	Issue(ctx context.Context, id *auth.Identity, origin string) (ticket string, good time.Duration, err error)
	Redeem(ctx context.Context, ticket, origin string) (*auth.Identity, error)
}

// Config of a [Checker].
type Config struct {
	Verifier Verifier
	// Revoked tells whether an identity was revoked. It is safe for concurrent use.
	Revoked func(*auth.Identity) bool
	// Ready tells why that is not known yet, and until it is, whatever is shown is refused for now: a gateway that begins may
	// be asked before it has read what is revoked. It is safe for concurrent use.
	Ready func() error
	// Tickets are nil where there is no Redis.
	Tickets Tickets
	// Registry takes the metrics.
	Registry prometheus.Registerer
}

// Checker checks credentials. It is safe for concurrent use.
type Checker struct {
	cfg     Config
	known   memory
	metrics *metrics
}

// New returns a checker. It registers its metrics.
func New(cfg Config) (*Checker, error) {
	m, err := newMetrics(cfg.Registry)
	if err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	return &Checker{cfg: cfg, metrics: m}, nil
}

// Token returns whose a token is.
func (c *Checker) Token(ctx context.Context, token string) (*auth.Identity, error) {
	id, err := c.token(ctx, token)
	c.metrics.count(kindToken, err)
	return id, err
}

func (c *Checker) token(ctx context.Context, token string) (*auth.Identity, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if len(token) > auth.MaxToken {
		return nil, &auth.RefusedError{Reason: auth.ReasonMalformed, Detail: fmt.Sprintf("the token is longer than %d bytes", auth.MaxToken)}
	}
	key := keyOf(token)
	id := c.known.recall(key, time.Now())
	if id == nil {
		var err error
		if id, err = c.cfg.Verifier.Verify(ctx, token); err != nil {
			return nil, err
		}
		c.known.remember(key, id, time.Now())
	} else {
		c.metrics.recalled.Inc()
	}
	return c.unrevoked(id)
}

// Ticket returns whose a ticket is, which is no good to anybody from then on. origin is the Origin header that came with
// it, empty where there was none.
func (c *Checker) Ticket(ctx context.Context, ticket, origin string) (*auth.Identity, error) {
	id, err := c.ticket(ctx, ticket, origin)
	c.metrics.count(kindTicket, err)
	return id, err
}

func (c *Checker) ticket(ctx context.Context, ticket, origin string) (*auth.Identity, error) {
	if c.cfg.Tickets == nil {
		return nil, &auth.RefusedError{Reason: auth.ReasonTicket, Detail: "this gateway has no tickets, because it runs without Redis: show a token"}
	}
	if err := c.ready(); err != nil { // and the ticket stays good
		return nil, err
	}
	id, err := c.cfg.Tickets.Redeem(ctx, ticket, origin)
	if err != nil {
		return nil, err
	}
	return c.unrevoked(id)
}

// Issue returns a ticket for somebody, and how long it is good. The error is tickets.ErrNone or an *auth.RefusedError.
func (c *Checker) Issue(ctx context.Context, id *auth.Identity, origin string) (ticket string, good time.Duration, err error) {
	if c.cfg.Tickets == nil {
		return "", 0, tickets.ErrNone
	}
	return c.cfg.Tickets.Issue(ctx, id, origin)
}

// Revoked tells whether an identity was revoked. It does not allocate.
func (c *Checker) Revoked(id *auth.Identity) bool { return c.cfg.Revoked(id) }

func (c *Checker) ready() error {
	if c.cfg.Ready() != nil { // which readiness says, to those whom it concerns
		return &auth.RefusedError{Reason: auth.ReasonKeysAway, Detail: "which tokens are revoked is not known yet: try again later"}
	}
	return nil
}

func (c *Checker) unrevoked(id *auth.Identity) (*auth.Identity, error) {
	if c.cfg.Revoked(id) {
		return nil, &auth.RefusedError{Reason: auth.ReasonRevoked, Detail: "the token was revoked"}
	}
	return id, nil
}
