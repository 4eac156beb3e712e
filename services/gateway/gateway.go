// Package gateway is the service that pushes live counts to dashboards: it reads the whole log, keeps the counts of the
// links that its dashboards subscribed to, and tells each dashboard what changed, over WebSocket. Who only wants to know
// a number asks for it over plain HTTP.
//
// The service has no state that another gateway lacks: any gateway serves any dashboard, and a dashboard that comes back
// elsewhere gets the exact count there. It waits for the deployment record, which says what to read and how to count, and
// is unready until it has caught up with the log once. A broker that goes away afterwards shows in the heartbeats'
// watermark and sends no dashboard elsewhere: the others could do no better. Nor does a Redis that is away: it is needed
// only for links that nobody here watched before, which are syncing until it is back. A topic that was deleted and
// created again does make it unready, until an operator has begun a new epoch: it has nothing to tell of that one.
//
// When it is told to stop it becomes unready, refuses new dashboards, and sends the others elsewhere over the drain
// period. A new epoch of the deployment does the same to all dashboards of the old one, and counting starts afresh.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/lifecycle"
	"github.com/linkpulse/linkpulse/pkg/telemetry"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/wire"
	"github.com/linkpulse/linkpulse/services/gateway/internal/hub"
	"github.com/linkpulse/linkpulse/services/gateway/internal/rest"
	"github.com/linkpulse/linkpulse/services/gateway/internal/ws"
)

const (
	// requestGrace is how long requests that are no WebSocket may take to end once told to stop: all of them are short, but
	// for those that wait for a ticket, see grace.
	requestGrace = time.Second
	// drainMargin is what a drain may take beyond its period: the last dashboards have two seconds to answer the close.
	drainMargin = 3 * time.Second
)

// Deps are what the service uses of the process around it.
type Deps struct {
	// Log takes what happens.
	Log *zap.Logger
	// Registry takes the metrics.
	Registry *prometheus.Registry
	// Listener, unless nil, is used instead of Config.Addr, and AdminListener instead of Config.AdminAddr.
	Listener, AdminListener net.Listener
	// Dial, unless nil, makes the connections to Kafka and Redis.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Service is a gateway. Its methods are safe for concurrent use.
type Service struct {
	cfg      Config
	log      *zap.Logger
	registry *prometheus.Registry
	cluster  *kafkalog.Cluster
	totals   *totals.Store // nil where they come from the log

	listener, admin net.Listener // admin is nil where there is none
	public          *http.Server
	bounded         net.Listener // listener, within the bounds of public
	health          httpserver.Health
	ws              *ws.Handler
	rest            *rest.Handler
	page            http.Handler
	hubMetrics      *hub.Metrics
	identify        *identification // nil: authentication is off

	current  atomic.Pointer[generation]
	waiting  atomic.Pointer[error] // why there is no current generation
	draining atomic.Bool
}

var (
	errStarting = errors.New("the deployment record has not been read yet")
	errDraining = errors.New("the gateway is stopping")
)

// New returns a service that listens already and serves once Run runs. An error leaves nothing behind.
func New(cfg Config, deps Deps) (_ *Service, err error) {
	s := &Service{cfg: cfg, log: deps.Log, registry: deps.Registry}
	s.waiting.Store(&errStarting)
	defer func() {
		if err != nil {
			err = fmt.Errorf("starting the gateway: %w", errors.Join(err, s.closeListeners()))
		}
	}()
	if s.cfg.Name == "" {
		if s.cfg.Name, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("finding a name: %w", err)
		}
	}
	if s.listener, err = listen(deps.Listener, cfg.Addr); err != nil {
		return nil, err
	}
	if s.admin, err = listen(deps.AdminListener, cfg.AdminAddr); err != nil {
		return nil, err
	}
	opts := []kafkalog.Option{kafkalog.WithLogger(s.log), kafkalog.WithMetrics(s.registry)}
	if deps.Dial != nil {
		opts = append(opts, kafkalog.WithDialer(deps.Dial))
	}
	if s.cluster, err = kafkalog.Open(cfg.Kafka, opts...); err != nil {
		return nil, err
	}
	if err = s.newHandlers(deps); err == nil {
		err = s.newPublic()
	}
	if err != nil {
		s.closeStores()
		return nil, err
	}
	s.addChecks()
	return s, nil
}

// newHandlers builds what answers requests.
func (s *Service) newHandlers(deps Deps) (err error) {
	if s.page, err = s.newPage(); err != nil {
		return err
	}
	origins, hosts := s.access()
	plain := rest.Config{
		Linger: s.cfg.RestLinger, MaxLinks: s.cfg.RestLinks, MaxRequests: s.cfg.RestRequests, Origins: origins,
		HostAllowed: func(host string) bool { return ws.HostAllowed(hosts, host) }, Registry: s.registry,
	}
	socket := ws.Config{
		Join: s.join, Accepting: s.accepting, Limits: s.cfg.Access.limits(),
		Address: clientAddress, KnowsProxies: len(s.cfg.Access.TrustedProxies) > 0, QueryTokens: s.cfg.Access.QueryTokens,
		Patience: wire.SilenceBeats * s.cfg.Heartbeat, Origins: origins, Hosts: hosts,
		Log: s.log, Metrics: ws.NewMetrics(s.registry),
	}
	switch s.cfg.Access.Auth {
	case authJWT:
		if s.identify, err = s.newIdentification(deps); err != nil {
			return err
		}
		plain.Auth, socket.Auth = s.identify.checker, s.identify.checker
	case authOff:
		if !isLoopback(s.listener.Addr()) {
			s.log.Warn("authentication is off: whoever can connect sees every link")
		}
	default: // nobody is let in because nobody has said
		return fmt.Errorf("there is no way to authenticate that is called %q", s.cfg.Access.Auth)
	}
	if s.rest, err = rest.New(plain); err != nil {
		return err
	}
	s.hubMetrics = hub.NewMetrics(s.registry)
	s.ws = ws.New(socket)
	s.totals, err = s.openTotals(deps)
	return err
}

