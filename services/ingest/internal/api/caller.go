package api

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
)

// Keys tells whose a request is. It is called by many goroutines at once.
type Keys interface {
	// Find returns the key that a request is sent with, by its headers, and in p what proves that; where the proof is a
	// signature, only the body can tell. It never returns a nil key without an error, which is a *apikey.RefusedError.
	Find(header http.Header, p *apikey.Presented, now time.Time) (*keyring.Key, error)
}

// caller is who sent a request. There is always a key, of anybody where authentication is off: a check that is forgotten
// finds none and ends in a panic instead of letting everybody in.
type caller struct {
	key       *keyring.Key
	presented apikey.Presented
}

// identify finds out who sent a request, before its body is read. A key that has sent all that it may now is told so before
// its body is read, too.
func (h *Handler) identify(w http.ResponseWriter, r *http.Request, c *caller, now time.Time) *refusal {
	var err error
	if c.key, err = h.keys.Find(r.Header, &c.presented, now); err != nil {
		// The server reads what is left of a body to keep the connection, and a stranger could make it wait for that.
		if r.ContentLength < 0 || r.ContentLength > freeBody {
			w.Header().Set("Connection", "close")
		}
		return h.stranger(err)
	}
	if wait := c.key.Wait(1, now); wait > 0 {
		return c.limited(wait, 0)
	}
	return nil
}

// stranger is the refusal of credentials.
func (h *Handler) stranger(err error) *refusal {
	why := apikey.ReasonKey // an error that nobody thought of lets nobody in
	if refused, ok := errors.AsType[*apikey.RefusedError](err); ok {
		why = refused.Reason
	}
	h.metrics.credentials[why].Inc()
	if why == apikey.ReasonMissing {
		return &refusal{reason: reasonUnauthenticated, index: -1, detail: err.Error()}
	}
	return &refusal{reason: reasonBadKey, index: -1, rule: rule(why), detail: err.Error()}
}

// verify looks at the signature of a body, where there is one.
func (h *Handler) verify(c *caller, body []byte) *refusal {
	if err := c.key.Verify(&c.presented, body); err != nil {
		c.key.CountRefused()
		return h.stranger(err)
	}
	return nil
}

// admit decides whether the caller may send these clicks, and now. Those that are admitted count as sent, whatever becomes
// of them.
func (c *caller) admit(clicks []input, now time.Time) *refusal {
	for i := range clicks {
		if !c.key.Allows(clicks[i].link) {
			c.key.CountRefused()
			return &refusal{
				reason: reasonForbidden, index: i, clicks: len(clicks), detail: "the key does not cover the link of this click",
			}
		}
	}
	if most := c.key.Most(); most > 0 && len(clicks) > most {
		c.key.CountRefused()
		return &refusal{
			reason: reasonTooMany, index: -1, clicks: len(clicks), detail: "the key may send " + strconv.Itoa(most) + " clicks at once",
		}
	}
	if wait := c.key.Take(len(clicks), now); wait > 0 {
		return c.limited(wait, len(clicks))
	}
	return nil
}

func (c *caller) limited(wait time.Duration, clicks int) *refusal {
	c.key.CountRefused()
	return &refusal{
		reason: reasonLimited, index: -1, clicks: clicks, wait: wait, detail: "the key sends more clicks a second than it may",
	}
}

// challenge is what a 401 asks for (RFC 6750 section 3): who brought nothing is told no error.
func challenge(r reason) string {
	const realm = `Bearer realm="linkpulse"`
	if r == reasonUnauthenticated {
		return realm
	}
	return realm + `, error="invalid_token"`
}
