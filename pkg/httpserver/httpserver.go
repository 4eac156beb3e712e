// Package httpserver is the HTTP server that every process of Linkpulse runs: bounded against slow and greedy clients,
// with health endpoints, a panic that becomes an answer, and a stop that is bounded.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/problem"
)

// The bounds, and what each stops.
const (
	// readHeaderTimeout stops slowloris: headers that trickle in.
	readHeaderTimeout = 5 * time.Second
	// idleTimeout frees keep-alive connections that nobody uses.
	idleTimeout = 60 * time.Second
	// maxHeaderBytes stops headers that are there to fill memory. net/http adds 4 KiB of slack.
	maxHeaderBytes = 16 << 10
)

// New returns a server for handler. It has no time limit for whole requests, because connections that are upgraded live
// long; handlers that read a body set their own (http.ResponseController.SetReadDeadline).
func New(handler http.Handler, log *zap.Logger) *http.Server {
	return &http.Server{
		Handler:           recoverPanics(handler, log),
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          zap.NewStdLog(log.WithOptions(zap.IncreaseLevel(zap.WarnLevel))),
	}
}

// Listen opens a listener. An IPv4 address gets an IPv4 socket: the sockets that a dual-stack listener accepts take more
// kernel memory each, which counts where there are many.
func Listen(addr string) (net.Listener, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(addr); err == nil {
		if ip := net.ParseIP(host); ip != nil && !strings.Contains(host, ":") {
			network = "tcp4"
		}
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), network, addr) //nolint:forbidigo // binding is over at once; there is nothing to cancel
	if err != nil {
		return nil, fmt.Errorf("listening on %q: %w", addr, err)
	}
	return l, nil
}

// Serve serves until ctx ends, then stops accepting and waits up to grace for requests that are under way. It returns
// nil after such a stop. Hijacked connections are not waited for: whoever took them ends them. The contexts of requests
// carry the values of ctx but not its end: what was accepted is finished. It takes the server's handler over.
func Serve(ctx context.Context, srv *http.Server, l net.Listener, grace time.Duration) error {
	var running atomic.Int64
	srv.Handler = countRunning(srv.Handler, &running)
	if srv.BaseContext == nil {
		srv.BaseContext = func(net.Listener) context.Context { return context.WithoutCancel(ctx) }
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := srv.Shutdown(stopCtx)
	if err != nil { // the grace is over
		if running.Load() == 0 {
			err = nil // what is open has asked for nothing: browsers connect before they know what for
		}
		_ = srv.Close()
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("stopping the server on %s: %w", l.Addr(), err)
	}
	return nil
}

// countRunning counts the requests that are being answered.
func countRunning(next http.Handler, running *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		running.Add(1)
		defer running.Add(-1)
		next.ServeHTTP(w, r)
	})
}

// recoverPanics turns the panic of a handler into an answer of 500 and one line in the log. http.ErrAbortHandler passes:
// it is how a handler drops a connection on purpose.
func recoverPanics(next http.Handler, log *zap.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			log.Error("panic while answering a request", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			(&problem.Problem{
				Status: http.StatusInternalServerError, Code: "internal",
				Detail: "this is a defect of the server; it has been logged",
			}).Write(w)
		}()
		next.ServeHTTP(w, r)
	})
}
