package ws

import "github.com/prometheus/client_golang/prometheus"

// Metrics of handshakes and of what clients send.
type Metrics struct {
	accepted  prometheus.Counter
	throttled prometheus.Counter
	refused   [refusals]prometheus.Counter
	received  [receivedTypes]prometheus.Counter
}

// refusal is why a handshake was refused.
type refusal uint8

const (
	refusedHandshake   refusal = iota // no valid handshake, or an origin that is not allowed
	refusedHost                       // a Host header that is not allowed
	refusedFull                       // as many connections as there may be
	refusedUnavailable                // the gateway is draining, or not ready
	refusals
)

func (r refusal) String() string {
	return [...]string{"handshake", "host", "full", "unavailable"}[r]
}

// receivedType is what a client sent.
type receivedType uint8

const (
	receivedSubscribe receivedType = iota
	receivedUnsubscribe
	receivedAuth
	receivedInvalid
	receivedPing
	receivedTypes
)

func (r receivedType) String() string {
	return [...]string{"subscribe", "unsubscribe", "auth", "invalid", "ping"}[r]
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const ns, sub = "linkpulse", "gateway"
	counter := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}
	}
	m := &Metrics{
		accepted:  prometheus.NewCounter(counter("handshakes_total", "Connections that were upgraded.")),
		throttled: prometheus.NewCounter(counter("throttled_total", "Times that a client sent too fast and was made to wait.")),
	}
	refused := prometheus.NewCounterVec(counter("handshakes_refused_total", "Upgrades that were refused, by reason."), []string{"reason"})
	received := prometheus.NewCounterVec(counter("messages_received_total", "What clients sent, by type."), []string{"type"})
	reg.MustRegister(m.accepted, m.throttled, refused, received)
	for r := range refusals {
		m.refused[r] = refused.WithLabelValues(r.String())
	}
	for r := range receivedTypes {
		m.received[r] = received.WithLabelValues(r.String())
	}
	return m
}
