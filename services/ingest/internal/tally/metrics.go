package tally

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Metrics of a tally, by partition.
type Metrics struct {
	owned, position, lag *prometheus.GaugeVec
	stopped, foreign     *prometheus.GaugeVec
	records              *prometheus.CounterVec
	refused              *prometheus.CounterVec
	warmUps              *prometheus.CounterVec
	interruptions        *prometheus.CounterVec
	batchClicks          prometheus.Histogram
	applySeconds         prometheus.Histogram
}

// NewMetrics registers the metrics of a tally.
func NewMetrics(registry prometheus.Registerer) (*Metrics, error) {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "linkpulse", Subsystem: "tally", Name: name, Help: help,
		}, append([]string{"partition"}, labels...))
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "linkpulse", Subsystem: "tally", Name: name, Help: help,
		}, append([]string{"partition"}, labels...))
	}
	m := &Metrics{
		owned:         gauge("owned", "1 for partitions that this process tallies."),
		position:      gauge("position", "Offset at which the totals of a partition are true, as its owner knows."),
		lag:           gauge("lag_records", "Records that are not in the totals, of those that the log had when it was last read."),
		stopped:       gauge("stopped", "1 while a partition's tally has stopped and needs an operator, by reason.", "reason"),
		foreign:       gauge("foreign_records", "Records in partitions that the topic has and the deployment does not. They count nowhere."),
		records:       counter("records_total", "Records folded, by what they were: counted, duplicate, poison, hole.", "verdict"),
		refused:       counter("refused_total", "Times that the totals were elsewhere than expected, ahead or behind.", "direction"),
		warmUps:       counter("warm_ups_total", "Times that a partition's window was read: at first, and where the totals were behind or far ahead."),
		interruptions: counter("interruptions_total", "Calls of Redis or Kafka that failed and were tried again."),
		batchClicks: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "linkpulse", Subsystem: "tally", Name: "batch_offsets", Help: "Offsets of the log that one batch covers.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		applySeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "linkpulse", Subsystem: "tally", Name: "apply_seconds", Help: "Time until a batch was applied, with all tries.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
	}
	for _, c := range []prometheus.Collector{
		m.owned, m.position, m.lag, m.stopped, m.foreign, m.records, m.refused, m.warmUps, m.interruptions, m.batchClicks, m.applySeconds,
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// partitionMetrics are those of one partition.
type partitionMetrics struct {
	all   *Metrics
	label string

	owned, position, lag               prometheus.Gauge
	counted, duplicates, poison, holes prometheus.Counter
	ahead, behind, warmUps             prometheus.Counter
	interruptions                      prometheus.Counter
}

func (m *Metrics) of(partition int32) *partitionMetrics {
	l := label(partition)
	return &partitionMetrics{
		all: m, label: l,
		owned: m.owned.WithLabelValues(l), position: m.position.WithLabelValues(l), lag: m.lag.WithLabelValues(l),
		counted:       m.records.WithLabelValues(l, "counted"),
		duplicates:    m.records.WithLabelValues(l, "duplicate"),
		poison:        m.records.WithLabelValues(l, "poison"),
		holes:         m.records.WithLabelValues(l, "hole"),
		ahead:         m.refused.WithLabelValues(l, "ahead"),
		behind:        m.refused.WithLabelValues(l, "behind"),
		warmUps:       m.warmUps.WithLabelValues(l),
		interruptions: m.interruptions.WithLabelValues(l),
	}
}

func (m *partitionMetrics) own() {
	m.owned.Set(1)
	m.resume()
}

// disown makes the partition's owner the only one who reports on it.
func (m *partitionMetrics) disown() {
	m.owned.Set(0)
	m.lag.Set(0)
	m.resume()
}

func (m *partitionMetrics) refuse(isAhead bool) {
	if isAhead {
		m.ahead.Inc()
	} else {
		m.behind.Inc()
	}
}

func (m *partitionMetrics) stop(reason Reason) {
	m.resume()
	m.all.stopped.WithLabelValues(m.label, string(reason)).Set(1)
}

func (m *partitionMetrics) resume() {
	for _, reason := range reasons() {
		m.all.stopped.WithLabelValues(m.label, string(reason)).Set(0)
	}
}

func (m *partitionMetrics) apply(b *totals.Batch, took time.Duration) {
	m.all.batchClicks.Observe(float64(b.To - b.From))
	m.all.applySeconds.Observe(took.Seconds())
}
