// Package totalstest is a Redis in memory, with the faults of a real one, for tests of what reads and writes totals. It
// works inside a synctest bubble.
package totalstest

import (
	"context"
	"errors"
	"maps"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Addr is where the Redis is, for configurations that must name it.
const Addr = "redis:6379"

// Redis is a server in memory. Its own methods are safe for concurrent use, and so are those of Miniredis.
type Redis struct {
	*miniredis.Miniredis

	mu       sync.Mutex // guards what follows
	conns    map[*conn]struct{}
	away     bool
	mute     chan struct{} // closed when it answers again; nil: it answers
	latency  time.Duration
	commands map[string]Calls
}

// Calls are the calls of one command.
type Calls struct {
	// Count is how many there were, Arguments how many arguments they had together.
	Count, Arguments int
}

// New starts a Redis, which ends with the test.
func New(tb testing.TB) *Redis {
	tb.Helper()
	r := &Redis{Miniredis: miniredis.NewMiniRedis(), conns: make(map[*conn]struct{}), commands: make(map[string]Calls)}
	r.ClockTTL(true)
	first, err := r.Miniredis.Dial() // which makes the server
	if err != nil {
		tb.Fatal(err)
	}
	_ = first.Close()
	r.Server().SetPreHook(func(_ *server.Peer, command string, args ...string) bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		c := r.commands[command]
		r.commands[command] = Calls{Count: c.Count + 1, Arguments: c.Arguments + len(args)}
		return false
	})
	tb.Cleanup(func() {
		r.Away(true)
		r.Close()
	})
	return r
}

// Open opens a store that reaches the Redis, and ends with the test.
func (r *Redis) Open(tb testing.TB) *totals.Store {
	tb.Helper()
	s, err := totals.Open(Config(), totals.WithDialer(r.Dial))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Close)
	return s
}

// Config returns the configuration of a store that reaches the Redis by [Redis.Dial].
func Config() totals.Config {
	return totals.Config{Addrs: []string{Addr}, Prefix: "linkpulse", Timeout: 2 * time.Second}
}

// Dial connects to the Redis. It has the form of the option of totals.WithDialer.
func (r *Redis) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	for {
		r.mu.Lock()
		away, mute := r.away, r.mute
		r.mu.Unlock()
		if away {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
		}
		if mute == nil {
			break
		}
		select {
		case <-mute:
		case <-ctx.Done():
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: context.Cause(ctx)}
		}
	}
	raw, err := r.Miniredis.Dial()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, redis: r, out: make(chan packet, 4096), gone: make(chan struct{})}
	r.mu.Lock()
	r.conns[c] = struct{}{}
	r.mu.Unlock()
	go c.deliver()
	return c, nil
}

// Away makes the Redis go away, which breaks every connection and refuses new ones, or come back.
func (r *Redis) Away(away bool) {
	r.mu.Lock()
	r.away = away
	conns := maps.Clone(r.conns)
	r.mu.Unlock()
	for c := range conns {
		if away {
			_ = c.Close()
		}
	}
}

// Mute makes the Redis take what it is sent and answer nothing, as one whose machine or network has stopped, or go on.
func (r *Redis) Mute(mute bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case mute && r.mute == nil:
		r.mute = make(chan struct{})
	case !mute && r.mute != nil:
		close(r.mute)
		r.mute = nil
	}
}

// Latency makes whatever is sent from now on arrive that much later. Answers take no time.
func (r *Redis) Latency(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latency = d
}

// Calls returns the calls of a command, like "HMGET", since the start.
func (r *Redis) Calls(command string) Calls {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commands[command]
}

// Backup keeps what is in the Redis now; restore makes the Redis what it was then, as a restart with an older file does.
// Neither is to be called while a command runs.
func (r *Redis) Backup() (restore func()) {
	type hash struct {
		fields map[string]string
		ttl    time.Duration
	}
	hashes := make(map[string]hash)
	for _, key := range r.Keys() {
		h := hash{fields: make(map[string]string), ttl: r.TTL(key)}
		names, _ := r.HKeys(key) // the keys of totals are hashes
		for _, name := range names {
			h.fields[name] = r.HGet(key, name)
		}
		hashes[key] = h
	}
	return func() {
		r.FlushAll()
		for key, h := range hashes {
			for name, value := range h.fields {
				r.HSet(key, name, value)
			}
			if h.ttl > 0 {
				r.SetTTL(key, h.ttl)
			}
		}
	}
}

// conn takes what is written without somebody to read it, as a socket does up to its buffer: a client that sends many
// commands before it reads the first answer would stand still on a bare net.Pipe.
type conn struct {
	net.Conn
	redis *Redis
	out   chan packet // bound: far more than a test sends at once; a full one makes writers wait
	once  sync.Once
	gone  chan struct{}
}

// packet is what one call of Write sent.
type packet struct {
	bytes   []byte
	arrives time.Time
}

var errGone = errors.New("the connection was closed")

func (c *conn) deliver() {
	for {
		select {
		case p := <-c.out:
			time.Sleep(time.Until(p.arrives))
			if !c.heard() {
				return
			}
			if _, err := c.Conn.Write(p.bytes); err != nil {
				return // the reader of this connection hears of it
			}
		case <-c.gone:
			return
		}
	}
}

// heard waits while the Redis is mute.
func (c *conn) heard() bool {
	c.redis.mu.Lock()
	mute := c.redis.mute
	c.redis.mu.Unlock()
	if mute == nil {
		return true
	}
	select {
	case <-mute:
		return true
	case <-c.gone:
		return false
	}
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	select {
	case <-c.gone: // a writer that is not told goes on
		return 0, errGone
	default:
	}
	c.redis.mu.Lock()
	p := packet{bytes: append([]byte(nil), b...), arrives: time.Now().Add(c.redis.latency)}
	c.redis.mu.Unlock()
	select {
	case c.out <- p:
		return len(b), nil
	case <-c.gone:
		return 0, errGone
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.gone)
		c.redis.mu.Lock()
		delete(c.redis.conns, c)
		c.redis.mu.Unlock()
	})
	return c.Conn.Close()
}
