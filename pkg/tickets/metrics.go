package tickets

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/linkpulse/linkpulse/pkg/redisconn"
)

// callName is what a call of Redis was for. It is a label of metrics.
type callName string

const (
	callIssue  callName = "issue"
	callRedeem callName = "redeem"
)

// What ends a call beside the reasons of redisconn.
const (
	resultOK     = "ok"
	resultClosed = "closed"
)

// metrics of a store.
type metrics struct{ calls *prometheus.CounterVec }

// newMetrics registers the metrics; with a nil registry they are counted and not shown.
func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{calls: prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "linkpulse", Subsystem: "tickets", Name: "calls_total",
		Help: "Calls of Redis for tickets, by what they were for and how they ended.",
	}, []string{"call", "result"})}
	for _, call := range []callName{callIssue, callRedeem} {
		m.calls.WithLabelValues(string(call), resultOK)
		m.calls.WithLabelValues(string(call), resultClosed)
		for _, r := range redisconn.Reasons() {
			m.calls.WithLabelValues(string(call), string(r))
		}
	}
	if registry != nil {
		registry.MustRegister(m.calls)
	}
	return m
}

// call runs f with the client and counts how it ended.
func (s *Store) call(ctx context.Context, name callName, f func(context.Context, rueidis.Client) error) error {
	err := s.redis.Call(ctx, s.timeout, f)
	result := resultOK
	if away, ok := errors.AsType[*redisconn.AwayError](err); ok {
		result = string(away.Reason)
	} else if err != nil {
		result = resultClosed
	}
	s.metrics.calls.WithLabelValues(string(name), result).Inc()
	return err
}
