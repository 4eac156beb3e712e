package ws

import (
	"context"
	"errors"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// verifyTime bounds the verification of a token that came in a message, beyond what the verifier bounds by itself.
const verifyTime = 5 * time.Second

// verify verifies the token of a message.
func (h *Handler) verify(token string) (*auth.Identity, error) {
	ctx, cancel := context.WithTimeout(h.ctx, verifyTime)
	defer cancel()
	return h.cfg.Auth.Token(ctx, token)
}

// firstNo says what becomes of a connection whose first token is refused.
func firstNo(err error) (parting, wire.ErrorCode, wire.CloseCode) {
	switch {
	case isTemporary(err):
		return partedUnverified, wire.ErrOverloaded, wire.CloseTryAgainLater
	case isRevoked(err):
		return partedRevoked, wire.ErrTokenRevoked, wire.CloseRevoked
	}
	return partedToken, wire.ErrBadToken, wire.CloseUnauthenticated
}

func isRevoked(err error) bool {
	refused, ok := errors.AsType[*auth.RefusedError](err)
	return ok && refused.Reason == auth.ReasonRevoked
}

// isTemporary tells whether a credential may be good, and could not be looked at. So it is with an error that nobody
// thought of.
func isTemporary(err error) bool {
	refused, ok := errors.AsType[*auth.RefusedError](err)
	return !ok || refused.Reason.IsTemporary()
}

// detail is what a client is told of an error.
func detail(err error) string {
	if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
		return refused.Detail
	}
	return "whether the token is good cannot be told now; send it again later"
}

// refresh does what an auth of an authenticated client asks.
func (h *Handler) refresh(c *Conn, token string) error {
	if h.cfg.Auth == nil { // everybody may see everything already, and nobody looks at the token
		c.session.Refresh(c.id)
		return nil
	}
	c.messages.charge(wire.MessageInterval, wire.RefreshCost-1)
	id, err := h.verify(token)
	switch {
	case err == nil && id.Subject != c.id.Subject:
		h.cfg.Metrics.refreshed[refreshBad].Inc()
		c.session.Fail(wire.ErrBadToken, "the new token is of another subject: open another connection for it")
	case err == nil:
		h.cfg.Metrics.refreshed[refreshed].Inc()
		c.id = id
		c.session.Refresh(id)
		if h.revoked(id) { // see join
			return h.closeRevoked(c)
		}
	case isTemporary(err):
		h.cfg.Metrics.refreshed[refreshUnverified].Inc()
		c.session.Fail(wire.ErrOverloaded, detail(err))
	case isRevoked(err):
		h.cfg.Metrics.refreshed[refreshRevoked].Inc()
		return h.closeRevoked(c)
	default:
		h.cfg.Metrics.refreshed[refreshBad].Inc()
		c.session.Fail(wire.ErrBadToken, detail(err))
	}
	return nil
}

// closeRevoked closes the connection of an identity that was revoked.
func (h *Handler) closeRevoked(c *Conn) error {
	c.session.Fail(wire.ErrTokenRevoked, "the token was revoked")
	return h.violate(c, wire.CloseRevoked)
}
