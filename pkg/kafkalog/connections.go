package kafkalog

import (
	"context"
	"net"
	"sync"
)

// connections are the open connections of a cluster. The client library closes those that are idle, and only those; a
// request that waits for a dead peer would outlive the cluster.
type connections struct {
	dialer func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex // guards what follows; never held across I/O
	open   map[*connection]struct{}
	closed bool
}

// connection is a connection that is known to its cluster until it is closed.
type connection struct {
	net.Conn
	of *connections
}

// dial makes a connection, or fails if the cluster was closed meanwhile.
func (c *connections) dial(ctx context.Context, network, address string) (net.Conn, error) {
	inner, err := c.dialer(ctx, network, address)
	if err != nil {
		return nil, &dialError{err}
	}
	conn := &connection{Conn: inner, of: c}
	if !c.add(conn) {
		_ = inner.Close() // nothing was sent on it
		return nil, errClusterClosed
	}
	return conn, nil
}

// dialError reports that there is no connection, so that nothing was sent.
type dialError struct{ cause error }

func (e *dialError) Error() string { return "connecting: " + e.cause.Error() }
func (e *dialError) Unwrap() error { return e.cause }

func (c *connections) add(conn *connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	if c.open == nil {
		c.open = map[*connection]struct{}{}
	}
	c.open[conn] = struct{}{}
	return true
}

// Close closes the connection.
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

// close breaks every connection and refuses new ones.
func (c *connections) close() {
	c.mu.Lock()
	c.closed = true
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for conn := range open {
		_ = conn.Conn.Close() // whoever uses it learns it there
	}
}
