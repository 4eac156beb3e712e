package httpserver

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A request that the server cannot read is answered by net/http, or its connection is closed, and no handler hears of it.
// Only the states of the connection tell: bytes came, and it ended without a handler. They tell it of its first request
// alone: of a later one that came in one piece net/http never says that bytes came.

// unreadState is what of a connection tells that. The goroutine that serves the connection alone touches it, but for since,
// which is written before.
type unreadState struct {
	since   time.Time // when the connection came
	came    bool      // bytes of a request have come
	handled bool      // a handler has had a request
}

// unreadReason is why a request was not read.
type unreadReason uint8

const (
	unreadSlow unreadReason = iota // its headers did not come in time
	unreadBad                      // they are too long, or are none
	unreadReasons
)

func (r unreadReason) String() string { return [...]string{"slow", "bad"}[r] }

func (b *boundListener) registerUnread() error {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "linkpulse", Subsystem: "http", Name: "requests_unread_total",
		Help: "First requests of connections that no handler was given: their headers came too slowly (slow), or were too long or none at all (bad).",
	}, []string{"reason"})
	for r := range unreadReasons {
		b.unread[r] = vec.WithLabelValues(r.String())
	}
	return b.bounds.Registry.Register(vec)
}

// ofConn is the key of the context of a connection.
type ofConn struct{}

// watchRequests notes which requests reach a handler.
func (b *boundListener) watchRequests(srv *http.Server) {
	b.patience = srv.ReadHeaderTimeout
	inner := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if inner != nil {
			ctx = inner(ctx, c)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if e, ok := b.conns[c]; ok {
			ctx = context.WithValue(ctx, ofConn{}, e.Value)
		}
		return ctx
	}
	handler := srv.Handler
	srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(ofConn{}).(*boundConn); ok {
			c.unread.handled = true
		}
		handler.ServeHTTP(w, r)
	})
}

// noteUnread follows a connection from state to state.
func (b *boundListener) noteUnread(c *boundConn, state http.ConnState) {
	u := &c.unread
	u.came = u.came || state == http.StateActive
	if state != http.StateClosed || !u.came || u.handled {
		return
	}
	reason := unreadBad
	if b.patience > 0 && time.Since(u.since) >= b.patience {
		reason = unreadSlow
	}
	b.unread[reason].Inc()
}
