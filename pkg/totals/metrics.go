package totals

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/redisconn"
)

// callName is what a call of Redis was for. It is a label of metrics.
type callName string

const (
	callConnect  callName = "connect"
	callPosition callName = "position"
	callTotals   callName = "totals"
	callApply    callName = "apply"
	callHistory  callName = "history"
	callDump     callName = "dump"
	callRestore  callName = "restore"
	callExpire   callName = "expire"
	callRemove   callName = "remove"
	callSurvey   callName = "survey"
	callLock     callName = "lock"
)

// metrics of a store.
type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	links   *prometheus.HistogramVec
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
		links: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "linkpulse", Subsystem: "totals", Name: "call_links",
			Help:    "Links in a call of Redis: how much it does at a time.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}, []string{"call"}),
	}
	for _, call := range []callName{callConnect, callPosition, callTotals, callApply, callHistory} { // of services, not of operators
		m.calls.WithLabelValues(string(call), resultOK)
		m.seconds.WithLabelValues(string(call))
	}
	if registry != nil {
		registry.MustRegister(m.calls, m.seconds, m.links)
	}
	return m
}

func (m *metrics) observe(call callName, err error, took time.Duration) {
	m.calls.WithLabelValues(string(call), result(err)).Inc()
	m.seconds.WithLabelValues(string(call)).Observe(took.Seconds())
}

// size notes how many links are in a call.
func (m *metrics) size(call callName, links int) {
	m.links.WithLabelValues(string(call)).Observe(float64(links))
}

const resultOK = "ok"

// result names how a call ended, in a few words that are known beforehand: those of [redisconn.Reason], and these.
func result(err error) string {
	var (
		refused *RefusedError
		rule    *RuleError
		key     *KeyError
		away    *redisconn.AwayError
	)
	switch {
	case err == nil:
		return resultOK
	case errors.As(err, &away):
		return string(away.Reason)
	case errors.Is(err, ErrMissing):
		return "missing"
	case errors.Is(err, ErrExists):
		return "exists"
	case errors.Is(err, ErrLocked):
		return "locked"
	case errors.Is(err, ErrClosed):
		return "closed"
	case errors.As(err, &refused):
		return "refused"
	case errors.As(err, &rule):
		return "rule"
	case errors.As(err, &key):
		return "key"
	default:
		return "invalid"
	}
}
