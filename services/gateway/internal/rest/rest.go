package rest

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/bearer"
)

// Reading is a count and where in the log it is true.
type Reading struct {
	Epoch, Seq, Count, Bots int64
	// At is the record time of the newest click in it, Unix milliseconds; 0 where it is not known.
	At int64
}

// Watcher is told that the reading of a link may have changed. Changed returns at once; it may be called under a lock.
type Watcher interface{ Changed() }

// Watched is the count of a link, kept up to date until it is released. It is safe for concurrent use.
type Watched interface {
	// Read returns the newest reading, false while the total is not there.
	Read() (Reading, bool)
	// Recent calls add for the clicks of the link that were counted in [from, to), in log order, and returns the reading
	// of the moment at which that was so. to is from where it is not known what was counted from there on. add must
	// return at once. False: the total is not there.
	Recent(from int64, add func(timeMs int64, bot bool)) (r Reading, to int64, ok bool)
	// Release ends the watch that began with the same watcher.
	Release(w Watcher)
}

// Counts is where counts come from. It is safe for concurrent use.
type Counts interface {
	// Watch starts to count a link, which must be valid; w hears when its total has been read.
	Watch(link string, w Watcher) Watched
}

// Minute is what a link got in a minute of record time, numbered from 1970.
type Minute struct{ Minute, Count, Bots int64 }

// History is where clicks by minute come from. It is safe for concurrent use.
type History interface {
	// Minutes returns what the link got in the minutes [from, to), all of it true at the offset next. Minutes that are
	// not in the answer have none.
	Minutes(ctx context.Context, link string, from, to int64) (minutes []Minute, next int64, err error)
}

// Source is where the numbers of an epoch come from.
type Source struct {
	Counts  Counts
	Epoch   int64
	History History // nil: none is kept
}

// Authenticator tells who somebody is by their token, and gives them a ticket. Errors are *auth.RefusedError. It is safe for
// concurrent use.
type Authenticator interface {
	Token(ctx context.Context, token string) (*auth.Identity, error)
	// Issue returns a ticket and how long it is good; tickets.ErrNone: there are none. Unless origin is empty, it is good
	// for that one only.
	Issue(ctx context.Context, id *auth.Identity, origin string) (ticket string, good time.Duration, err error)
}

// Config of a Handler. All of it is required, but Linger may be 0, and Auth nil.
type Config struct {
	// Linger is for how long a link is counted on after a request for it.
	Linger time.Duration
	// MaxLinks bounds the links that are watched for requests, lingering ones included: each costs about half a kilobyte,
	// and a read of the store where it is new. It stops a client that asks for links at random.
	MaxLinks int
	// MaxRequests bounds the requests under way; half of them may wait for the store. It stops requests from piling up
	// behind a store that does not answer.
	MaxRequests int
	// HostAllowed tells whether the Host header names this gateway. It stops DNS rebinding.
	HostAllowed func(host string) bool
	// Origins are the patterns, with their scheme, of origins whose pages may read the answers.
	Origins []string
	// Auth tells who clients are; nil: authentication is off, and everybody may see everything.
	Auth Authenticator
	// Registry takes the metrics.
	Registry prometheus.Registerer
}

// Handler serves the routes. It is safe for concurrent use.
type Handler struct {
	cfg     Config
	metrics *metrics
	anybody *auth.Identity         // everybody's, where authentication is off
	caching []string               // what an answer says to caches
	vary    []string               // and what it depends on
	current atomic.Pointer[keeper] // nil: there is no epoch to answer from
	running atomic.Int64           // requests under way
	waiting atomic.Int64           // those of them that wait for the store

	histories chan struct{} // holds one for each history that is being read
}

// New returns a handler that answers 503 until Open. It registers its metrics.
func New(cfg Config) (*Handler, error) {
	h := &Handler{cfg: cfg, histories: make(chan struct{}, maxHistories), anybody: auth.Anybody(), caching: []string{"no-cache"}, vary: []string{"Origin"}}
	if cfg.Auth != nil {
		h.caching, h.vary = []string{"private, no-cache"}, []string{"Origin, Authorization"}
	}
	var err error
	h.metrics, err = newMetrics(cfg.Registry, h)
	return h, err
}

// Open begins to answer from a source, which must be at work until Close.
func (h *Handler) Open(source Source) {
	h.current.Store(newKeeper(source, h.cfg.Linger, h.cfg.MaxLinks, h.metrics))
}

// Close ends what Open began: requests under way are answered, new ones refused, and no link is watched any more.
func (h *Handler) Close() {
	if k := h.current.Swap(nil); k != nil {
		k.close()
	}
}

// Routes mounts the handler.
func (h *Handler) Routes(r chi.Router) {
	h.mount(r, "/links/{id}/clicks", routeClicks, h.clicks)
	h.mount(r, "/v1/counts", routeCounts, h.counts)
	r.Post("/v1/tickets", h.serve(routeTickets, h.tickets))
	r.Options("/v1/tickets", h.preflight(http.MethodPost, "Authorization, Content-Type"))
}

func (h *Handler) mount(r chi.Router, pattern string, as route, answer answerer) {
	get := h.serve(as, answer)
	r.Get(pattern, get)
	r.Head(pattern, get)
	r.Options(pattern, h.preflight("GET, HEAD", "Authorization, If-None-Match"))
}

// answerer answers a request of somebody, or says why not.
type answerer func(http.ResponseWriter, *http.Request, *auth.Identity) *refusal

// serve wraps what answers a route: access, the bound on requests, who asks, refusals, metrics.
func (h *Handler) serve(as route, answer answerer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		counted := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		refused := h.admit(counted, r)
		if refused == nil {
			refused = h.run(counted, r, answer)
		}
		if refused != nil {
			refused.write(counted)
		}
		h.metrics.answered(as, counted.status, time.Since(begun))
	}
}

// admit counts the request in, or tells why not.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request) *refusal {
	if !h.cfg.HostAllowed(r.Host) {
		return refuse(reasonHost, "the Host header names no host of this gateway")
	}
	h.allowOrigin(w.Header(), r)
	w.Header()["Cache-Control"] = h.caching
	if h.running.Add(1) > int64(h.cfg.MaxRequests) {
		h.running.Add(-1)
		return refuse(reasonBusy, "this gateway answers as many requests as it may; come again, or open a WebSocket")
	}
	return nil
}

func (h *Handler) run(w http.ResponseWriter, r *http.Request, answer answerer) *refusal {
	defer h.running.Add(-1)
	id, refused := h.identify(r)
	if refused != nil {
		return refused
	}
	return answer(w, r, id)
}

// identify finds out who asks.
func (h *Handler) identify(r *http.Request) (*auth.Identity, *refusal) {
	if h.cfg.Auth == nil {
		return h.anybody, nil
	}
	token, err := bearer.Token(r.Header)
	if err != nil {
		return nil, unauthorized(err)
	}
	id, err := h.cfg.Auth.Token(r.Context(), token)
	if err != nil {
		return nil, unauthorized(err)
	}
	return id, nil
}

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
