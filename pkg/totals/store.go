package totals

import (
	"context"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/redisconn"
)

// Config says how to reach Redis.
type Config = redisconn.Config

// Store is the totals in a Redis, which is connected to when it is needed. It is safe for concurrent use; calls that come
// together share round trips.
type Store struct {
	cfg     Config
	metrics *metrics

	apply, history, restore *rueidis.Lua

	calls *redisconn.Client // of services: short, and they share one connection to a server
	long  *redisconn.Client // of operators: an answer of seconds would be taken for silence on the other
}

// options are what an Option changes.
type options struct {
	redis    []redisconn.Option
	registry prometheus.Registerer
}

// Option changes how a store is opened.
type Option func(*options)

// WithDialer makes connections with dial. Encryption, where it is configured, is put on top.
func WithDialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return func(o *options) { o.redis = append(o.redis, redisconn.WithDialer(dial)) }
}

// WithLogger logs to log; the default is silence.
func WithLogger(log *zap.Logger) Option {
	return func(o *options) { o.redis = append(o.redis, redisconn.WithLogger(log)) }
}

// WithMetrics registers metrics with registry; the default is not to.
func WithMetrics(registry prometheus.Registerer) Option {
	return func(o *options) { o.registry = registry }
}

// Open returns a store. It reads the files that cfg names and does no other I/O: a Redis that is away shows in the first
// call.
func Open(cfg Config, opts ...Option) (*Store, error) {
	var o options
	for _, change := range opts {
		change(&o)
	}
	s := &Store{
		cfg:   cfg,
		apply: rueidis.NewLuaScript(applyScript), restore: rueidis.NewLuaScript(restoreScript),
		history: rueidis.NewLuaScriptRetryable(historyScript), // it only reads
	}
	o.redis = append(o.redis, redisconn.WithAttempts(func(err error, took time.Duration) { s.metrics.observe(callConnect, err, took) }))
	var err error
	if s.calls, err = redisconn.Open(cfg, o.redis...); err != nil {
		return nil, err
	}
	if s.long, err = redisconn.Open(cfg, append(o.redis, redisconn.WithSilence(longCall))...); err != nil {
		s.calls.Close()
		return nil, err
	}
	s.metrics = newMetrics(o.registry)
	return s, nil
}

// Close ends the connections. Calls under way fail. It waits for an answer of Redis for a second at most.
func (s *Store) Close() {
	s.calls.Close()
	s.long.Close()
}

// longCall bounds what an operator asks for: all of a partition.
const longCall = 2 * time.Minute

// call runs f with the client, bounds it, and counts it under a name.
func (s *Store) call(ctx context.Context, name callName, f func(context.Context, rueidis.Client) error) error {
	return s.callOn(ctx, s.calls, s.cfg.Timeout, name, f)
}

// callLong is call with more time.
func (s *Store) callLong(ctx context.Context, name callName, f func(context.Context, rueidis.Client) error) error {
	return s.callOn(ctx, s.long, longCall, name, f)
}

func (s *Store) callOn(
	ctx context.Context, c *redisconn.Client, limit time.Duration, name callName, f func(context.Context, rueidis.Client) error,
) error {
	begun := time.Now()
	var verdict error // which says that Redis works
	err := c.Call(ctx, limit, func(ctx context.Context, client rueidis.Client) error {
		err := f(ctx, client)
		if isVerdict(err) {
			verdict = err
			return nil
		}
		return err
	})
	if err == nil {
		err = verdict
	}
	s.metrics.observe(name, err, time.Since(begun))
	return err
}
