package totals

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// Store is a connection to Redis that is made when it is needed and made again when it was lost. It is safe for
// concurrent use; calls that come together share round trips.
type Store struct {
	cfg     Config
	option  rueidis.ClientOption
	log     *zap.Logger
	metrics *metrics

	apply, history, restore *rueidis.Lua

	mu         sync.Mutex     // guards what follows; never held across I/O
	client     rueidis.Client // nil until the first connection
	connecting *attempt       // nil: nobody is
	closed     bool
}

// attempt is the first connection being made.
type attempt struct {
	done chan struct{} // closed when it is over
	err  error         // read after done
}

// Option changes how a store is opened.
type Option func(*Store)

// WithDialer makes connections with dial.
func WithDialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return func(s *Store) {
		s.option.DialCtxFn = func(ctx context.Context, address string, _ *net.Dialer, cfg *tls.Config) (net.Conn, error) {
			conn, err := dial(ctx, "tcp", address)
			if err != nil || cfg == nil {
				return conn, err
			}
			return handshake(ctx, conn, cfg, address)
		}
	}
}

func handshake(ctx context.Context, conn net.Conn, cfg *tls.Config, address string) (net.Conn, error) {
	if cfg.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// WithLogger logs to log; the default is silence.
func WithLogger(log *zap.Logger) Option { return func(s *Store) { s.log = log } }

// WithMetrics registers metrics with registry; the default is not to.
func WithMetrics(registry prometheus.Registerer) Option {
	return func(s *Store) { s.metrics = newMetrics(registry) }
}

const (
	// keepAlive is how often an idle connection is asked whether it still lives.
	keepAlive = time.Second
	// bufferSize of a connection, each way. Batches and answers are tens of kilobytes.
	bufferSize = 64 << 10
)

// Open returns a store. It reads the files that cfg names and does no other I/O: a Redis that is away shows in the first
// call.
func Open(cfg Config, opts ...Option) (*Store, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("opening redis: %w", err)
	}
	tlsConfig, err := cfg.tlsConfig()
	if err != nil {
		return nil, fmt.Errorf("opening redis: %w", err)
	}
	s := &Store{
		cfg: cfg, log: zap.NewNop(),
		apply: rueidis.NewLuaScript(applyScript), restore: rueidis.NewLuaScript(restoreScript),
		history: rueidis.NewLuaScriptRetryable(historyScript), // it only reads
	}
	s.option = rueidis.ClientOption{
		InitAddress: cfg.Addrs, SelectDB: cfg.DB, Username: cfg.Username, Password: cfg.Password, TLSConfig: tlsConfig,
		Sentinel:          rueidis.SentinelOption{MasterSet: cfg.MasterName, TLSConfig: sentinelTLS(cfg, tlsConfig)},
		ForceSingleClient: !cfg.Cluster && cfg.MasterName == "",
		Dialer:            net.Dialer{Timeout: cfg.Timeout, KeepAlive: keepAlive},
		ConnWriteTimeout:  cfg.Timeout, // ends the wait for a peer that is there and says nothing
		ClientName:        "linkpulse", ClientSetInfo: rueidis.DisableClientSetInfo, DisableCache: true,
		ReadBufferEachConn: bufferSize, WriteBufferEachConn: bufferSize, PipelineMultiplex: -1,
		AlwaysPipelining: true, // else whoever calls while another's call is out waits a round trip for it
	}
	for _, o := range opts {
		o(s)
	}
	if s.metrics == nil {
		s.metrics = newMetrics(nil)
	}
	return s, nil
}

func sentinelTLS(cfg Config, c *tls.Config) *tls.Config {
	if cfg.MasterName == "" {
		return nil
	}
	return c
}

// Close ends the connections. Calls under way fail.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	client := s.client
	connecting := s.connecting
	s.mu.Unlock()
	if connecting != nil {
		<-connecting.done // it is bounded by the dialer's timeout, and closes what it made
	}
	if client != nil {
		client.Close()
	}
}

// connected returns the client. The first caller starts to connect, the others wait with it.
func (s *Store) connected(ctx context.Context) (rueidis.Client, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if s.client != nil {
		client := s.client
		s.mu.Unlock()
		return client, nil
	}
	a := s.connecting
	if a == nil {
		a = &attempt{done: make(chan struct{})}
		s.connecting = a
		go s.connect(a)
	}
	s.mu.Unlock()
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, fmt.Errorf("connecting to redis: %w", context.Cause(ctx))
	}
	if a.err != nil {
		return nil, a.err
	}
	return s.connected(ctx)
}

func (s *Store) connect(a *attempt) {
	client, err := rueidis.NewClient(s.option)
	s.mu.Lock()
	s.connecting = nil
	closed := s.closed
	if err == nil && !closed {
		s.client = client
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		a.err = fmt.Errorf("connecting to redis: %w", err)
	case closed:
		client.Close()
		a.err = ErrClosed
	default:
		s.log.Info("connected to redis", zap.Strings("addrs", s.cfg.Addrs))
	}
	close(a.done)
}

// longCall bounds what an operator asks for: all of a partition.
const longCall = 2 * time.Minute

// call runs f with the client, bounds it, and counts it under a name.
func (s *Store) call(ctx context.Context, name string, f func(context.Context, rueidis.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	return s.run(ctx, name, f)
}

// callLong is call with more time.
func (s *Store) callLong(ctx context.Context, name string, f func(context.Context, rueidis.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, longCall)
	defer cancel()
	return s.run(ctx, name, f)
}

func (s *Store) run(ctx context.Context, name string, f func(context.Context, rueidis.Client) error) error {
	begun := time.Now()
	client, err := s.connected(ctx)
	if err == nil {
		err = f(ctx, client)
	}
	s.metrics.observe(name, err, time.Since(begun))
	return err
}
