package ingest

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/services/ingest/internal/bots"
)

func register(registry prometheus.Registerer, collectors ...prometheus.Collector) error {
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

// registerBots shows how the cache of verdicts does.
func registerBots(registry prometheus.Registerer, known *bots.Classifier) error {
	lookups := func(result string, value func(bots.Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "linkpulse", Subsystem: "ingest", Name: "user_agents_total",
			Help:        "User agents that were looked at, by whether the cache of verdicts had them.",
			ConstLabels: prometheus.Labels{"cache": result},
		}, func() float64 { return float64(value(known.Stats())) })
	}
	size := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "linkpulse", Subsystem: "ingest", Name: "user_agent_cache_entries",
		Help: "Verdicts that the cache has room for; it never grows.",
	})
	size.Set(float64(known.Stats().Entries))
	return register(registry, size,
		lookups("hit", func(s bots.Stats) uint64 { return s.Hits }),
		lookups("miss", func(s bots.Stats) uint64 { return s.Misses }))
}