// closeStores ends the connections to what is asked and read.
func (s *Service) closeStores() {
	if s.totals != nil {
		s.totals.Close()
	}
	if s.identify != nil {
		s.identify.close()
	}
	s.cluster.Close()
}

// listen opens a listener unless one is given or there is to be none.
func listen(given net.Listener, addr string) (net.Listener, error) {
	if given != nil || addr == "" {
		return given, nil
	}
	return httpserver.Listen(addr)
}

func (s *Service) closeListeners() error {
	var errs []error
	for _, l := range []net.Listener{s.listener, s.admin} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// join gives a connection to the hub of the current epoch.
func (s *Service) join(c *ws.Conn, id *auth.Identity) (ws.Session, error) {
	if err := s.accepting(); err != nil {
		return nil, err
	}
	g := s.current.Load()
	if g == nil {
		return nil, ws.ErrUnavailable
	}
	return g.hub.Join(c, id)
}

// accepting tells why no dashboard can connect now.
func (s *Service) accepting() error {
	switch {
	case s.draining.Load():
		return fmt.Errorf("%w: %w", ws.ErrUnavailable, errDraining)
	case s.current.Load() == nil:
		return fmt.Errorf("%w: %w", ws.ErrUnavailable, *s.waiting.Load())
	case s.identify != nil:
		if err := s.identify.ready(); err != nil {
			return fmt.Errorf("%w: %w", ws.ErrUnavailable, err)
		}
	}
	return nil
}

// addChecks says what readiness is.
func (s *Service) addChecks() {
	s.health.Add("deployment", func() error {
		if s.current.Load() == nil {
			return *s.waiting.Load()
		}
		return nil
	})
	s.health.Add("counts", func() error {
		if g := s.current.Load(); g != nil {
			return g.counts.Ready()
		}
		return nil // the check above says it
	})
	if s.identify != nil {
		s.health.Add("auth", s.identify.ready)
	}
	s.health.Add("drain", func() error {
		if s.draining.Load() {
			return errDraining
		}
		return nil
	})
}

// Addr is where dashboards connect.
func (s *Service) Addr() net.Addr { return s.listener.Addr() }

// AdminAddr is where metrics and health are, nil where they are not served.
func (s *Service) AdminAddr() net.Addr {
	if s.admin == nil {
		return nil
	}
	return s.admin.Addr()
}

// Run serves until ctx ends and dashboards have been sent elsewhere, or something fails for good. It is to be called
// once. No goroutine is left behind.
func (s *Service) Run(ctx context.Context) error {
	defer s.closeStores()
	tasks := []lifecycle.Task{
		{Name: "public server", Run: func(work context.Context) error {
			return httpserver.Serve(work, s.public, s.bounded, s.grace())
		}},
		{Name: "counts", Run: s.count},
		{Name: "drain", Run: func(work context.Context) error {
			select {
			case <-ctx.Done():
				s.drain(work)
			case <-work.Done():
			}
			return nil
		}},
	}
	if s.identify != nil {
		tasks = append(tasks, s.identificationTasks()...)
	}
	if s.admin != nil {
		handler := telemetry.AdminHandler(s.registry, &s.health, s.cfg.Profiles)
		tasks = append(tasks, lifecycle.Task{Name: "admin server", Run: func(work context.Context) error {
			return httpserver.Serve(work, httpserver.New(handler, s.log), s.admin, requestGrace)
		}})
	}
	s.log.Info("gateway is up", zap.String("name", s.cfg.Name), zap.Stringer("addr", s.listener.Addr()))
	err := lifecycle.RunAll(context.WithoutCancel(ctx), tasks...) // the end of the drain ends the others
	s.ws.Wait()
	s.log.Info("gateway has stopped", zap.Error(err))
	return err
}

// grace is how long requests may take to end: one that asks Redis for a ticket, or gives one back, waits for as long as a call
// of Redis may take. A gateway that stopped sooner would say that it had failed.
func (s *Service) grace() time.Duration {
	if s.identify == nil || s.identify.tickets == nil {
		return requestGrace
	}
	return requestGrace + s.cfg.Redis.Timeout
}

// drain sends the dashboards elsewhere.
func (s *Service) drain(work context.Context) {
	s.draining.Store(true)
	s.ws.Dismiss()
	g := s.current.Load()
	if g == nil {
		return
	}
	s.log.Info("draining", zap.Int("connections", s.ws.Open()), zap.Duration("over", s.cfg.Drain))
	ctx, cancel := context.WithTimeout(work, s.cfg.Drain+drainMargin)
	defer cancel()
	if err := g.hub.Drain(ctx, wire.ReasonDrain, s.cfg.Drain); err != nil {
		s.log.Warn("dashboards did not leave in time", zap.Error(err), zap.Int("connections", s.ws.Open()))
	}
}
