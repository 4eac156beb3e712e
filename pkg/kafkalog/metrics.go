package kafkalog

import "github.com/prometheus/client_golang/prometheus"

// producerMetrics are the producer's metrics. Reasons are registered before they happen, so that a rate over them exists.
type producerMetrics struct {
	records      prometheus.Counter
	batchRecords prometheus.Histogram
	ackSeconds   prometheus.Histogram
	retries      *prometheus.CounterVec
	unknown      prometheus.Counter
	queueFull    prometheus.Counter
	queued       prometheus.Gauge
}

func newProducerMetrics(registry prometheus.Registerer) (*producerMetrics, error) {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "linkpulse", Subsystem: "producer", Name: name, Help: help}
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "linkpulse", Subsystem: "producer", Name: name, Help: help, Buckets: buckets,
		})
	}
	m := &producerMetrics{
		records: prometheus.NewCounter(prometheus.CounterOpts(opts("records_total", "Records acknowledged by Kafka."))),
		batchRecords: histogram("batch_records", "Records in an acknowledged batch.",
			prometheus.ExponentialBuckets(1, 4, 8)),
		ackSeconds: histogram("ack_seconds", "From the first record of a batch to its acknowledgement.",
			prometheus.ExponentialBuckets(0.0005, 2, 16)),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts(opts("failed_attempts_total",
			"Attempts to append a batch, or to get a producer id, that failed.")), []string{"reason"}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts(opts("unknown_outcomes_total",
			"Batches that were given up without knowing whether they are in the log."))),
		queueFull: prometheus.NewCounter(prometheus.CounterOpts(opts("queue_full_total",
			"Messages that were not taken because their partition's queue was full."))),
		queued: prometheus.NewGauge(prometheus.GaugeOpts(opts("queued_bytes",
			"Bytes that wait for their acknowledgement."))),
	}
	for _, reason := range []string{
		"leader", "not_enough_replicas", "broker", "replication", "sequence", "refused", "dial", "timeout", "connection", "session",
	} {
		m.retries.WithLabelValues(reason)
	}
	if registry == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.records, m.batchRecords, m.ackSeconds, m.retries, m.unknown, m.queueFull, m.queued,
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
