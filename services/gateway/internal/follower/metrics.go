package follower

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// resyncLost is the reason for which a partition begins anew.
const resyncLost = "lost"

// Reasons for taking the log of a partition for another one than that of its counts.
const (
	stopRecreated = "recreated"  // another record is where one was counted
	stopBeyondEnd = "beyond_end" // it ends below the position, for longer than a new leader needs
)

// Results of a read of totals.
const (
	readLanded     = "landed"
	readBehind     = "behind"     // older than the ring: a ring miss
	readFailed     = "failed"     // no answer
	readMissing    = "missing"    // the store has none
	readRule       = "rule"       // counted by another rule
	readRecreated  = "recreated"  // of another log than the one that is there
	readAhead      = "beyond_end" // the log ends below them, so that nobody can tell whether they are of it
	readSuperseded = "superseded" // the partition began anew, or stopped, while it was under way
)

// metrics of all partitions. The partition label has as many values as the deployment has partitions.
type metrics struct {
	position    *prometheus.GaugeVec
	lag         *prometheus.GaugeVec
	records     *prometheus.CounterVec
	holes       prometheus.Counter
	fetchErrors prometheus.Counter
	resyncs     *prometheus.CounterVec
	stopped     *prometheus.GaugeVec
	reads       *prometheus.CounterVec
	readSeconds prometheus.Histogram
	troubled    *prometheus.GaugeVec
	watched     prometheus.Gauge
	waiting     prometheus.Gauge

	warm, counted, duplicate, poison prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	name := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "linkpulse", Subsystem: "gateway_follower", Name: name, Help: help}
	}
	m := &metrics{
		position: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("position",
			"Next offset of a partition: the records below it are in the counts.")), []string{"partition"}),
		lag: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("lag_records",
			"Records between the position and the end of the log at the last answer.")), []string{"partition"}),
		records: prometheus.NewCounterVec(prometheus.CounterOpts(name("records_total",
			"Records read, by what the fold said of them; warm ones came before what can be counted.")), []string{"verdict"}),
		holes: prometheus.NewCounter(prometheus.CounterOpts(name("holes_total",
			"Offsets without a record, fetched twice. Anything but 0 is a foreign producer."))),
		fetchErrors: prometheus.NewCounter(prometheus.CounterOpts(name("fetch_errors_total",
			"Reads of the log that failed and were tried again."))),
		resyncs: prometheus.NewCounterVec(prometheus.CounterOpts(name("resyncs_total",
			"Times a partition began anew and read all its totals again, by reason.")), []string{"reason"}),
		stopped: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("stopped_partitions",
			"Partitions whose log is not the one that was counted, which a new epoch ends, by reason.")), []string{"reason"}),
		reads: prometheus.NewCounterVec(prometheus.CounterOpts(name("snapshot_reads_total",
			"Reads of totals, by result; behind: older than the ring, so that they could not be used.")), []string{"result"}),
		readSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "linkpulse", Subsystem: "gateway_follower", Name: "snapshot_seconds",
			Help:    "Time from asking for totals to their landing.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
		troubled: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("syncing_partitions",
			"Partitions with links that wait because the last read of totals ended so, by result.")), []string{"result"}),
		watched: prometheus.NewGauge(prometheus.GaugeOpts(name("watched_links", "Links that somebody watches."))),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts(name("waiting_links", "Watched links whose total is not there yet."))),
	}
	for _, c := range []prometheus.Collector{
		m.position, m.lag, m.records, m.holes, m.fetchErrors, m.resyncs, m.stopped, m.reads, m.readSeconds,
		m.troubled, m.watched, m.waiting,
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	// All label values exist from the start: a rate of what never happened is 0, not absent.
	m.warm, m.counted = m.records.WithLabelValues("warm"), m.records.WithLabelValues("counted")
	m.duplicate, m.poison = m.records.WithLabelValues("duplicate"), m.records.WithLabelValues("poison")
	m.resyncs.WithLabelValues(resyncLost)
	for _, reason := range []string{stopRecreated, stopBeyondEnd} {
		m.stopped.WithLabelValues(reason)
	}
	for _, result := range []string{
		readLanded, readBehind, readFailed, readMissing, readRule, readRecreated, readAhead, readSuperseded,
	} {
		m.reads.WithLabelValues(result)
	}
	for _, result := range []string{readBehind, readFailed, readMissing, readRule, readRecreated, readAhead} {
		m.troubled.WithLabelValues(result)
	}
	return m, nil
}

func (m *metrics) count(v verdicts, holes int64) {
	m.warm.Add(float64(v.warm))
	m.counted.Add(float64(v.counted))
	m.duplicate.Add(float64(v.duplicate))
	m.poison.Add(float64(v.poison))
	m.holes.Add(float64(holes))
}

func partitionLabel(id int32) string { return strconv.Itoa(int(id)) }
