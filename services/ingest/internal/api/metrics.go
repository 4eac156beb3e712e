package api

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/apikey"
)

// metrics of the API. Every label value is known from the start and none comes from a client.
type metrics struct {
	requests [600]prometheus.Counter // by status; nil: never answered
	accepted prometheus.Counter
	bots     prometheus.Counter
	refused  [reasons]prometheus.Counter // requests that were refused before anything was appended
	failed   [reasons]prometheus.Counter // clicks that Kafka did not acknowledge

	refusedClicks [reasons]prometheus.Counter          // valid ones whose sender may not send them, or not now; nil: others
	credentials   map[apikey.Reason]prometheus.Counter // requests by what is wrong with their credentials

	batch    prometheus.Histogram
	ack      prometheus.Histogram
	inFlight atomic.Int64
}

const (
	namespace = "linkpulse"
	subsystem = "ingest"
)

func newMetrics(registry prometheus.Registerer, h *Handler) (*metrics, error) {
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}
	}
	requests := prometheus.NewCounterVec(opts("requests_total", "Answers to POST /v1/clicks, by HTTP status."), []string{"code"})
	refused := prometheus.NewCounterVec(opts("refused_requests_total", "Requests of which nothing was appended, by reason."), []string{"reason"})
	refusedClicks := prometheus.NewCounterVec(opts("refused_clicks_total",
		"Valid clicks that were refused because of the key that they were sent with, by reason. What was refused before it was read is not among them."),
		[]string{"reason"})
	credentials := prometheus.NewCounterVec(opts("refused_credentials_total", "Requests whose sender is not known, by what is wrong with their credentials."),
		[]string{"reason"})
	failed := prometheus.NewCounterVec(opts("failed_clicks_total", "Valid clicks that Kafka did not acknowledge, by reason."), []string{"reason"})
	m := &metrics{
		credentials: make(map[apikey.Reason]prometheus.Counter),
		accepted:    prometheus.NewCounter(opts("accepted_clicks_total", "Clicks that Kafka acknowledged.")),
		bots:        prometheus.NewCounter(opts("bot_clicks_total", "Clicks of bots in requests that were accepted whole.")),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "request_clicks", Help: "Valid clicks per request.",
			Buckets: []float64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000},
		}),
		ack: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "append_seconds",
			Help:    "Time from when a request was received until Kafka had answered for all of its clicks.",
			Buckets: []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30},
		}),
	}
	inFlight := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "requests_in_flight", Help: "Requests that have no answer yet.",
	}, func() float64 { return float64(m.inFlight.Load()) })
	memory := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "request_memory_bytes",
		Help: "Memory of requests under way, beyond what each has for free.",
	}, func() float64 { return float64(h.memory.used.Load()) })
	for _, why := range apikey.Reasons() {
		m.credentials[why] = credentials.WithLabelValues(string(why))
	}
	for r := range reasons {
		code, status := r.describe()
		m.requests[status] = requests.WithLabelValues(strconv.Itoa(status))
		switch {
		case r.ofClick():
			m.failed[r] = failed.WithLabelValues(code)
		case r != reasonNone && r != reasonMixed:
			m.refused[r] = refused.WithLabelValues(code)
		}
		if r.ofCaller() {
			m.refusedClicks[r] = refusedClicks.WithLabelValues(code)
		}
	}
	for _, c := range []prometheus.Collector{requests, refused, refusedClicks, credentials, failed, m.accepted, m.bots, m.batch, m.ack, inFlight, memory} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// appended notes an append of n clicks.
func (m *metrics) appended(n int, took time.Duration) {
	m.batch.Observe(float64(n))
	m.ack.Observe(took.Seconds())
}
