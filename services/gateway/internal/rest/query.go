package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// The limits of a request, and what each stops.
const (
	// maxQuery bounds the query of a request in bytes. It stops work for what is refused anyway.
	maxQuery = 4 << 10
	// maxLinks bounds the links of a request. It stops one request from taking the store for itself.
	maxLinks = 100
	// maxHistory is how far back the store keeps minutes.
	maxHistory = 24 * 60
)

// linkOf returns the link that the path names.
func linkOf(r *http.Request) (string, *refusal) {
	link := chi.URLParam(r, "id")
	if r.URL.RawPath != "" { // chi matches the path as it was sent, and encodeURIComponent escapes the colon of a tenant
		var err error
		if link, err = url.PathUnescape(link); err != nil {
			return "", badLink(err, nil)
		}
	}
	if err := click.CheckLink(link); err != nil {
		return "", badLink(err, nil)
	}
	return link, nil
}

func badLink(err error, index *int) *refusal {
	return &refusal{reason: reasonLink, rule: "link", index: index, detail: err.Error()}
}

// parameters returns the query's parameters, of which each may come once and only those of names. A misspelt one that
// was ignored would answer another question than the one that was asked.
func parameters(r *http.Request, names ...string) (map[string]string, *refusal) {
	if r.URL.RawQuery == "" {
		return nil, nil //nolint:nilnil // a nil map has no parameters
	}
	if len(r.URL.RawQuery) > maxQuery {
		return nil, &refusal{reason: reasonTooLong, rule: "links", detail: fmt.Sprintf(
			"the query has %d bytes, and may have %d: ask for fewer links at a time", len(r.URL.RawQuery), maxQuery)}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badParameter("encoding", "the query is not URL-encoded: %% must be followed by two hexadecimal digits, and ; sent as %%3B")
	}
	known := make(map[string]string, len(names))
	for _, name := range names {
		switch values := query[name]; len(values) {
		case 0:
		case 1:
			known[name] = values[0]
		default:
			return nil, badParameter("duplicate_parameter", "%s is there %d times: send it once", name, len(values))
		}
		delete(query, name)
	}
	if len(query["access_token"])+len(query["token"]) > 0 {
		return nil, refuse(reasonQueryToken, "a token does not belong in the query, which ends up in logs: send it in an Authorization header")
	}
	if len(query) > 0 {
		return nil, badParameter("unknown_parameter", "the query may have %s, and nothing else", strings.Join(names, " and "))
	}
	return known, nil
}

// linksOf returns the links of a batch, each once, in the order of the query.
func linksOf(r *http.Request) ([]string, *refusal) {
	query, refused := parameters(r, "links")
	if refused != nil {
		return nil, refused
	}
	if query["links"] == "" {
		return nil, badParameter("links", "links is missing: name 1 to %d link ids, comma-separated", maxLinks)
	}
	names := strings.Split(query["links"], ",")
	if len(names) > maxLinks {
		return nil, badParameter("links", "links has %d link ids, and may have %d: ask in several requests", len(names), maxLinks)
	}
	links := names[:0]
	seen := make(map[string]struct{}, len(names))
	for i, name := range names {
		if err := click.CheckLink(name); err != nil {
			return nil, badLink(fmt.Errorf("links[%d]: %w", i, err), &i)
		}
		if _, ok := seen[name]; !ok {
			seen[name] = struct{}{}
			links = append(links, name)
		}
	}
	return links, nil
}

// span is a stretch of time that ends with the minute of now, in minutes, and how it is divided. The zero value is none.
type span struct{ history, step int64 }

// spanOf returns the history that a request asks for.
func spanOf(r *http.Request) (span, *refusal) {
	query, refused := parameters(r, "history", "step")
	if refused != nil || query == nil {
		return span{}, refused
	}
	text, ok := query["history"]
	if !ok {
		return span{}, badParameter("history", "step divides a history, and there is none: add history, like history=1h")
	}
	s := span{step: 1}
	if s.history, ok = minutes(text); !ok || s.history > maxHistory {
		return span{}, badParameter("history", "history must be from 1m to 24h, in whole minutes or hours, like 90m or 1h")
	}
	if text, ok := query["step"]; ok {
		if s.step, ok = minutes(text); !ok || s.history%s.step != 0 {
			return span{}, badParameter("step", "step must be whole minutes or hours that divide the history, like 5m")
		}
	}
	return s, nil
}

// minutes reads a length of time like 90m or 24h.
func minutes(text string) (n int64, ok bool) {
	unit := int64(1)
	digits, isMinutes := strings.CutSuffix(text, "m")
	if !isMinutes {
		if digits, ok = strings.CutSuffix(text, "h"); !ok {
			return 0, false
		}
		unit = 60
	}
	if digits == "" || len(digits) > 4 || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n * unit, err == nil && n > 0
}

// window returns the minutes [from, to) of the span at a time.
func (s span) window(now time.Time) (from, to int64) {
	to = now.Unix()/60 + 1
	return to - s.history, to
}
