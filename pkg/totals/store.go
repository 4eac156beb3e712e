package totals

import (
	"context"
	"crypto/tls"
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
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	log     *zap.Logger
	metrics *metrics

	apply, history, restore *rueidis.Lua

	// ctx ends with Close, and with it whatever connects or waits to.
	ctx     context.Context //nolint:containedctx // the life of the store, not of a call
	end     context.CancelFunc
	running sync.WaitGroup // attempts to connect, and clients that are being closed

	calls connection // of services: short, and they share one connection to a server
	long  connection // of operators: an answer of seconds would be taken for silence on the other
}

// Option changes how a store is opened.
type Option func(*Store)

// WithDialer makes connections with dial. Encryption, where it is configured, is put on top.
func WithDialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return func(s *Store) { s.dial = dial }
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
	// masterCheck is how often the Sentinels are asked who the master is. They announce a new one too, once, and to whoever
	// is connected at that moment.
	masterCheck = time.Second
	// bufferSize of a connection, each way. Batches and answers are tens of kilobytes.
	bufferSize = 64 << 10
	// clientName is what Redis shows in its list of clients.
	clientName = "linkpulse"
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
		cfg: cfg, log: zap.NewNop(), dial: (&net.Dialer{KeepAlive: keepAlive}).DialContext,
		apply: rueidis.NewLuaScript(applyScript), restore: rueidis.NewLuaScript(restoreScript),
		history: rueidis.NewLuaScriptRetryable(historyScript), // it only reads
	}
	s.ctx, s.end = context.WithCancel(context.Background()) //nolint:forbidigo // the root of what lives until Close
	s.calls = connection{store: s, option: s.clientOption(tlsConfig, cfg.Timeout)}
	s.long = connection{store: s, option: s.clientOption(tlsConfig, longCall)}
	for _, o := range opts {
		o(s)
	}
	if s.metrics == nil {
		s.metrics = newMetrics(nil)
	}
	return s, nil
}

// clientOption configures a client. Silence is how long a server that is there may say nothing while it is asked.
func (s *Store) clientOption(tlsConfig *tls.Config, silence time.Duration) rueidis.ClientOption {
	cfg := s.cfg
	dialer := net.Dialer{Timeout: cfg.Timeout, KeepAlive: keepAlive} // the client reads its bounds from there
	o := rueidis.ClientOption{
		InitAddress: cfg.Addrs, SelectDB: cfg.DB, Username: cfg.Username, Password: cfg.Password, TLSConfig: tlsConfig,
		ForceSingleClient: !cfg.Cluster && cfg.MasterName == "",
		DialCtxFn:         s.dialServer, Dialer: dialer,
		ConnWriteTimeout: silence, ClientName: clientName, ClientSetInfo: rueidis.DisableClientSetInfo, DisableCache: true,
		ReadBufferEachConn: bufferSize, WriteBufferEachConn: bufferSize, PipelineMultiplex: -1,
		AlwaysPipelining: true, // else whoever calls while another's call is out waits a round trip for it
	}
	if cfg.MasterName != "" {
		o.Sentinel = rueidis.SentinelOption{
			MasterSet: cfg.MasterName, Dialer: dialer, TLSConfig: tlsConfig, ClientName: clientName,
			Username: cfg.SentinelUsername, Password: cfg.SentinelPassword, TopologyRefreshInterval: masterCheck,
		}
	}
	return o
}

// Close ends the connections. Calls under way fail. It waits for an answer of Redis for a second at most.
func (s *Store) Close() {
	s.end()
	s.calls.close()
	s.long.close()
	s.running.Wait()
}

// longCall bounds what an operator asks for: all of a partition.
const longCall = 2 * time.Minute

// call runs f with the client, bounds it, and counts it under a name.
func (s *Store) call(ctx context.Context, name callName, f func(context.Context, rueidis.Client) error) error {
	return s.calls.call(ctx, s.cfg.Timeout, name, f)
}

// callLong is call with more time.
func (s *Store) callLong(ctx context.Context, name callName, f func(context.Context, rueidis.Client) error) error {
	return s.long.call(ctx, longCall, name, f)
}
