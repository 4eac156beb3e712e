// Package api is the HTTP interface of ingest: POST /v1/clicks, as proto/openapi.yaml describes it.
//
// A request goes through it in one goroutine and in this order: the headers say who sends it and what the body is; the body
// is read, up to a limit, and held against its signature, if it has one; every click in it is decoded and checked, and
// whether its sender may send it; only then are all of them handed to the log, at once, and the answer is written when Kafka
// has acknowledged them. So nothing of a request is appended unless all of it is valid, and an answer of 202 means that the
// clicks are in the log. The append is not tied to the request's context: a client that goes away does not undo what it sent.
//
// What a single click costs is the HTTP server around it: decoding works on the bytes of the body, and the memory of a
// request is used again by a later one.
package api

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

// Log is where clicks go.
type Log interface {
	// Append appends the messages and returns when each of them has been acknowledged or has failed; each then carries
	// its own outcome, and the error is the first of them. It borrows the messages only until it returns.
	Append(messages []kafkalog.Message) error
	// Ready returns nil when messages can be appended, and otherwise why not. It returns at once.
	Ready() error
}

// Bots tells known bots by their user agent. It is called by many goroutines at once and only borrows its argument.
type Bots interface {
	Bot(userAgent []byte) bool
}

// Limits bound what a client can ask for.
type Limits struct {
	// MaxBody is the size of a body in bytes. It stops a client that sends without end.
	MaxBody int
	// MaxClicks is the number of clicks of one request. It stops a small body of very small clicks from becoming a large
	// append.
	MaxClicks int
	// MaxMemory bounds the bytes that all requests under way hold. It stops many clients from doing together what one
	// of them may do.
	MaxMemory int64
	// RetryAfter is when a client that was told 503 is asked to come back.
	RetryAfter time.Duration
}

// Handler serves POST /v1/clicks. It is safe for concurrent use.
type Handler struct {
	limits  Limits
	keys    Keys
	bots    Bots
	metrics *metrics
	// jsonType is the header's value, shared by all answers: http.Header.Set would make a slice for each.
	jsonType []string

	memory    budget
	scratches sync.Pool // of *scratch
	target    atomic.Pointer[target]
}

// target is where clicks go, once that is known.
type target struct {
	log        Log
	partitions int
}

// check refuses every request while there is no log yet or while the clock is wrong: clicks would be stamped with times
// by which readers of the log cannot tell what is a duplicate. Other troubles of the log may be over by the time it is
// needed, and a request that waits for them is better than one that is lost.
func (t *target) check() *refusal {
	switch {
	case t == nil:
		return &refusal{reason: reasonStarting, index: -1, detail: "waiting for Kafka; /readyz says what for"}
	case errors.Is(t.log.Ready(), kafkalog.ErrSkew):
		return &refusal{reason: reasonStarting, index: -1, detail: "the clock of this machine is wrong"}
	}
	return nil
}

// New returns a handler that answers 503 until Open. It registers its metrics.
func New(limits Limits, keys Keys, bots Bots, registry prometheus.Registerer) (*Handler, error) {
	h := &Handler{limits: limits, keys: keys, bots: bots, jsonType: []string{typeJSON}}
	h.memory.limit = limits.MaxMemory
	var err error
	h.metrics, err = newMetrics(registry, h)
	return h, err
}

// Open lets clicks through to the log, which has this many partitions by the deployment record.
func (h *Handler) Open(log Log, partitions int) {
	h.target.Store(&target{log: log, partitions: partitions})
}

// Routes mounts the interface.
func (h *Handler) Routes(r chi.Router) {
	r.Post("/v1/clicks", h.postClicks)
}

func (h *Handler) postClicks(w http.ResponseWriter, r *http.Request) {
	received := time.Now()
	h.metrics.inFlight.Add(1)
	defer h.metrics.inFlight.Add(-1)
	s := h.takeScratch()
	defer h.giveScratch(s)
	to := h.target.Load()
	refused := h.identify(w, r, &s.caller, received)
	if refused == nil {
		refused = to.check()
	}
	if refused == nil {
		refused = h.read(r, s)
	}
	if refused == nil {
		refused = s.caller.admit(s.decoder.clicks, received)
	}
	if refused != nil {
		h.refuse(w, refused)
		return
	}
	s.build(r, h.bots, to.partitions, received.UnixMilli())
	err := to.log.Append(s.messages)
	h.metrics.appended(len(s.messages), time.Since(received))
	if err != nil {
		h.answerFailure(w, s)
		return
	}
	h.metrics.accepted.Add(float64(len(s.messages)))
	s.caller.key.Count(len(s.messages))
	h.metrics.bots.Add(float64(s.bots))
	h.answerAccepted(w, s)
}

// read takes the clicks out of a request.
func (h *Handler) read(r *http.Request, s *scratch) *refusal {
	form, refused := formatOf(r.Header)
	if refused != nil {
		return refused
	}
	if refused := h.readBody(r, s); refused != nil {
		return refused
	}
	if refused := h.verify(&s.caller, s.body); refused != nil {
		return refused
	}
	if form == formatLines {
		refused = s.decoder.decodeLines(s.body)
	} else {
		refused = s.decoder.decodeJSON(s.body)
	}
	if refused != nil {
		return refused
	}
	if extra := len(s.decoder.clicks) - freeClicks; extra > 0 && !h.takeMemory(s, extra*clickBytes) {
		return busy()
	}
	return nil
}

// refuse answers a request of which nothing was appended.
func (h *Handler) refuse(w http.ResponseWriter, r *refusal) {
	code, status := r.reason.describe()
	h.metrics.refused[r.reason].Inc()
	h.metrics.requests[status].Inc()
	if c := h.metrics.refusedClicks[r.reason]; c != nil {
		c.Add(float64(r.clicks))
	}
	p := problem.Problem{Status: status, Code: code, Detail: r.detail, Rule: string(r.rule), RetryAfter: r.wait}
	if r.index >= 0 {
		p.Index = &r.index
	}
	switch status {
	case http.StatusServiceUnavailable:
		p.RetryAfter = h.limits.RetryAfter
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", challenge(r.reason))
	}
	p.Write(w)
}
