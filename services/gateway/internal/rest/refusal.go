package rest

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/bearer"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

// reason is why a request was refused.
type reason uint8

const (
	reasonHost reason = iota
	reasonLink
	reasonParameter
	reasonTooLong
	reasonNotReady
	reasonBusy
	reasonSyncing
	reasonNoHistory
	reasonHistory
	reasonQueryToken
	reasonUnauthorized // the credential says itself what is wrong with it
	reasonDenied
	reasonUnverified
	reasonBody
	reasonBodySize
	reasonBodyType
	reasonNoTickets
	reasons
)

// describe returns the code that programs branch on, and the HTTP status.
func (r reason) describe() (code string, status int) {
	switch r {
	case reasonHost:
		return "host", http.StatusForbidden
	case reasonLink:
		return "bad_link", http.StatusBadRequest
	case reasonParameter:
		return "bad_parameter", http.StatusBadRequest
	case reasonTooLong:
		return "query_too_long", http.StatusRequestURITooLong
	case reasonNotReady:
		return "not_ready", http.StatusServiceUnavailable
	case reasonBusy:
		return "busy", http.StatusServiceUnavailable
	case reasonSyncing:
		return "syncing", http.StatusServiceUnavailable
	case reasonNoHistory:
		return "no_history", http.StatusNotImplemented
	case reasonQueryToken:
		return "token_in_query", http.StatusBadRequest
	case reasonUnauthorized:
		return bearer.CodeUnauthenticated, http.StatusUnauthorized
	case reasonDenied:
		return "denied", http.StatusForbidden
	case reasonUnverified:
		return bearer.CodeAuthUnavailable, http.StatusServiceUnavailable
	case reasonBody:
		return "bad_body", http.StatusBadRequest
	case reasonBodySize:
		return "body_too_large", http.StatusRequestEntityTooLarge
	case reasonBodyType:
		return "unsupported_media_type", http.StatusUnsupportedMediaType
	case reasonNoTickets:
		return "no_tickets", http.StatusNotImplemented
	default:
		return "history_unavailable", http.StatusServiceUnavailable
	}
}

// refusal says no to a request.
type refusal struct {
	reason reason
	rule   string
	index  *int
	detail string
	err    error // of a credential, which says code and detail itself
}

func refuse(reason reason, detail string) *refusal { return &refusal{reason: reason, detail: detail} }

// unauthorized refuses a credential.
func unauthorized(err error) *refusal {
	as := reasonUnauthorized
	if refused, ok := errors.AsType[*auth.RefusedError](err); !ok || refused.Reason.IsTemporary() {
		as = reasonUnverified
	}
	return &refusal{reason: as, err: err}
}

// badParameter names the rule of a parameter that a request breaks.
func badParameter(rule, format string, args ...any) *refusal {
	return &refusal{reason: reasonParameter, rule: rule, detail: fmt.Sprintf(format, args...)}
}

// retryAfter is when a client that was told 503 is asked to come back.
const retryAfter = time.Second

func (r *refusal) write(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	if r.err != nil {
		bearer.Problem(w.Header(), r.err).Write(w)
		return
	}
	code, status := r.reason.describe()
	if r.reason == reasonDenied {
		bearer.Forbid(w.Header(), r.detail)
	}
	p := problem.Problem{Status: status, Code: code, Detail: r.detail, Rule: r.rule, Index: r.index}
	if status == http.StatusServiceUnavailable {
		p.RetryAfter = retryAfter
	}
	p.Write(w)
}
