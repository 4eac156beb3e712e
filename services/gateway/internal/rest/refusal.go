package rest

import (
	"fmt"
	"net/http"
	"time"

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
}

func refuse(reason reason, detail string) *refusal { return &refusal{reason: reason, detail: detail} }

// badParameter names the rule of a parameter that a request breaks.
func badParameter(rule, format string, args ...any) *refusal {
	return &refusal{reason: reasonParameter, rule: rule, detail: fmt.Sprintf(format, args...)}
}

// retryAfter is when a client that was told 503 is asked to come back.
const retryAfter = time.Second

func (r *refusal) write(w http.ResponseWriter) {
	code, status := r.reason.describe()
	p := problem.Problem{Status: status, Code: code, Detail: r.detail, Rule: r.rule, Index: r.index}
	if status == http.StatusServiceUnavailable {
		p.RetryAfter = retryAfter
	}
	w.Header().Set("Cache-Control", "no-store")
	p.Write(w)
}
