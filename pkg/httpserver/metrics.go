package httpserver

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
)

// unrouted is the route label of requests that no route took: their paths are whatever people try, and would be a label
// each.
const unrouted = "none"

// Instrument returns a middleware for a chi router that counts and times requests by route pattern and class of status
// ("2xx"), as <namespace>_http_requests_total and <namespace>_http_request_seconds. A request whose connection is hijacked
// is counted as "1xx" and not timed: it lives as long as its client likes.
func Instrument(registry prometheus.Registerer, namespace string) (func(http.Handler) http.Handler, error) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: "http", Name: "requests_total", Help: "Requests by route and class of status.",
	}, []string{"route", "code"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: "http", Name: "request_seconds", Help: "Time to answer a request, by route.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
	}, []string{"route"})
	for _, c := range []prometheus.Collector{total, seconds} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering request metrics: %w", err)
		}
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			begun := time.Now()
			ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
			next.ServeHTTP(ww, r)
			route := unrouted
			if rc := chi.RouteContext(r.Context()); rc != nil && rc.RoutePattern() != "" {
				route = rc.RoutePattern()
			}
			status := ww.Status()
			if status == 0 {
				status = http.StatusSwitchingProtocols // nothing was written through w: the connection was taken
			}
			total.WithLabelValues(route, strconv.Itoa(status/100)+"xx").Inc()
			if status >= http.StatusOK {
				seconds.WithLabelValues(route).Observe(time.Since(begun).Seconds())
			}
		})
	}, nil
}
