package totals

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a store.
type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// newMetrics registers the metrics; with a nil registry they are counted and not shown.
func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "linkpulse", Subsystem: "totals", Name: "calls_total",
			Help: "Calls of Redis, by what they were for and how they ended.",
		}, []string{"call", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "linkpulse", Subsystem: "totals", Name: "call_seconds",
			Help:    "Duration of calls of Redis, connecting included.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8),
		}, []string{"call"}),
	}
	if registry != nil {
		registry.MustRegister(m.calls, m.seconds)
	}
	return m
}

func (m *metrics) observe(call string, err error, took time.Duration) {
	m.calls.WithLabelValues(call, result(err)).Inc()
	m.seconds.WithLabelValues(call).Observe(took.Seconds())
}

// result names how a call ended, in a few words that are known beforehand.
func result(err error) string {
	var (
		refused *RefusedError
		rule    *RuleError
		key     *KeyError
	)
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, ErrMissing):
		return "missing"
	case errors.Is(err, ErrExists):
		return "exists"
	case errors.As(err, &refused):
		return "refused"
	case errors.As(err, &rule):
		return "rule"
	case errors.As(err, &key):
		return "key"
	default:
		return "error"
	}
}
