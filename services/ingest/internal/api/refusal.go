package api

import (
	"net/http"
	"time"
)

// reason is why a request was not accepted: the code of the problem document, its status, and the value of the
// label in the metric. The set is closed, so every one of them is in the metric from the start.
type reason uint8

const (
	reasonNone reason = iota
	reasonUnauthenticated
	reasonBadKey
	reasonForbidden
	reasonLimited
	reasonMalformed
	reasonCutShort
	reasonInvalid
	reasonEmpty
	reasonTooMany
	reasonTooLarge
	reasonMediaType
	reasonEncoding
	reasonBusy
	reasonStarting
	reasonQueueFull
	reasonClosing
	reasonUnavailable
	reasonUnknown
	reasonMixed // several of those of Kafka
	reasons     // how many there are
)

// describe returns the code and the status that a reason is told as.
func (r reason) describe() (code string, status int) {
	switch r {
	case reasonUnauthenticated:
		return "unauthenticated", http.StatusUnauthorized
	case reasonBadKey:
		return "bad_key", http.StatusUnauthorized
	case reasonForbidden:
		return "link_not_granted", http.StatusForbidden
	case reasonLimited:
		return "rate_limited", http.StatusTooManyRequests
	case reasonMalformed:
		return "malformed_json", http.StatusBadRequest
	case reasonCutShort:
		return "body_cut_short", http.StatusBadRequest
	case reasonInvalid:
		return "invalid_click", http.StatusUnprocessableEntity
	case reasonEmpty:
		return "empty_batch", http.StatusUnprocessableEntity
	case reasonTooMany:
		return "too_many_clicks", http.StatusRequestEntityTooLarge
	case reasonTooLarge:
		return "body_too_large", http.StatusRequestEntityTooLarge
	case reasonMediaType:
		return "unsupported_media_type", http.StatusUnsupportedMediaType
	case reasonEncoding:
		return "unsupported_content_encoding", http.StatusUnsupportedMediaType
	case reasonBusy:
		return "busy", http.StatusServiceUnavailable
	case reasonStarting:
		return "not_ready", http.StatusServiceUnavailable
	case reasonQueueFull:
		return "queue_full", http.StatusServiceUnavailable
	case reasonClosing:
		return "closing", http.StatusServiceUnavailable
	case reasonUnavailable:
		return "log_unavailable", http.StatusServiceUnavailable
	case reasonUnknown:
		return "outcome_unknown", http.StatusServiceUnavailable
	case reasonMixed:
		return "unavailable", http.StatusServiceUnavailable
	default:
		return "none", http.StatusAccepted
	}
}

// rule names what a click must be; of credentials it is an apikey.Reason. It is part of the answer, so that a program can
// tell what to mend.
type rule string

const (
	ruleShape     rule = "shape"         // the body is an object or an array of objects; a line is an object
	ruleKnown     rule = "unknown_field" // no field but those of a click
	ruleOnce      rule = "duplicate_field"
	ruleType      rule = "type"     // each field has its JSON type
	ruleText      rule = "text"     // no half of a surrogate pair
	ruleRequired  rule = "required" // link
	ruleLink      rule = "link"
	ruleID        rule = "id"
	ruleAt        rule = "at"
	ruleCountry   rule = "country"
	ruleReferrer  rule = "referrer"
	ruleUserAgent rule = "user_agent"
)

// refusal says why nothing of a request was accepted. It never repeats what the client sent.
type refusal struct {
	reason reason
	index  int           // of the click, from 0; -1: the request as a whole
	rule   rule          // empty: none in particular
	detail string        // for people: what is wrong and how to mend it
	clicks int           // of the request, where its caller may not send them
	wait   time.Duration // until it may be sent again; 0: not by time
}

// ofCaller tells the reasons for which clicks that are valid are refused because of who sends them.
func (r reason) ofCaller() bool {
	return r == reasonForbidden || r == reasonLimited || r == reasonTooMany
}

// ofClick tells the reasons that concern clicks, each by itself, from those that concern a request as a whole.
func (r reason) ofClick() bool {
	switch r {
	case reasonQueueFull, reasonClosing, reasonUnavailable, reasonUnknown:
		return true
	default:
		return false
	}
}

// sentence says for people what a reason of clicks means.
func (r reason) sentence() string {
	switch r {
	case reasonQueueFull:
		return "the queue in front of Kafka is full"
	case reasonClosing:
		return "this process stops"
	case reasonUnavailable:
		return "Kafka did not take them in time"
	default:
		return "the partitions of the log have different troubles"
	}
}
