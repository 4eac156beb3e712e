// Package problem writes errors as application/problem+json (RFC 9457), the one shape in which every HTTP interface of
// Linkpulse says no.
package problem

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

// ContentType of a problem document.
const ContentType = "application/problem+json"

// Problem is a problem document. Type is derived from Code, Title from Status.
type Problem struct {
	// Status is the HTTP status.
	Status int
	// Code is the stable name that programs branch on, like "bad_link".
	Code string
	// Detail says what is wrong and how to mend it.
	Detail string
	// Index is the place of the offending item in the request, counted from 0; nil where the problem is not about one.
	Index *int
	// Rule states the rule that the item breaks, empty where there is none.
	Rule string
	// Results tells per item what became of it, where items fared differently.
	Results []Result
	// RetryAfter asks the client to come back then, rounded up to seconds; 0 says nothing.
	RetryAfter time.Duration
}

// Result is what became of one item of a request.
type Result struct {
	Index  int    `json:"index"`
	ID     string `json:"id"`
	Status string `json:"status"`
	Code   string `json:"code,omitempty"`
}

// document is the wire form.
type document struct {
	Type    string   `json:"type"`
	Title   string   `json:"title"`
	Status  int      `json:"status"`
	Detail  string   `json:"detail,omitempty"`
	Code    string   `json:"code"`
	Index   *int     `json:"index,omitempty"`
	Rule    string   `json:"rule,omitempty"`
	Results []Result `json:"results,omitempty"`
}

// Write answers a request with the problem. A write error means that the client has gone and is ignored.
func (p *Problem) Write(w http.ResponseWriter) {
	body, err := json.Marshal(document{
		Type: "urn:linkpulse:problem:" + p.Code, Title: http.StatusText(p.Status), Status: p.Status,
		Detail: p.Detail, Code: p.Code, Index: p.Index, Rule: p.Rule, Results: p.Results,
	})
	if err != nil { // strings and numbers always encode
		http.Error(w, p.Code, p.Status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("X-Content-Type-Options", "nosniff")
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n'))
}
