package auth

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// claims are what a token says, of what is read of it (RFC 7519 section 4.1). Nil is not said.
type claims struct {
	issuer, subject, tokenID   *string
	audience                   []string
	expires, issued, notBefore *int64 // in Unix seconds
	links                      []string
}

func badClaim(format string, args ...any) *RefusedError {
	return &RefusedError{ReasonClaims, fmt.Sprintf(format, args...)}
}

// readClaims reads the claims of a token whose signature is good.
func readClaims(data []byte) (c claims, refused *RefusedError) {
	refused, err := members(data, func(name, value []byte) *RefusedError {
		switch string(name) {
		case "iss":
			return readText(&c.issuer, name, value)
		case "sub":
			return readText(&c.subject, name, value)
		case "jti":
			return readText(&c.tokenID, name, value)
		case "exp":
			return readTime(&c.expires, name, value)
		case "iat":
			return readTime(&c.issued, name, value)
		case "nbf":
			return readTime(&c.notBefore, name, value)
		case "aud":
			if one, ok := text(value); ok {
				c.audience = []string{one}
			} else if c.audience, ok = texts(value); !ok {
				return badClaim("aud is neither a string nor a list of strings")
			}
		case "links":
			var ok bool
			if c.links, ok = texts(value); !ok {
				return &RefusedError{ReasonGrants, "links is no list of strings"}
			}
		}
		return nil
	})
	if err != nil {
		return c, malformed("the claims: " + err.Error())
	}
	return c, refused
}

func readText(to **string, name, value []byte) *RefusedError {
	s, ok := text(value)
	if !ok {
		return badClaim("%s is no string", name)
	}
	*to = &s
	return nil
}

// lastTime is the end of the year 9999, in Unix seconds: beyond it times are not written as they are read.
const lastTime = 253402300799

// readTime reads a NumericDate, whose fraction, if there is one, makes no difference here.
func readTime(to **int64, name, value []byte) *RefusedError {
	seconds, err := strconv.ParseFloat(string(value), 64)
	if err != nil || !(seconds >= 0 && seconds <= lastTime) {
		return badClaim("%s is no time in seconds since 1970", name)
	}
	*to = new(int64(math.Floor(seconds)))
	return nil
}

// expectation is what a verifier wants claims to be.
type expectation struct {
	issuer, audience string
	maxLifetime      time.Duration
}

// identity returns whose token it is, if it is good at a time.
func (e *expectation) identity(data []byte, now time.Time) (*Identity, *RefusedError) {
	c, refused := readClaims(data)
	if refused == nil {
		refused = c.missing()
	}
	if refused == nil {
		refused = e.check(&c, now)
	}
	if refused != nil {
		return nil, refused
	}
	grants, err := ParseGrants(c.links)
	if err != nil {
		return nil, &RefusedError{ReasonGrants, "links: " + err.Error()}
	}
	id := &Identity{Subject: *c.subject, IssuedAt: time.Unix(*c.issued, 0), ExpiresAt: time.Unix(*c.expires, 0), Grants: grants}
	if c.tokenID != nil {
		id.TokenID = *c.tokenID
	}
	return id, nil
}

// missing refuses claims that are not there, and names that are none.
func (c *claims) missing() *RefusedError {
	switch {
	case c.issuer == nil:
		return badClaim("the token has no iss")
	case c.subject == nil:
		return badClaim("the token has no sub")
	case c.audience == nil:
		return badClaim("the token has no aud")
	case c.expires == nil:
		return badClaim("the token has no exp")
	case c.issued == nil:
		return badClaim("the token has no iat")
	}
	if err := CheckName(*c.subject); err != nil {
		return badClaim("sub: %v", err)
	}
	if c.tokenID != nil {
		if err := CheckName(*c.tokenID); err != nil {
			return badClaim("jti: %v", err)
		}
	}
	return nil
}

func (e *expectation) check(c *claims, now time.Time) *RefusedError {
	at := func(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
	early := now.Add(Leeway).Unix() // whoever's clock is slower than the issuer's
	switch {
	case *c.issuer != e.issuer:
		return &RefusedError{ReasonIssuer, "the token is of another issuer"}
	case !slices.Contains(c.audience, e.audience):
		return &RefusedError{ReasonAudience, "the token is for another audience"}
	case *c.expires <= *c.issued:
		return badClaim("exp is not after iat")
	case !now.Before(time.Unix(*c.expires, 0).Add(Leeway)):
		return &RefusedError{ReasonExpired, "the token expired at " + at(*c.expires)}
	case *c.issued > early:
		return &RefusedError{ReasonNotYet, "the token is issued in the future, at " + at(*c.issued)}
	case c.notBefore != nil && *c.notBefore > early:
		return &RefusedError{ReasonNotYet, "the token is not good before " + at(*c.notBefore)}
	case *c.expires-*c.issued > int64(e.maxLifetime/time.Second):
		return &RefusedError{ReasonLifetime, fmt.Sprintf("the token is good for longer than %v", e.maxLifetime)}
	}
	return nil
}
