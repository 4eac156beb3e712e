// Package redisdev is the embedded Redis of `linkpulse dev` and of the simulations: miniredis, behind a listener that can
// be in memory, so that every other part runs the code that it runs in production.
//
// It lives in memory and ends with the process. That loses nothing: the tally finds no totals and counts the log again.
package redisdev

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// Config of an embedded Redis.
type Config struct {
	// Addr is where it listens; port 0 takes a free one.
	Addr string
	// Listen opens a listener; nil is net.Listen.
	Listen func(network, address string) (net.Listener, error)
}

// Redis is a running embedded Redis. Its methods are safe for concurrent use.
type Redis struct {
	server   *miniredis.Miniredis
	listener net.Listener
	serving  sync.WaitGroup

	mu     sync.Mutex // guards conns
	conns  map[net.Conn]struct{}
	closed bool

	stop chan struct{} // closed by Close
}

// tick is how often keys expire, which are kept for hours. Miniredis's own clock would look at every key before every
// command.
const tick = time.Second

// Start starts a Redis that is empty.
func Start(cfg Config) (*Redis, error) {
	if cfg.Listen == nil {
		cfg.Listen = net.Listen
	}
	l, err := cfg.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("starting the embedded redis: %w", err)
	}
	r := &Redis{server: miniredis.NewMiniRedis(), listener: l, conns: make(map[net.Conn]struct{}), stop: make(chan struct{})}
	r.serving.Go(r.accept)
	r.serving.Go(r.expire)
	return r, nil
}

// Addr is where it listens.
func (r *Redis) Addr() string { return r.listener.Addr().String() }

// Server gives access to what is stored and to miniredis's faults, for tests.
func (r *Redis) Server() *miniredis.Miniredis { return r.server }

// Close stops it and forgets everything.
func (r *Redis) Close() {
	_ = r.listener.Close() // it only ends Accept
	r.mu.Lock()
	if !r.closed {
		close(r.stop)
	}
	r.closed = true
	for c := range r.conns {
		_ = c.Close() // likewise ends its copies
	}
	r.mu.Unlock()
	r.serving.Wait()
	r.server.Close()
}

func (r *Redis) expire() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			r.server.FastForward(tick)
		case <-r.stop:
			return
		}
	}
}

func (r *Redis) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.serving.Go(func() { r.serve(conn) })
	}
}

// serve joins a connection to one of miniredis, which makes its own.
func (r *Redis) serve(conn net.Conn) {
	inner, err := r.server.Dial()
	if err != nil || !r.keep(conn) {
		_ = conn.Close() // nothing was said on it
		return
	}
	defer r.forget(conn)
	// Whichever side ends first ends the other.
	var copying sync.WaitGroup
	join := func(to, from net.Conn) {
		_, _ = io.Copy(to, from) // the peers hear of the end on their own side
		_ = conn.Close()
		_ = inner.Close()
	}
	copying.Go(func() { join(inner, conn) })
	copying.Go(func() { join(conn, inner) })
	copying.Wait()
}

func (r *Redis) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.conns[c] = struct{}{}
	}
	return !r.closed
}

func (r *Redis) forget(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}
