package tally

import (
	"context"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Store keeps the totals: [*totals.Epoch].
type Store interface {
	Position(ctx context.Context, partition int32) (totals.Position, error)
	Apply(ctx context.Context, b *totals.Batch) error
}

// Config is data of the deployment.
type Config struct {
	Partitions int
	Fold       fold.Params
}

// Deps are what a Tally uses. All of them are required.
type Deps struct {
	Source feed.Source
	Store  Store
	// Retention returns for how long the log keeps records; 0 is for ever, or not known.
	Retention func(context.Context) (time.Duration, error)

	Log     *zap.Logger
	Metrics *Metrics
}

// Tally has a worker for every partition, of which those run that this process owns. A worker keeps its fold when its
// partition goes to somebody else: it often comes back, and to warm up costs a window of the log.
type Tally struct {
	deps    Deps
	workers []*worker
}

// New returns a Tally at rest. It panics on parameters that no fold can have: they come from the deployment record, which
// was checked when it was read.
func New(cfg Config, deps Deps) *Tally {
	t := &Tally{deps: deps, workers: make([]*worker, cfg.Partitions)}
	for i := range t.workers {
		t.workers[i] = newWorker(int32(i), cfg, deps)
	}
	return t
}

// Run works on the partitions until ctx ends. It is called for one assignment after the other, never for two at once.
// Partitions that the deployment does not have are only watched: links are hashed over those that it has.
func (t *Tally) Run(ctx context.Context, partitions []int32) {
	var running sync.WaitGroup
	for _, p := range partitions {
		running.Go(func() {
			if int(p) < len(t.workers) {
				t.workers[p].run(ctx)
			} else {
				t.watchForeign(ctx, p)
			}
		})
	}
	running.Wait()
}

// Positions returns where the totals of the partitions are, as far as their workers know.
func (t *Tally) Positions(partitions []int32) map[int32]int64 {
	positions := make(map[int32]int64, len(partitions))
	for _, p := range partitions {
		if int(p) >= len(t.workers) {
			continue
		}
		if next := t.workers[p].applied.Load(); next > 0 {
			positions[p] = next
		}
	}
	return positions
}

// label is a partition in metrics.
func label(partition int32) string { return strconv.Itoa(int(partition)) }
