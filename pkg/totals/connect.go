package totals

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/redis/rueidis"
	"go.uber.org/zap"
)

// attempt is a client being made. Everybody who needs one meanwhile waits for the same.
type attempt struct {
	done chan struct{} // closed when it is over
	err  error         // read after done
}

// dialServer connects to a server, and encrypts the connection where cfg says how. It ends with the store, and it is
// bounded: the client's own first connection is not.
func (s *Store) dialServer(ctx context.Context, address string, _ *net.Dialer, cfg *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	conn, err := s.dial(ctx, "tcp", address)
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
func (s *Store) connected(ctx context.Context) (rueidis.Client, error) {
	s.mu.Lock()
	client, a := s.client, s.connecting
	if s.ctx.Err() != nil {
		s.mu.Unlock()
		return nil, ErrClosed
	}
	if client == nil && a == nil {
		a = &attempt{done: make(chan struct{})}
		s.connecting = a
		wait := time.Until(s.notBefore)
		s.running.Go(func() { s.connect(a, wait) })
	}
	s.mu.Unlock()
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
	return s.connected(ctx)
}

// connect makes a client, after a while where the last one came to nothing.
func (s *Store) connect(a *attempt, wait time.Duration) {
	defer close(a.done)
	select {
	case <-s.ctx.Done():
	case <-time.After(wait):
	}
	begun := time.Now()
	client, err := rueidis.NewClient(s.option)
	if err != nil {
		err = awayError(err)
		if client != nil {
			client.Close() // it is one that would connect later
		}
	}
	s.mu.Lock()
	s.connecting = nil
	closed := s.ctx.Err() != nil
	again := s.failures > 0
	switch {
	case closed:
	case err != nil:
		s.failed()
	default:
		s.client = client
	}
	s.mu.Unlock()
	switch {
	case closed:
		if err == nil {
			client.Close()
		}
		a.err = ErrClosed
		return
	case err == nil:
		s.log.Info("connected to redis", zap.Strings("addrs", s.cfg.Addrs))
	case !again:
		s.log.Warn("redis cannot be reached, trying again whenever it is needed", zap.Error(err))
	}
	a.err = err
	s.metrics.observe(callConnect, err, time.Since(begun))
}

const (
	firstPause = 50 * time.Millisecond
	// longestPause is short beside the two seconds in which everything is to be right again after Redis came back.
	longestPause = 500 * time.Millisecond
)

// failed puts off the next attempt, by twice as long each time. The jitter keeps the pods of a deployment from coming
// together. s.mu is held.
func (s *Store) failed() {
	pause := min(firstPause<<min(s.failures, 10), longestPause)
	s.failures++
	s.notBefore = time.Now().Add(pause/2 + rand.N(pause/2)) //nolint:gosec // spreads load; nothing depends on it being hard to guess
}

// answered notes that Redis works.
func (s *Store) answered() {
	s.mu.Lock()
	s.failures = 0
	s.mu.Unlock()
}

// giveUp closes a client that is connected to a server which was the master once, and may be for as long as the connection
// lasts: where the name of the master leads by now is only known to who connects anew.
func (s *Store) giveUp(client rueidis.Client, why error) {
	s.mu.Lock()
	mine := s.client == client && s.ctx.Err() == nil
	if mine {
		s.client = nil
		s.failed()
		s.running.Go(client.Close)
	}
	s.mu.Unlock()
	if mine {
		s.log.Warn("connecting to redis anew", zap.Error(why))
	}
}
