package rest

import (
	"net/http"
	"strconv"
	"strings"
)

// appendLink appends the object of a link without its closing brace. Link ids need no escaping.
func appendLink(b []byte, link string, r Reading, withEpoch bool) []byte {
	b = append(append(b, `{"link":"`...), link...)
	b = strconv.AppendInt(append(b, `","count":`...), r.Count, 10)
	b = strconv.AppendInt(append(b, `,"bots":`...), r.Bots, 10)
	b = strconv.AppendInt(append(b, `,"seq":`...), r.Seq, 10)
	if withEpoch {
		b = strconv.AppendInt(append(b, `,"epoch":`...), r.Epoch, 10)
	}
	return strconv.AppendInt(append(b, `,"at":`...), r.At, 10)
}

// tag is an entity tag (RFC 9110 section 8.8.3), a weak one: seq moves on with every click of any link of the partition,
// and who has the same count at a smaller seq has nothing to learn.
type tag string

// newTag returns the tag of a count, and of what else the answer depends on. It is the same at every gateway.
func newTag(r Reading, more ...int64) tag {
	b := appendNumbers(append(make([]byte, 0, 64), `W/"`...), r)
	for _, n := range more {
		b = strconv.AppendInt(append(b, '.'), n, 10)
	}
	return tag(append(b, '"'))
}

// appendNumbers appends what a tag stands for.
func appendNumbers(b []byte, r Reading) []byte {
	b = strconv.AppendInt(b, r.Epoch, 10)
	b = strconv.AppendInt(append(b, '.'), r.Count, 10)
	b = strconv.AppendInt(append(b, '.'), r.Bots, 10)
	return strconv.AppendInt(append(b, '.'), r.At, 10)
}

// matches tells whether the client has what the tag stands for (RFC 9110 section 13.1.2: weak comparison).
func (t tag) matches(r *http.Request) bool {
	for _, field := range r.Header["If-None-Match"] {
		for candidate := range strings.SplitSeq(field, ",") {
			candidate = strings.TrimSpace(candidate)
			if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(string(t), "W/") {
				return true
			}
		}
	}
	return false
}

//nolint:gochecknoglobals // constants: http.Header.Set would make a slice for each answer
var (
	jsonType = []string{"application/json"}
	noSniff  = []string{"nosniff"}
)

func notModified(w http.ResponseWriter, t tag) {
	w.Header().Set("Etag", string(t))
	w.WriteHeader(http.StatusNotModified)
}

func writeJSON(w http.ResponseWriter, r *http.Request, t tag, body []byte) {
	header := w.Header()
	header.Set("Etag", string(t))
	header["Content-Type"] = jsonType
	header["X-Content-Type-Options"] = noSniff
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) //nolint:gosec // JSON of numbers and checked link ids, not HTML; a client that has gone needs no answer
	}
}
