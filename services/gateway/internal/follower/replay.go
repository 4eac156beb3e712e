package follower

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/recount"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Replay is the [Snapshotter] that needs no store: it folds the log itself, from its start, for every answer. An answer
// costs a read of the whole partition. It is exact while the log still starts at 0; where retention has cut it, the
// totals are those of what is left, which Replay says in the log, once for each partition, and shows as a metric.
//
// Where the topic is created anew, an answer is of the new one as soon as it can be read, which may be long before the
// follower notices. So an answer says which log it is of, and the follower makes sure that it is its own.
type Replay struct {
	source feed.Source
	log    *zap.Logger

	// slots bounds how many replays run at once: they compete with the live log for the processors.
	slots   chan struct{}
	folds   sync.Pool     // of *fold.Fold: each is megabytes
	saidCut []atomic.Bool // by partition

	logStart *prometheus.GaugeVec
	running  prometheus.Gauge
	records  prometheus.Counter
}

// NewReplay returns a Replay for the deployment that cfg describes. It uses all of deps but Snapshots and registers its
// metrics.
func NewReplay(cfg Config, deps Deps) (*Replay, error) {
	if err := cfg.Fold.Check(); err != nil {
		return nil, fmt.Errorf("replaying the log: %w", err)
	}
	name := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "linkpulse", Subsystem: "gateway_replay", Name: name, Help: help}
	}
	r := &Replay{
		source:  deps.Source,
		log:     deps.Log,
		slots:   make(chan struct{}, runtime.GOMAXPROCS(0)),
		saidCut: make([]atomic.Bool, cfg.Partitions),
		logStart: prometheus.NewGaugeVec(prometheus.GaugeOpts(name("log_start",
			"First offset of a partition's log at its last replay. Not 0: the totals are only of what retention left.")),
			[]string{"partition"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts(name("running", "Replays under way."))),
		records: prometheus.NewCounter(prometheus.CounterOpts(name("offsets_total", "Offsets replayed."))),
	}
	r.folds.New = func() any { return fold.New(cfg.Fold) }
	for _, c := range []prometheus.Collector{r.logStart, r.running, r.records} {
		if err := deps.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("replaying the log: %w", err)
		}
	}
	return r, nil
}

// Totals implements [Snapshotter]. It waits while as many replays run as there are processors.
func (r *Replay) Totals(
	ctx context.Context, partition int32, links []string,
) (sums map[string]fold.Total, at At, err error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, at, context.Cause(ctx)
	}
	r.running.Inc()
	f := r.folds.Get().(*fold.Fold)
	defer func() {
		r.folds.Put(f)
		r.running.Dec()
		<-r.slots
	}()
	reached := int64(-1)
	res, err := recount.Run(ctx, r.source, f, recount.Request{
		Partition: partition,
		Links:     links,
		Progress: func(position, _ int64) {
			if reached >= 0 {
				r.records.Add(float64(position - reached))
			}
			reached = position
		},
	})
	if err != nil {
		return nil, at, err
	}
	r.logStart.WithLabelValues(partitionLabel(partition)).Set(float64(res.Start))
	if res.Start > 0 && !r.saidCut[partition].Swap(true) {
		r.log.Error("the log does not start at 0 any more: counts are those of what retention left of it",
			zap.Int32("partition", partition), zap.Int64("log_start", res.Start))
	}
	at.Next, at.Log, at.IsRead = res.Next, res.Log, true
	if res.Last.Key != nil || res.Last.Value != nil {
		at.Last = totals.FingerprintOf(res.Last)
	}
	return res.Totals, at, nil
}
