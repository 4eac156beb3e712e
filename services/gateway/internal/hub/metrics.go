package hub

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// Metrics of a gateway's sessions. One set outlives the hubs that write to it.
type Metrics struct {
	sessions      prometheus.Gauge
	blocked       prometheus.Gauge
	subscriptions prometheus.Gauge
	topics        prometheus.Gauge
	denied        prometheus.Counter
	withdrawn     prometheus.Counter
	evicted       [evictions]prometheus.Counter
	closed        *prometheus.CounterVec
	dropped       *prometheus.CounterVec
	frames        [frameTypes]prometheus.Counter
	bytes         prometheus.Counter
	flushes       prometheus.Counter
	stalls        prometheus.Counter
	parked        prometheus.Counter
	conflated     prometheus.Counter
	perFlush      *smallCounts
	turn          prometheus.Histogram
	clickToFlush  prometheus.Histogram
}

// frameType numbers what is sent.
type frameType uint8

const (
	frameReady frameType = iota
	frameSubscribed
	frameUnsubscribed
	frameUpdate
	frameHeartbeat
	frameGoodbye
	frameError
	framePing
	frameClose
	frameTypes
)

func (f frameType) String() string {
	return [...]string{
		"ready", "subscribed", "unsubscribed", "click_update", "heartbeat", "goodbye", "error", "ping", "close",
	}[f]
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	const ns, sub = "linkpulse", "gateway"
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, []string{label})
		reg.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: ns, Subsystem: sub, Name: name, Help: help, Buckets: buckets,
		})
		reg.MustRegister(h)
		return h
	}
	m := &Metrics{
		sessions:      gauge("sessions", "Sessions that are open."),
		blocked:       gauge("sessions_blocked", "Sessions whose connection takes no more bytes now."),
		subscriptions: gauge("subscriptions", "Subscriptions of all sessions."),
		topics:        gauge("topics", "Links that somebody subscribed to, counted once per event loop."),
		denied:        counter("denied_links_total", "Links that a subscribe named and its token does not cover."),
		withdrawn:     counter("withdrawn_subscriptions_total", "Subscriptions that ended because a refreshed token does not cover them."),
		closed:        vec("sessions_closed_total", "Sessions that ended, by close code; 1006 is an end without one.", "code"),
		dropped:       vec("sessions_dropped_total", "Sessions that ended without a close handshake, by reason.", "reason"),
		bytes:         counter("sent_bytes_total", "Bytes given to connections."),
		flushes:       counter("flushes_total", "Writes to connections."),
		stalls:        counter("stalls_total", "Writes that the connection did not take whole at once."),
		parked:        counter("readers_parked_total", "Times that a session was not listened to because its answers waited to be read."),
		conflated:     counter("conflated_updates_total", "Updates that a newer one replaced before they were sent."),
		turn: histogram("turn_seconds", "Time of one turn of an event loop that wrote something.",
			prometheus.ExponentialBuckets(1e-5, 4, 9)),
		clickToFlush: histogram("click_to_flush_seconds",
			"From when ingest received the newest click of a link to when its update is flushed.",
			[]float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 5, 30}),
	}
	m.perFlush = &smallCounts{desc: prometheus.NewDesc(ns+"_"+sub+"_flush_updates", "Updates gathered in a write.", nil, nil)}
	reg.MustRegister(m.perFlush)
	frames := vec("frames_sent_total", "Frames sent, by type.", "type")
	for f := range frameTypes {
		m.frames[f] = frames.WithLabelValues(f.String())
	}
	evicted := vec("sessions_evicted_total", "Sessions that were ended because of their token, by reason.", "reason")
	for e := range evictions {
		m.evicted[e] = evicted.WithLabelValues(e.String())
	}
	for _, why := range []dropReason{dropLost, dropSilent, dropUnanswered, dropStopped} {
		m.dropped.WithLabelValues(why.condition)
	}
	return m
}

// ended counts the end of a session.
func (m *Metrics) ended(why dropReason) {
	m.sessions.Dec()
	if why.condition != "" {
		m.dropped.WithLabelValues(why.condition).Inc()
		why.code = wire.CloseAbnormal
	}
	m.closed.WithLabelValues(codeLabel(why.code)).Inc()
}

// codeLabel is the label of a close code. A client may close with any of a thousand codes; a label has those that the
// protocol knows.
func codeLabel(code wire.CloseCode) string {
	for _, row := range wire.CloseTable() {
		if row.Code == code {
			return strconv.Itoa(int(code))
		}
	}
	return "other"
}

// stats collects what one turn did, so that the hot path touches no shared counter.
type stats struct {
	frames                                   [frameTypes]int
	bytes, writes, stalls, conflated, parked int
	perFlush                                 smallTally
}

// countFrames counts the updates of one write.
func (st *stats) countFrames(n int) {
	if n > 0 {
		st.frames[frameUpdate] += n
		st.perFlush.observe(n)
	}
}

// publish adds the turn to the metrics.
func (st *stats) publish(m *Metrics, began time.Time) {
	if st.writes > 0 {
		m.turn.Observe(time.Since(began).Seconds())
	}
	for f, n := range st.frames {
		add(m.frames[f], n)
	}
	add(m.bytes, st.bytes)
	add(m.flushes, st.writes)
	add(m.stalls, st.stalls)
	add(m.conflated, st.conflated)
	add(m.parked, st.parked)
	m.perFlush.add(&st.perFlush)
	*st = stats{}
}

func add(c prometheus.Counter, n int) {
	if n > 0 {
		c.Add(float64(n))
	}
}
