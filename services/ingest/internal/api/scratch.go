package api

import (
	"net/http"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// scratch is the memory of one request, used again by a later one. It is owned by the request's handler until Append
// has returned: the producer has copied what it needs by then.
type scratch struct {
	body    []byte // what has been read; its array is small, large, or one of its own
	small   [freeBody]byte
	large   []byte // nil until a body needed it
	taken   int    // of the budget
	caller  caller
	decoder decoder
	minter  minter

	messages []kafkalog.Message
	ids      []click.ID // of the messages
	bots     int        // how many of the messages say bot
	values   []byte     // the messages' values, one after the other
	headers  [1]kafkalog.Header
	trace    [traceparentLen]byte
	out      []byte // the answer
}

// keptClicks is the largest batch whose scratch is kept for another request, so that one huge batch does not leave its
// memory behind.
const keptClicks = 256

func (h *Handler) takeScratch() *scratch {
	s, ok := h.scratches.Get().(*scratch)
	if !ok {
		s = &scratch{}
		s.decoder.max = h.limits.MaxClicks
	}
	s.body = s.small[:0]
	return s
}

func (h *Handler) giveScratch(s *scratch) {
	h.memory.give(s.taken)
	s.taken = 0
	s.caller = caller{} // nobody's credentials outlive their request
	if cap(s.messages) > keptClicks {
		return
	}
	s.body = nil
	clear(s.messages) // so that it keeps no error alive
	h.scratches.Put(s)
}

// build makes the messages of the clicks that were decoded. Every slice in them lies in the scratch.
func (s *scratch) build(r *http.Request, bots Bots, partitions int, receivedMs int64) {
	clicks := s.decoder.clicks
	headers := s.traceHeaders(r)
	s.messages, s.ids, s.values, s.bots = s.messages[:0], s.ids[:0], s.values[:0], 0
	s.mint(clicks, receivedMs)
	var host [maxHost]byte
	for i := range clicks {
		c := &clicks[i]
		record := click.Record{ID: c.id, Bot: c.bot, AtMs: c.atMs, ReferrerHost: string(appendLower(host[:0], c.host))}
		if c.country[0] != 0 {
			record.Country = string(c.country[:])
		}
		if !c.botGiven {
			record.Bot = bots.Bot(c.userAgent)
		}
		if record.Bot {
			s.bots++
		}
		start := len(s.values)
		s.values = record.Append(s.values)
		s.ids = append(s.ids, c.id)
		s.messages = append(s.messages, kafkalog.Message{
			Partition: click.Partition(c.link, partitions), TimeMs: receivedMs,
			Key: c.link, Value: s.values[start:len(s.values):len(s.values)], Headers: headers,
		})
	}
}

// mint gives an id to every click that was sent without one.
func (s *scratch) mint(clicks []input, receivedMs int64) {
	n := 0
	for i := range clicks {
		if clicks[i].id.IsZero() {
			n++
		}
	}
	if n == 0 {
		return
	}
	s.minter.begin(n, receivedMs)
	for i := range clicks {
		if clicks[i].id.IsZero() {
			clicks[i].id = s.minter.mint()
		}
	}
}

// traceHeaders returns the record headers that carry the request's trace on: its traceparent, if it is a valid one.
func (s *scratch) traceHeaders(r *http.Request) []kafkalog.Header {
	values := r.Header["Traceparent"]
	if len(values) != 1 || !validTraceparent(values[0]) {
		return nil
	}
	copy(s.trace[:], values[0])
	s.headers[0] = kafkalog.Header{Key: "traceparent", Value: s.trace[:]}
	return s.headers[:]
}

func appendLower(dst, s []byte) []byte {
	for _, b := range s {
		if 'A' <= b && b <= 'Z' {
			b |= 0x20
		}
		dst = append(dst, b)
	}
	return dst
}
