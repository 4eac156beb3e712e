package redisconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// Client is a client of Redis that connects when it is needed, and again when the connection was lost. It is safe for
// concurrent use; calls that come together share round trips.
type Client struct {
	cfg      Config
	option   rueidis.ClientOption
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	log      *zap.Logger
	attempts func(err error, took time.Duration)

	// ctx ends with Close, and with it whatever connects or waits to.
	ctx     context.Context //nolint:containedctx // the life of the client, not of a call
	end     context.CancelFunc
	running sync.WaitGroup // attempts to connect, and clients that are being closed

	mu         sync.Mutex     // guards what follows; never held across I/O
	client     rueidis.Client // nil until the first connection, and after one that had to be given up
	connecting *attempt       // nil: nobody is
	failures   int            // attempts and connections that came to nothing since the last call that was answered
	notBefore  time.Time      // of the next attempt
}

// attempt is a client being made. Everybody who needs one meanwhile waits for the same.
type attempt struct {
	done chan struct{} // closed when it is over
	err  error         // read after done
}

// Call runs f with a client that is connected, and bounds it. What f returns is taken for an error of Redis or of the way
// to it, and comes back as an *[AwayError]; what f has to say of the data is not for it to return. After Close the error
// is ErrClosed.
func (c *Client) Call(ctx context.Context, limit time.Duration, f func(context.Context, rueidis.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	client, err := c.connected(ctx)
	if err != nil {
		return err
	}
	return c.judge(f(ctx, client), client)
}

// judge makes one of this package's errors of err, and gives the client up where others would fare no better with it.
func (c *Client) judge(err error, client rueidis.Client) error {
	if err == nil {
		c.answered()
		return nil
	}
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	away := awayError(err)
	if away.Reason == ReadOnly && !c.cfg.Cluster { // a cluster's client is told where to go instead
		c.giveUp(client, away)
	}
	return away
}

// dialServer connects to a server, and encrypts the connection where cfg says how. It ends with the client, and it is
// bounded: the client's own first connection is not.
func (c *Client) dialServer(ctx context.Context, address string, _ *net.Dialer, cfg *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	conn, err := c.dial(ctx, "tcp", address)
	if err != nil || cfg == nil {
		return conn, err
	}
	return handshake(ctx, conn, cfg, address)
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
		return nil, errors.Join(fmt.Errorf("tls: %w", err), conn.Close())
	}
	return secure, nil
}

// connected returns the client. The first caller starts to connect, the others wait with it. Each waits for one attempt
// and no more: whether to try again is for the caller to know.
func (c *Client) connected(ctx context.Context) (rueidis.Client, error) {
	c.mu.Lock()
	client, a := c.client, c.connecting
	if c.ctx.Err() != nil {
		c.mu.Unlock()
		return nil, ErrClosed
	}
	if client == nil && a == nil {
		a = &attempt{done: make(chan struct{})}
		c.connecting = a
		wait := time.Until(c.notBefore)
		c.running.Go(func() { c.connect(a, wait) })
	}
	c.mu.Unlock()
	if client != nil {
		return client, nil
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		return nil, awayError(context.Cause(ctx))
	}
	if a.err != nil {
		return nil, a.err
	}
	return c.connected(ctx)
}

// connect makes a client, after a while where the last one came to nothing.
func (c *Client) connect(a *attempt, wait time.Duration) {
	defer close(a.done)
	select {
	case <-c.ctx.Done():
	case <-time.After(wait):
	}
	begun := time.Now()
	client, err := rueidis.NewClient(c.option)
	if err != nil {
		err = awayError(err)
		if client != nil {
			client.Close() // it is one that would connect later
		}
	}
	c.mu.Lock()
	c.connecting = nil
	closed := c.ctx.Err() != nil
	again := c.failures > 0
	switch {
	case closed:
	case err != nil:
		c.failed()
	default:
		c.client = client
	}
	c.mu.Unlock()
	switch {
	case closed:
		if err == nil {
			client.Close()
		}
		a.err = ErrClosed
		return
	case err == nil:
		c.log.Info("connected to redis", zap.Strings("addrs", c.cfg.Addrs))
	case !again:
		c.log.Warn("redis cannot be reached, trying again whenever it is needed", zap.Error(err))
	}
	a.err = err
	c.attempts(err, time.Since(begun))
}

const (
	firstPause = 50 * time.Millisecond
	// longestPause is short beside the two seconds in which everything is to be right again after Redis came back.
	longestPause = 500 * time.Millisecond
)

// failed puts off the next attempt, by twice as long each time. The jitter keeps the pods of a deployment from coming
// together. c.mu is held.
func (c *Client) failed() {
	pause := min(firstPause<<min(c.failures, 10), longestPause)
	c.failures++
	c.notBefore = time.Now().Add(pause/2 + rand.N(pause/2)) //nolint:gosec // spreads load; nothing depends on it being hard to guess
}

// answered notes that Redis works.
func (c *Client) answered() {
	c.mu.Lock()
	c.failures = 0
	c.mu.Unlock()
}

// giveUp closes a client that is connected to a server which was the master once, and may be for as long as the connection
// lasts: where the name of the master leads by now is only known to who connects anew.
func (c *Client) giveUp(client rueidis.Client, why error) {
	c.mu.Lock()
	mine := c.client == client && c.ctx.Err() == nil
	if mine {
		c.client = nil
		c.failed()
		c.running.Go(client.Close)
	}
	c.mu.Unlock()
	if mine {
		c.log.Warn("connecting to redis anew", zap.Error(why))
	}
}
