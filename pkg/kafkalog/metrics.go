package kafkalog

import "github.com/prometheus/client_golang/prometheus"

// producerMetrics are the producer's metrics. Reasons are registered before they happen, so that a rate over them exists.
type producerMetrics struct {
	records        prometheus.Counter
	batchRecords   prometheus.Histogram
	ackSeconds     prometheus.Histogram
	requestBatches prometheus.Histogram
	retries        *prometheus.CounterVec
	unknown        prometheus.Counter
	queueFull      prometheus.Counter
	queued         prometheus.GaugeFunc

	registry prometheus.Registerer // nil: not registered
}

func newProducerMetrics(queued func() float64) *producerMetrics {
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
		requestBatches: histogram("request_batches", "Batches, of one partition each, that went out in one request.",
			prometheus.ExponentialBuckets(1, 2, 8)),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts(opts("failed_attempts_total",
			"Attempts to append a batch, or to get a producer id, that failed.")), []string{"reason"}),
		unknown: prometheus.NewCounter(prometheus.CounterOpts(opts("unknown_outcomes_total",
			"Batches that were given up without knowing whether they are in the log."))),
		queueFull: prometheus.NewCounter(prometheus.CounterOpts(opts("queue_full_total",
			"Messages that were not taken because their partition's queue was full."))),
		queued: prometheus.NewGaugeFunc(prometheus.GaugeOpts(opts("queued_bytes",
			"Bytes that wait for their acknowledgement.")), queued),
	}
	for _, reason := range []string{
		"leader", "not_enough_replicas", "broker", "replication", "sequence", "refused", "dial", "timeout", "connection", "session",
	} {
		m.retries.WithLabelValues(reason)
	}
	return m
}

func (m *producerMetrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.records, m.batchRecords, m.ackSeconds, m.requestBatches, m.retries, m.unknown, m.queueFull, m.queued}
}

// register registers all metrics or, where that fails, none.
func (m *producerMetrics) register(registry prometheus.Registerer) error {
	if registry == nil {
		return nil
	}
	for i, c := range m.all() {
		if err := registry.Register(c); err != nil {
			for _, done := range m.all()[:i] {
				registry.Unregister(done)
			}
			return err
		}
	}
	m.registry = registry
	return nil
}

// unregister makes room for the next producer of the process.
func (m *producerMetrics) unregister() {
	if m.registry == nil {
		return
	}
	for _, c := range m.all() {
		m.registry.Unregister(c)
	}
}
