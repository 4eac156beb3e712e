package redisconn

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// Option changes how a client is opened.
type Option func(*Client)

// WithDialer makes connections with dial. Encryption, where it is configured, is put on top.
func WithDialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return func(c *Client) { c.dial = dial }
}

// WithLogger logs to log; the default is silence.
func WithLogger(log *zap.Logger) Option { return func(c *Client) { c.log = log } }

// WithAttempts is told of each attempt to connect: how it ended and how long it took.
func WithAttempts(observe func(err error, took time.Duration)) Option {
	return func(c *Client) { c.attempts = observe }
}

// WithSilence bounds how long a server that is there may say nothing while it is asked, instead of the timeout of the
// configuration. An answer that takes longer is taken for a connection that is lost.
func WithSilence(silence time.Duration) Option {
	return func(c *Client) { c.option.ConnWriteTimeout = silence }
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

// Open returns a client. It reads the files that cfg names and does no other I/O: a Redis that is away shows in the first
// call.
func Open(cfg Config, opts ...Option) (*Client, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("opening redis: %w", err)
	}
	tlsConfig, err := cfg.TLS.Load()
	if err != nil {
		return nil, fmt.Errorf("opening redis: TLS: %w", err)
	}
	c := &Client{
		cfg: cfg, log: zap.NewNop(), dial: (&net.Dialer{KeepAlive: keepAlive}).DialContext, attempts: func(error, time.Duration) {},
	}
	c.ctx, c.end = context.WithCancel(context.Background()) //nolint:forbidigo // the root of what lives until Close
	c.option = c.clientOption(tlsConfig)
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// clientOption configures the library.
func (c *Client) clientOption(tlsConfig *tls.Config) rueidis.ClientOption {
	cfg := c.cfg
	dialer := net.Dialer{Timeout: cfg.Timeout, KeepAlive: keepAlive} // the client reads its bounds from there
	o := rueidis.ClientOption{
		InitAddress: cfg.Addrs, SelectDB: cfg.DB, Username: cfg.Username, Password: cfg.Password, TLSConfig: tlsConfig,
		ForceSingleClient: !cfg.Cluster && cfg.MasterName == "",
		DialCtxFn:         c.dialServer, Dialer: dialer,
		ConnWriteTimeout: cfg.Timeout, ClientName: clientName, ClientSetInfo: rueidis.DisableClientSetInfo, DisableCache: true,
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
func (c *Client) Close() {
	c.end()
	c.mu.Lock()
	client := c.client
	c.client = nil
	c.mu.Unlock()
	if client != nil {
		client.Close()
	}
	c.running.Wait()
}
