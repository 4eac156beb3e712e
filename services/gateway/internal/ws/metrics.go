package ws

import "github.com/prometheus/client_golang/prometheus"

// Metrics of handshakes and of what clients send.
type Metrics struct {
	accepted  prometheus.Counter
	throttled prometheus.Counter
	guests    prometheus.Gauge
	refused   [refusals]prometheus.Counter
	received  [receivedTypes]prometheus.Counter
	parted    [partings]prometheus.Counter
	refreshed [refreshes]prometheus.Counter
}

// refusal is why a handshake was refused.
type refusal uint8

const (
	admitted refusal = iota // it was not

	refusedHandshake     // no valid handshake, or an origin that is not allowed
	refusedHost          // a Host header that is not allowed
	refusedFull          // as many connections as there may be
	refusedUnavailable   // the gateway is draining, or not ready
	refusedRate          // as many handshakes a second as there may be
	refusedAddress       // as many connections of its address as there may be
	refusedSubject       // as many connections of its subject as there may be
	refusedGuests        // as many unauthenticated connections as there may be
	refusedAddressGuests // as many unauthenticated ones of its address
	refusedAddressRate   // as many handshakes a second of its address as there may be
	refusedQueryToken    // a token in the query
	refusedCredential    // a token or a ticket that is not valid
	refusedUnverified    // one that could not be looked at
	refusals
)

func (r refusal) String() string {
	return [...]string{
		"", "handshake", "host", "full", "unavailable", "rate", "address", "subject", "unauthenticated", "address_unauthenticated",
		"address_rate", "token_in_query", "credential", "unverified",
	}[r]
}

// parting is how a connection ended that was never authenticated.
type parting uint8

const (
	partedLate        parting = iota // no auth in time
	partedOther                      // something else came first
	partedToken                      // the token is not valid
	partedRevoked                    // it was revoked
	partedUnverified                 // it could not be looked at
	partedSubject                    // its subject has as many connections as it may
	partedUnavailable                // the gateway is draining, or not ready
	partedGone                       // the client went, or broke a rule that is there for everybody
	partings
)

func (p parting) String() string {
	return [...]string{"deadline", "no_auth", "bad_token", "token_revoked", "unverified", "subject", "unavailable", "gone"}[p]
}

// refresh is what became of an auth on an authenticated connection.
type refresh uint8

const (
	refreshed         refresh = iota
	refreshBad                // the token is not valid, or is somebody else's
	refreshRevoked            // it was revoked
	refreshUnverified         // it could not be looked at
	refreshes
)

func (r refresh) String() string {
	return [...]string{"ok", "bad_token", "token_revoked", "unverified"}[r]
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
		guests: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: ns, Subsystem: sub, Name: "unauthenticated_connections", Help: "Connections that have not said yet who they are.",
		}),
	}
	refused := prometheus.NewCounterVec(counter("handshakes_refused_total", "Upgrades that were refused, by reason."), []string{"reason"})
	received := prometheus.NewCounterVec(counter("messages_received_total", "What clients sent, by type."), []string{"type"})
	parted := prometheus.NewCounterVec(counter("unauthenticated_closed_total",
		"Connections that ended before they had said who they are, by reason."), []string{"reason"})
	refreshed := prometheus.NewCounterVec(counter("token_refreshes_total", "Tokens that were sent to take the place of others, by result."),
		[]string{"result"})
	reg.MustRegister(m.accepted, m.throttled, m.guests, refused, received, parted, refreshed)
	for r := admitted + 1; r < refusals; r++ {
		m.refused[r] = refused.WithLabelValues(r.String())
	}
	for r := range receivedTypes {
		m.received[r] = received.WithLabelValues(r.String())
	}
	for p := range partings {
		m.parted[p] = parted.WithLabelValues(p.String())
	}
	for r := range refreshes {
		m.refreshed[r] = refreshed.WithLabelValues(r.String())
	}
	return m
}
