package ingest

import (
	"net"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// connLimit closes connections beyond a number at once: each one costs memory and a descriptor, and a process that has
// run out of descriptors can reach Kafka no more.
type connLimit struct {
	max     int64
	open    atomic.Int64
	refused prometheus.Counter
}

func newConnLimit(limit int, registry prometheus.Registerer) (*connLimit, error) {
	l := &connLimit{max: int64(limit), refused: prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "linkpulse", Subsystem: "ingest", Name: "refused_connections_total",
		Help: "Connections that were closed at once because there were too many.",
	})}
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "linkpulse", Subsystem: "ingest", Name: "connections", Help: "Open connections of clients.",
	}, func() float64 { return float64(l.open.Load()) })
	return l, register(registry, l.refused, open)
}

// track is the server's ConnState hook. The server sees a connection that was closed here end by itself.
func (l *connLimit) track(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if l.open.Add(1) > l.max {
			l.refused.Inc()
			_ = c.Close() // nothing was written to it
		}
	case http.StateClosed, http.StateHijacked:
		l.open.Add(-1)
	default:
	}
}
