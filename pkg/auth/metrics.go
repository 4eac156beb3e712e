package auth

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// accepted is the result of a token that is good; the results of others are reasons.
const accepted = "accepted"

// source is where keys come from. It is a label.
type source string

const (
	sourceJWKS  source = "jwks"
	sourceFiles source = "files"
)

// metrics of a verifier.
type metrics struct {
	tokens   *prometheus.CounterVec
	reads    *prometheus.CounterVec
	lastRead *prometheus.GaugeVec
	keys     prometheus.GaugeFunc
	waiting  prometheus.GaugeFunc
}

func newMetrics(keys, waiting func() float64) *metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "linkpulse", Subsystem: "auth", Name: name, Help: help}
	}
	m := &metrics{
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts(opts("tokens_total",
			"Tokens that were looked at, by what came of it: accepted, or why not.")), []string{"result"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts(opts("key_reads_total",
			"Attempts to read the keys, by where they are and how it ended.")), []string{"source", "result"}),
		lastRead: prometheus.NewGaugeVec(prometheus.GaugeOpts(opts("keys_read_timestamp_seconds",
			"When the keys were last read successfully, by where they are; 0 is never.")), []string{"source"}),
		keys: prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("keys",
			"Keys that tokens may be signed with.")), keys),
		waiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("verifications_waiting",
			"Tokens that wait for their signature to be verified.")), waiting),
	}
	m.tokens.WithLabelValues(accepted)
	for _, r := range Reasons() {
		if r.ofVerifier() {
			m.tokens.WithLabelValues(string(r))
		}
	}
	return m
}

// follow shows what becomes of a source of keys, from now on.
func (m *metrics) follow(s source) {
	m.lastRead.WithLabelValues(string(s))
	for _, err := range []error{nil, errNoKeys} {
		m.reads.WithLabelValues(string(s), readResult(err))
	}
}

func (m *metrics) register(registry prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{m.tokens, m.reads, m.lastRead, m.keys, m.waiting} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// verified counts what came of a token.
func (m *metrics) verified(refused *RefusedError) {
	result := accepted
	if refused != nil {
		result = string(refused.Reason)
	}
	m.tokens.WithLabelValues(result).Inc()
}

// read notes an attempt to read keys.
func (m *metrics) read(s source, err error) {
	m.reads.WithLabelValues(string(s), readResult(err)).Inc()
	if err == nil {
		m.lastRead.WithLabelValues(string(s)).SetToCurrentTime()
	}
}

func readResult(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}
