package credentials

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// kind is what was shown. It is a label of metrics.
type kind string

const (
	kindToken  kind = "token"
	kindTicket kind = "ticket"
)

// resultOK is the label of what is good; what is not has its reason.
const resultOK = "ok"

type metrics struct {
	shown    *prometheus.CounterVec
	recalled prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		shown: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "linkpulse", Subsystem: "gateway", Name: "credentials_total",
			Help: "Tokens and tickets that clients showed, by what they were and why they were refused.",
		}, []string{"kind", "result"}),
		recalled: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "linkpulse", Subsystem: "gateway", Name: "tokens_recalled_total",
			Help: "Tokens that needed no verification, because they were verified within the last minute.",
		}),
	}
	for _, k := range []kind{kindToken, kindTicket} {
		m.shown.WithLabelValues(string(k), resultOK)
		for _, r := range auth.Reasons() {
			m.shown.WithLabelValues(string(k), string(r))
		}
	}
	return m, errors.Join(registry.Register(m.shown), registry.Register(m.recalled))
}

func (m *metrics) count(k kind, err error) {
	result := resultOK
	if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
		result = string(refused.Reason)
	} else if err != nil {
		result = string(auth.ReasonKeysAway) // nobody thought of it, and it lets nobody in
	}
	m.shown.WithLabelValues(string(k), result).Inc()
}
