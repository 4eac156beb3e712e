// Package bearer is how a token travels over HTTP (RFC 6750): where a request carries it, and what the answer says where it
// is not good. What it has to say goes out as a problem document with a challenge beside it.
package bearer

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

const (
	scheme = "Bearer"
	realm  = `Bearer realm="linkpulse"`
	// retryAfter is when to come back with a credential that could not be looked at.
	retryAfter = time.Second
)

// Token returns the token of a request. The error is an *[auth.RefusedError]: there is no token, or what stands there is
// none. Credentials of other schemes are somebody else's, such as those of a proxy that a browser sends along.
//
// The result is part of the request's memory: who keeps it keeps that.
func Token(header http.Header) (string, error) {
	var token string
	for _, field := range header["Authorization"] {
		name, text, _ := strings.Cut(field, " ")
		if !strings.EqualFold(name, scheme) {
			continue
		}
		if token != "" {
			return "", malformed("the request has two Authorization headers with a token: send one")
		}
		token = strings.Trim(text, " ")
		switch {
		case token == "":
			return "", malformed("the Authorization header has no token: send Authorization: Bearer and the token")
		case len(token) > auth.MaxToken:
			return "", malformed("the token is longer than 4096 bytes")
		case !isToken(token):
			return "", malformed("the Authorization header has something else than a token behind Bearer")
		}
	}
	if token == "" {
		return "", &auth.RefusedError{Reason: auth.ReasonMissing, Detail: "this needs a token: send Authorization: Bearer and the token"}
	}
	return token, nil
}

func malformed(detail string) error {
	return &auth.RefusedError{Reason: auth.ReasonMalformed, Detail: detail}
}

// isToken tells whether a text is a b64token (RFC 6750 section 2.1).
func isToken(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		switch c := body[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return body != ""
}

// The codes of problems.
const (
	CodeUnauthenticated = "unauthenticated"  // 401: no credential
	CodeBadToken        = "bad_token"        // 401: it is not valid; the rule says in which way
	CodeBadTicket       = "bad_ticket"       // 401: nor is a ticket
	CodeTokenRevoked    = "token_revoked"    // 401
	CodeOverloaded      = "overloaded"       // 503: more to verify than can be
	CodeAuthUnavailable = "auth_unavailable" // 503: nothing to verify with
)

// Problem returns the problem that an error of a credential is, and puts the challenge into the header of the answer. An
// error that is no *[auth.RefusedError] is treated as one that passes: nobody gets in by a defect.
func Problem(header http.Header, err error) *problem.Problem {
	refused, ok := errors.AsType[*auth.RefusedError](err)
	if !ok {
		refused = &auth.RefusedError{Reason: auth.ReasonKeysAway, Detail: "whether the credential is good cannot be told now; come again"}
	}
	p := &problem.Problem{Status: http.StatusUnauthorized, Code: CodeBadToken, Detail: refused.Detail}
	switch refused.Reason {
	case auth.ReasonBusy:
		p.Status, p.Code, p.RetryAfter = http.StatusServiceUnavailable, CodeOverloaded, retryAfter
		return p
	case auth.ReasonKeysAway:
		p.Status, p.Code, p.RetryAfter = http.StatusServiceUnavailable, CodeAuthUnavailable, retryAfter
		return p
	case auth.ReasonMissing: // section 3.1: who brought nothing is told no error
		p.Code = CodeUnauthenticated
		header.Set("WWW-Authenticate", realm)
		return p
	case auth.ReasonRevoked:
		p.Code = CodeTokenRevoked
	case auth.ReasonTicket:
		p.Code = CodeBadTicket
	default:
		p.Rule = string(refused.Reason)
	}
	challenge(header, "invalid_token", refused.Detail)
	return p
}

// Forbid puts the challenge into the header of an answer to who is known and may not (RFC 6750 section 3.1).
func Forbid(header http.Header, detail string) { challenge(header, "insufficient_scope", detail) }

func challenge(header http.Header, code, detail string) {
	header.Set("WWW-Authenticate", realm+`, error="`+code+`", error_description="`+description(detail)+`"`)
}

// description makes a text one that may stand in error_description (RFC 6750 section 3): printable ASCII without quotation
// marks and backslashes.
func description(detail string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, detail)
}
