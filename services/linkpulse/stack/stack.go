// Package stack composes the whole of Linkpulse in one process: a broker, a Redis, an ingest, any number of gateways and
// of further tallies. It is what `linkpulse dev` runs and what the end-to-end tests run, on real sockets or on a network in memory, against the
// embedded broker or against a real Kafka. Nothing here is a special case of the services: they are composed through
// the same New, Run and Addr that their own mains use.
package stack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/broker"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/redisdev"
)

// Network is how the stack reaches and offers addresses. The zero value is the machine's own network.
type Network struct {
	// Listen opens a listener; nil is net.Listen.
	Listen func(network, address string) (net.Listener, error)
	// Dial opens a connection; nil is net.Dialer.
	Dial Dialer
	// DialAs, unless nil, returns what a part dials with, by the part's name (ingest, tally-1, gateway-1, …), so that
	// they can be told apart on the network.
	DialAs func(part string) Dialer
}

// Dialer opens a connection.
type Dialer = func(ctx context.Context, network, address string) (net.Conn, error)

// dialer returns what a part dials with.
func (n Network) dialer(part string) Dialer {
	if n.DialAs != nil {
		return n.DialAs(part)
	}
	return n.Dial
}

// Config of a stack. Addresses are host:port; port 0 takes a free one, which a restart of the part keeps.
type Config struct {
	// Log takes everybody's lines, each under the name of its part. Nil is silence.
	Log *zap.Logger
	// Net is the network; the zero value is the machine's.
	Net Network
	// Kafka to use. Where it names no brokers, an embedded one is started.
	Kafka kafkalog.Config
	// Redis to use. Where it names no addresses, an embedded one is started at RedisAddr; a free port of 127.0.0.1 where
	// that is empty.
	Redis     totals.Config
	RedisAddr string
	// Broker configures the embedded broker.
	Broker broker.Config
	// Deployment is created where it is not there yet; the zero value is the default one.
	Deployment deployment.Record
	// Topics says how the topics are created; the zero value is for one broker.
	Topics deployment.Topics
	// IngestAddr is where ingest listens. KeysFile has the API keys of those who may send it clicks; empty: everybody may.
	IngestAddr, KeysFile string
	// TallyAddrs has an address per ingest that only tallies: together with the first one they share the partitions.
	TallyAddrs []string
	// GatewayAddrs has an address per gateway.
	GatewayAddrs []string
	// Heartbeat and Drain are the gateways'; 0 is their default.
	Heartbeat, Drain time.Duration
	// GatewayArgs are more settings of the gateways, which win over those that the stack gives them: it switches
	// authentication and the limits of addresses and handshakes off.
	GatewayArgs []string
	// PageLinks are the links that the gateways' page shows when its URL names none.
	PageLinks []string
	// PageToken is a token that the page of those gateways carries that listen on loopback; empty: none does.
	PageToken string
}

// redisTimeout bounds a call of the embedded Redis, as the services' default does.
const redisTimeout = 2 * time.Second

// Stack is a running system. Its methods are safe for concurrent use.
type Stack struct {
	cfg      Config
	broker   *broker.Broker  // nil with a Kafka of somebody else's
	redis    *redisdev.Redis // nil with a Redis of somebody else's
	ingest   *node
	tallies  []*node
	gateways []*node
	failures chan error // the first failure of a part that nobody had stopped; bound 1, later ones are dropped
}

