package rest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// route is what a request asks for, as metrics name it.
type route uint8

const (
	routeClicks route = iota
	routeCounts
	routeTickets
	routes
)

func (r route) String() string { return [...]string{"clicks", "counts", "tickets"}[r] }

// eviction is why a link is not watched for requests any more.
type eviction uint8

const (
	evictedIdle  eviction = iota // nobody asked for it for as long as it may linger
	evictedFull                  // another one needed its place
	evictedEpoch                 // its epoch is over
	evictions
)

func (e eviction) String() string { return [...]string{"idle", "full", "epoch"}[e] }

// metrics of the routes. Every label value is known from the start and none comes from a client.
type metrics struct {
	requests [routes][600]prometheus.Counter // by status; nil: never answered
	seconds  [routes]prometheus.Observer
	evicted  [evictions]prometheus.Counter
	links    prometheus.Gauge
	history  prometheus.Counter
}

func newMetrics(registry prometheus.Registerer, h *Handler) (*metrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "linkpulse", Subsystem: "gateway_rest", Name: name, Help: help}
	}
	requests := prometheus.NewCounterVec(prometheus.CounterOpts(opts("requests_total", "Requests for counts, by route and HTTP status.")),
		[]string{"route", "code"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "linkpulse", Subsystem: "gateway_rest", Name: "request_seconds",
		Help:    "Time from a request's headers to the end of its answer, by route.",
		Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .05, .1, .5, 1, 2},
	}, []string{"route"})
	evicted := prometheus.NewCounterVec(prometheus.CounterOpts(opts("links_evicted_total",
		"Links that are not watched for requests any more; full: another one needed the place.")), []string{"reason"})
	m := &metrics{
		links:   prometheus.NewGauge(prometheus.GaugeOpts(opts("links", "Links that are watched for requests, lingering ones included."))),
		history: prometheus.NewCounter(prometheus.CounterOpts(opts("history_reads_total", "Histories that were read from the store."))),
	}
	running := prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("requests_in_flight", "Requests that have no answer yet.")),
		func() float64 { return float64(h.running.Load()) })
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("requests_waiting", "Requests that wait for the store.")),
		func() float64 { return float64(h.waiting.Load()) })
	histories := prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("histories", "Histories that are kept beside their links.")),
		func() float64 {
			if k := h.current.Load(); k != nil {
				return float64(k.pasts.Load())
			}
			return 0
		})
	for as := range routes {
		m.seconds[as] = seconds.WithLabelValues(as.String())
		statuses := []int{http.StatusOK, http.StatusNotModified}
		for r := range reasons {
			_, status := r.describe()
			statuses = append(statuses, status)
		}
		for _, status := range statuses {
			m.requests[as][status] = requests.WithLabelValues(as.String(), strconv.Itoa(status))
		}
	}
	for e := range evictions {
		m.evicted[e] = evicted.WithLabelValues(e.String())
	}
	for _, c := range []prometheus.Collector{requests, seconds, evicted, m.links, m.history, running, waiting, histories} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) answered(as route, status int, took time.Duration) {
	m.requests[as][status].Inc()
	m.seconds[as].Observe(took.Seconds())
}
