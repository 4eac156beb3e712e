package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// format is how the clicks lie in a body.
type format uint8

const (
	formatJSON  format = iota // one object or an array of objects
	formatLines               // one object per line
)

const (
	typeJSON  = "application/json"
	typeLines = "application/x-ndjson"
)

// formatOf reads the headers that say what the body is. A body without a type is taken for JSON (RFC 9110 section 8.3
// leaves that to the recipient): the smallest client that works is the best one. A body with a content coding is refused
// (RFC 9110 section 8.4): a small one could unpack to anything.
func formatOf(header http.Header) (format, *refusal) {
	if coding := header["Content-Encoding"]; len(coding) > 0 && !strings.EqualFold(strings.Join(coding, ","), "identity") {
		return 0, &refusal{reason: reasonEncoding, index: -1, detail: "send the body without Content-Encoding"}
	}
	values := header["Content-Type"]
	switch {
	case len(values) == 0, len(values) == 1 && (values[0] == typeJSON || values[0] == ""):
		return formatJSON, nil
	case len(values) == 1 && values[0] == typeLines:
		return formatLines, nil
	case len(values) == 1:
		name, params, err := mime.ParseMediaType(values[0])
		if charset, ok := params["charset"]; err == nil && (!ok || strings.EqualFold(charset, "utf-8")) {
			switch name {
			case typeJSON:
				return formatJSON, nil
			case typeLines:
				return formatLines, nil
			}
		}
	}
	return 0, &refusal{reason: reasonMediaType, index: -1, detail: "Content-Type must be " + typeJSON + " or " + typeLines + ", in UTF-8"}
}

// readBody reads the body of a request into the scratch.
func (h *Handler) readBody(r *http.Request, s *scratch) *refusal {
	limit := h.limits.MaxBody
	if r.ContentLength > int64(limit) {
		return h.tooLarge()
	}
	for {
		if len(s.body) == cap(s.body) && !h.growBody(s) {
			return busy()
		}
		n, err := r.Body.Read(s.body[len(s.body):cap(s.body)])
		s.body = s.body[:len(s.body)+n]
		switch {
		case len(s.body) > limit:
			return h.tooLarge()
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &refusal{reason: reasonCutShort, index: -1, detail: "the body ended early or came too slowly"}
		}
	}
}

// growBody makes room for more of the body, if the budget allows it: a large buffer first, then all that a body may
// have and the one byte more that shows that it is too much.
func (h *Handler) growBody(s *scratch) bool {
	size := h.limits.MaxBody + 1
	if cap(s.body) < largeBody {
		size = min(size, largeBody)
	}
	if !h.takeMemory(s, size) {
		return false
	}
	larger := s.large
	if cap(larger) < size {
		larger = make([]byte, size)
	}
	if size == largeBody {
		s.large = larger
	}
	s.body = larger[:copy(larger[:size], s.body):size]
	return true
}

func (h *Handler) takeMemory(s *scratch, n int) bool {
	if !h.memory.take(n) {
		return false
	}
	s.taken += n
	return true
}

func busy() *refusal {
	return &refusal{reason: reasonBusy, index: -1, detail: "the requests under way take all the memory that there is for them; try again"}
}

func (h *Handler) tooLarge() *refusal {
	return &refusal{reason: reasonTooLarge, index: -1, detail: "a body may have " + strconv.Itoa(h.limits.MaxBody) + " bytes"}
}