// Start starts everything and returns when every part says that it is ready. ctx bounds the start, not the life of the
// stack: that ends with Stop. What an error leaves behind has been stopped.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Net.Listen == nil {
		cfg.Net.Listen = net.Listen
	}
	if cfg.Net.Dial == nil {
		cfg.Net.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Deployment == (deployment.Record{}) {
		cfg.Deployment = deployment.Default()
	}
	if cfg.Topics == (deployment.Topics{}) {
		cfg.Topics = deployment.Topics{Replicas: 1, MinInsync: 1, Retention: deployment.DefaultRetention}
	}
	s := &Stack{cfg: cfg, failures: make(chan error, 1)}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Stack) start(ctx context.Context) error {
	if len(s.cfg.Kafka.Brokers) == 0 {
		s.cfg.Broker.Listen = s.cfg.Net.Listen
		b, err := broker.Start(s.cfg.Broker)
		if err != nil {
			return err
		}
		s.broker = b
		s.cfg.Kafka.Brokers = b.Addrs()
	}
	if err := s.startRedis(); err != nil {
		return err
	}
	if err := s.init(ctx); err != nil {
		return fmt.Errorf("creating topics and deployment record: %w", err)
	}
	s.ingest = s.newIngest()
	for i := range s.cfg.TallyAddrs {
		s.tallies = append(s.tallies, s.newTally(i))
	}
	for i := range s.cfg.GatewayAddrs {
		s.gateways = append(s.gateways, s.newGateway(i))
	}
	for _, n := range s.nodes() {
		if err := n.start(ctx); err != nil {
			return err
		}
	}
	for _, n := range s.nodes() {
		if err := s.awaitReady(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) startRedis() (err error) {
	if len(s.cfg.Redis.Addrs) > 0 {
		return nil
	}
	if s.cfg.RedisAddr == "" {
		s.cfg.RedisAddr = "127.0.0.1:0"
	}
	s.redis, err = redisdev.Start(redisdev.Config{Addr: s.cfg.RedisAddr, Listen: s.cfg.Net.Listen})
	if err == nil {
		s.cfg.Redis = totals.Config{Addrs: []string{s.redis.Addr()}, Prefix: "linkpulse", Timeout: redisTimeout}
	}
	return err
}

func (s *Stack) init(ctx context.Context) error {
	cluster, err := s.OpenKafka("init")
	if err != nil {
		return err
	}
	defer cluster.Close()
	_, err = deployment.Init(ctx, cluster, s.cfg.Deployment, s.cfg.Topics)
	return err
}

// OpenKafka opens a client of the stack's Kafka for the caller, who closes it.
func (s *Stack) OpenKafka(name string) (*kafkalog.Cluster, error) {
	return kafkalog.Open(s.cfg.Kafka,
		kafkalog.WithDialer(s.cfg.Net.Dial), kafkalog.WithLogger(s.cfg.Log.Named(name)))
}

// Ingest returns the base URL of ingest.
func (s *Stack) Ingest() string { return s.ingest.url() }

// Gateways returns the base URLs of the gateways.
func (s *Stack) Gateways() []string {
	urls := make([]string, len(s.gateways))
	for i, g := range s.gateways {
		urls[i] = g.url()
	}
	return urls
}

// Kafka returns the addresses to bootstrap from.
func (s *Stack) Kafka() []string { return s.cfg.Kafka.Brokers }

// Broker is the embedded broker, nil with a Kafka of somebody else's.
func (s *Stack) Broker() *broker.Broker { return s.broker }

// OpenRedis opens a client of the stack's Redis for the caller, who closes it.
func (s *Stack) OpenRedis(name string) (*totals.Store, error) {
	return totals.Open(s.cfg.Redis, totals.WithDialer(s.cfg.Net.Dial), totals.WithLogger(s.cfg.Log.Named(name)))
}

// RedisAddrs returns the addresses of Redis.
func (s *Stack) RedisAddrs() []string { return s.cfg.Redis.Addrs }

// Redis is the embedded Redis, nil with a Redis of somebody else's.
func (s *Stack) Redis() *redisdev.Redis { return s.redis }

// Failures delivers the first failure of a part that nobody had stopped.
func (s *Stack) Failures() <-chan error { return s.failures }

// StopIngest drains and stops ingest; ctx bounds the wait.
func (s *Stack) StopIngest(ctx context.Context) error { return s.ingest.stop(ctx) }

// StartIngest starts an ingest that was stopped, at the same address, and waits until it is ready.
func (s *Stack) StartIngest(ctx context.Context) error { return s.restart(ctx, s.ingest) }

// StopTally stops the tally with index i; ctx bounds the wait.
func (s *Stack) StopTally(ctx context.Context, i int) error { return s.tallies[i].stop(ctx) }

// StartTally starts a tally that was stopped, at the same address, and waits until it is ready.
func (s *Stack) StartTally(ctx context.Context, i int) error { return s.restart(ctx, s.tallies[i]) }

// StopGateway drains and stops the gateway with index i; ctx bounds the wait.
func (s *Stack) StopGateway(ctx context.Context, i int) error { return s.gateways[i].stop(ctx) }

// StartGateway starts a gateway that was stopped, at the same address, and waits until it is ready.
func (s *Stack) StartGateway(ctx context.Context, i int) error { return s.restart(ctx, s.gateways[i]) }

func (s *Stack) restart(ctx context.Context, n *node) error {
	if err := n.start(ctx); err != nil {
		return err
	}
	return s.awaitReady(ctx, n)
}

// Stop drains and stops everything: ingest first, so that what it accepted is in the log, then the tallies and gateways,
// all at once, then Redis and the broker. It may be called again.
func (s *Stack) Stop(ctx context.Context) error {
	var errs []error
	if s.ingest != nil {
		errs = append(errs, s.ingest.stop(ctx))
	}
	others := append(append([]*node(nil), s.tallies...), s.gateways...)
	stopped := make(chan error, len(others))
	for _, n := range others {
		go func() { stopped <- n.stop(ctx) }()
	}
	for range others {
		errs = append(errs, <-stopped)
	}
	if s.redis != nil {
		s.redis.Close()
		s.redis = nil
	}
	if s.broker != nil {
		s.broker.Close()
		s.broker = nil
	}
	return errors.Join(errs...)
}

// Gatherer returns the metrics of every part, each with the label "part" (ingest, gateway-1, …).
func (s *Stack) Gatherer() prometheus.Gatherer {
	var all prometheus.Gatherers
	for _, n := range s.nodes() {
		all = append(all, n)
	}
	return all
}

func (s *Stack) nodes() []*node {
	return append(append([]*node{s.ingest}, s.tallies...), s.gateways...)
}

// GatewayMetrics returns the metrics of the gateway with index i, as Gatherer does.
func (s *Stack) GatewayMetrics(i int) prometheus.Gatherer { return s.gateways[i] }
