// Package ingest is the service that accepts clicks: POST /v1/clicks answers 202 when Kafka has acknowledged them. Beside
// that, or instead, it folds the log into totals in Redis (internal/tally); the ingests that do so share the partitions.
// Neither waits for the other, and a tally that cannot go on does not keep clicks from being taken.
//
// The service has no state of its own. It waits for the deployment record, which says into which topic and how many
// partitions clicks go, and is unready until then. What it accepts is handed to the group-commit producer of
// pkg/kafkalog; what waits there for Kafka is bounded, and a full queue is answered with 503 at once.
//
// When it is told to stop it becomes unready, stops accepting connections, answers the requests under way and lets the
// producer finish. What is not finished by the deadline is answered with 503, so its clients know to send it again.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/problem"
	"github.com/linkpulse/linkpulse/pkg/telemetry"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/ingest/internal/api"
	"github.com/linkpulse/linkpulse/services/ingest/internal/bots"
	"github.com/linkpulse/linkpulse/services/ingest/internal/tally"
)

// Deps are what the service takes from whoever composes it. The zero value is a service on the machine's own network
// that says nothing.
type Deps struct {
	// Log takes the service's lines; nil is silence.
	Log *zap.Logger
	// Registry takes its metrics and is what the admin port shows; nil is one of its own.
	Registry *prometheus.Registry
	// Listener, unless nil, is used instead of Config.Addr, and AdminListener instead of Config.AdminAddr. New owns them,
	// also when it fails.
	Listener, AdminListener net.Listener
	// Dial connects to Kafka and Redis; nil is the machine's network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Service is an ingest. Its methods are safe for concurrent use, but Run is called once.
type Service struct {
	cfg     Config
	log     *zap.Logger
	cluster *kafkalog.Cluster
	totals  *totals.Store // nil: there is no tally
	tallies *tally.Metrics
	handler *api.Handler // nil: there is no API
	keys    *keys        // nil: everybody may send clicks, or there is no API
	health  *httpserver.Health

	listener net.Listener
	server   *http.Server
	admin    net.Listener // nil: there is none
	adminSrv *http.Server

	producer atomic.Pointer[kafkalog.Producer] // nil until the deployment record is known, and without an API
	known    atomic.Bool                       // the deployment record is
	waiting  atomic.Pointer[error]             // why it is not
	draining atomic.Bool
}

// Why the service is not ready, beside what its producer says.
var (
	errNoAddr   = errors.New("no address to take clicks on")
	errNotAsked = errors.New("it was not asked for yet")
	errDraining = errors.New("the service is stopping")
)

// New returns a service that has bound its addresses but serves nothing until Run. Nothing is left behind by an error.
func New(cfg Config, deps Deps) (s *Service, err error) {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	if deps.Registry == nil {
		deps.Registry = prometheus.NewRegistry()
	}
	s = &Service{cfg: cfg, log: deps.Log, health: &httpserver.Health{}, listener: deps.Listener, admin: deps.AdminListener}
	defer func() {
		if err != nil {
			s.close()
			s = nil
		}
	}()
	if err = cfg.Check(); err != nil {
		return s, err
	}
	s.waiting.Store(&errNotAsked)
	s.health.Add("draining", s.checkDraining)
	s.health.Add("deployment", s.checkDeployment)
	s.health.Add("producer", s.checkProducer)
	if cfg.API == on {
		if err = s.openAPI(deps.Registry); err != nil {
			return s, err
		}
	}
	if err := s.listen(deps.Registry); err != nil {
		return s, err
	}
	options := []kafkalog.Option{kafkalog.WithLogger(s.log.Named("kafka")), kafkalog.WithMetrics(deps.Registry)}
	if deps.Dial != nil {
		options = append(options, kafkalog.WithDialer(deps.Dial))
	}
	if s.cluster, err = kafkalog.Open(cfg.Kafka, options...); err != nil {
		return s, err
	}
	return s, s.openTotals(deps)
}

// openTotals opens what the tally needs, unless it is off.
func (s *Service) openTotals(deps Deps) (err error) {
	if s.cfg.Tally != on {
		return nil
	}
	if s.tallies, err = tally.NewMetrics(deps.Registry); err != nil {
		return err
	}
	options := []totals.Option{totals.WithLogger(s.log.Named("redis")), totals.WithMetrics(deps.Registry)}
	if deps.Dial != nil {
		options = append(options, totals.WithDialer(deps.Dial))
	}
	s.totals, err = totals.Open(s.cfg.Redis, options...)
	return err
}

// openAPI opens what takes clicks, and from whom.
func (s *Service) openAPI(registry *prometheus.Registry) (err error) {
	var from api.Keys = everybody{keyring.Anybody()}
	if s.cfg.Auth == byKeys {
		if s.keys, err = openKeys(s.cfg.KeysFile, s.log, registry); err != nil {
			return err
		}
		from = s.keys
	}
	s.handler, err = newHandler(s.cfg, from, registry)
	return err
}

func newHandler(cfg Config, keys api.Keys, registry *prometheus.Registry) (*api.Handler, error) {
	known, err := bots.New()
	if err != nil {
		return nil, err
	}
	if err := registerBots(registry, known); err != nil {
		return nil, err
	}
	return api.New(api.Limits{
		MaxBody: cfg.Limits.Body, MaxClicks: cfg.Limits.Clicks, MaxMemory: cfg.Limits.Memory, RetryAfter: cfg.RetryAfter,
	}, keys, known, registry)
}

func (s *Service) listen(registry *prometheus.Registry) error {
	var err error
	if s.listener, err = listenUnless(s.listener, s.cfg.Addr); err != nil {
		return err
	}
	if s.admin, err = listenUnless(s.admin, s.cfg.AdminAddr); err != nil {
		return err
	}
	if s.listener == nil {
		return errNoAddr
	}
	conns, err := newConnLimit(s.cfg.Limits.Connections, registry)
	if err != nil {
		return err
	}
	s.server = newServer(s.cfg, s.routes(), s.log)
	s.server.ConnState = conns.track
	s.adminSrv = httpserver.New(telemetry.AdminHandler(registry, s.health, s.cfg.Profiles), s.log)
	return nil
}

// newServer returns the server that takes clicks.
func newServer(cfg Config, h http.Handler, log *zap.Logger) *http.Server {
	srv := httpserver.New(h, log)
	// The headers have their own limit; this one is for the body. A client that sends slowly holds memory.
	srv.ReadTimeout = cfg.ReadTimeout
	// From the end of the headers to the end of the answer: reading, waiting for Kafka, writing. A client that does not
	// read its answers would keep its connection for ever.
	srv.WriteTimeout = cfg.ReadTimeout + cfg.Queue.Deadline + cfg.ReadTimeout
	return srv
}

// listenUnless opens a listener unless one is given or there is to be none.
func listenUnless(given net.Listener, addr string) (net.Listener, error) {
	if given != nil || addr == "" {
		return given, nil
	}
	return httpserver.Listen(addr)
}

func (s *Service) routes() http.Handler {
	r := chi.NewRouter()
	detail := "this ingest takes no clicks: its API is off"
	if s.handler != nil {
		s.handler.Routes(r)
		detail = "clicks go to POST /v1/clicks"
	}
	r.Get("/livez", s.health.Livez)
	r.Get("/readyz", s.health.Readyz)
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) {
		(&problem.Problem{Status: http.StatusNotFound, Code: "not_found", Detail: detail}).Write(w)
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		allow := http.MethodGet
		if r.URL.Path == "/v1/clicks" {
			allow = http.MethodPost
		}
		w.Header().Set("Allow", allow)
		(&problem.Problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "the method here is " + allow}).Write(w)
	})
	return r
}

// Addr is where the service takes clicks.
func (s *Service) Addr() net.Addr { return s.listener.Addr() }

// AdminAddr is where it serves metrics and health; nil where there is no admin port.
func (s *Service) AdminAddr() net.Addr {
	if s.admin == nil {
		return nil
	}
	return s.admin.Addr()
}

// close undoes New.
func (s *Service) close() {
	if s.listener != nil {
		_ = s.listener.Close() // nobody was served yet
	}
	if s.admin != nil {
		_ = s.admin.Close() // likewise
	}
	if s.totals != nil {
		s.totals.Close()
	}
	if s.cluster != nil {
		s.cluster.Close()
	}
}

func (s *Service) checkDraining() error {
	if s.draining.Load() {
		return errDraining
	}
	return nil
}

func (s *Service) checkDeployment() error {
	if s.known.Load() {
		return nil
	}
	return fmt.Errorf("waiting for the deployment record: %w", *s.waiting.Load())
}

func (s *Service) checkProducer() error {
	if p := s.producer.Load(); p != nil {
		return p.Ready()
	}
	return nil // the check of the deployment says what is missing
}
