package gateway

import (
	"context"
	"errors"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/lifecycle"
	"github.com/linkpulse/linkpulse/pkg/redisconn"
	"github.com/linkpulse/linkpulse/pkg/revocation"
	"github.com/linkpulse/linkpulse/pkg/tickets"
	"github.com/linkpulse/linkpulse/services/gateway/internal/credentials"
)

// identification is what tells who clients are. There is none where authentication is off.
type identification struct {
	verifier *auth.Verifier
	revoked  *revocation.List
	tickets  *tickets.Store // nil where there is no Redis
	checker  *credentials.Checker
}

// newIdentification builds it, at rest.
func (s *Service) newIdentification(deps Deps) (_ *identification, err error) {
	i := &identification{}
	defer func() {
		if err != nil {
			i.close()
		}
	}()
	i.verifier, err = auth.New(s.cfg.Access.Tokens, auth.WithLogger(s.log), auth.WithMetrics(s.registry))
	if err != nil {
		return nil, err
	}
	i.revoked, err = revocation.NewList(revocation.WithLogger(s.log), revocation.WithMetrics(s.registry))
	if err != nil {
		return nil, err
	}
	cfg := credentials.Config{Verifier: i.verifier, Revoked: i.revoked.Revoked, Ready: i.revoked.Ready, Registry: s.registry}
	if s.cfg.Totals != totalsReplay {
		opts := []redisconn.Option{redisconn.WithLogger(s.log)}
		if deps.Dial != nil {
			opts = append(opts, redisconn.WithDialer(deps.Dial))
		}
		if i.tickets, err = tickets.Open(s.cfg.Redis, s.registry, opts...); err != nil {
			return nil, err
		}
		cfg.Tickets = i.tickets
	}
	i.checker, err = credentials.New(cfg)
	return i, err
}

func (i *identification) close() {
	if i.tickets != nil {
		i.tickets.Close()
	}
}

// ready tells why it cannot tell who somebody is: nobody is let in until it can, and until it knows who is not any more.
func (i *identification) ready() error { return errors.Join(i.verifier.Ready(), i.revoked.Ready()) }

// identificationTasks keep it fresh.
func (s *Service) identificationTasks() []lifecycle.Task {
	return []lifecycle.Task{
		{Name: "keys", Run: s.identify.verifier.Run},
		{Name: "revocations", Run: func(ctx context.Context) error {
			if err := revocation.Follow(ctx, s.cluster, s.identify.revoked, s.revoke); ctx.Err() == nil {
				return err
			}
			return nil // it was told to end
		}},
	}
}

// revoke ends the connections of those whose tokens are good no more. The list has them already, so nobody else comes in.
func (s *Service) revoke(match func(*auth.Identity) bool) {
	if g := s.current.Load(); g != nil {
		g.hub.Revoke(match)
	}
}
