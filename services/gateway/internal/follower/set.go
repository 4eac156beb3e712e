package follower

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Watcher is told that the reading of a link may have changed: clicks were counted, its total landed, or it is syncing
// again. Changed is called under the lock of the link's partition, at most once per link and chunk of the log: it must
// return at once, and it must not call back into this package.
type Watcher interface{ Changed() }

// Snapshotter reads totals. It is called for one partition at a time, for several partitions at once.
type Snapshotter interface {
	// Totals returns the totals of the links, all of which lie in the partition, and where they are true. A link that is
	// not in the answer has no clicks. Errors may wrap [ErrMissing] or [ErrRule]; any other one means that the store did
	// not answer. Whatever the error, the links are asked for again.
	Totals(ctx context.Context, partition int32, links []string) (sums map[string]fold.Total, at At, err error)
}

// At is where totals are true: they are the fold of [0, Next), in a log that has the record Last, where that is not the
// zero value.
type At struct {
	totals.Position
	// IsRead says that the totals were read from the log for this answer: of one that was created anew a moment ago, they
	// are of that one. What a store keeps is of the log that was counted first, and stays that.
	IsRead bool
	// Log is the log that they were read from, where the source knows.
	Log feed.LogID
}

// What a Snapshotter's error can say beside that the store did not answer.
var (
	// ErrMissing: the store has no totals of the partition. That is not the same as totals of 0.
	ErrMissing = errors.New("the store has no totals of the partition")
	// ErrRule: the totals were counted by another rule than the one of this deployment.
	ErrRule = errors.New("the totals were counted by another rule")
)

// Config of a Set. All of it but Patience is data of the deployment.
type Config struct {
	Partitions int
	Fold       fold.Params
	Epoch      int64
	// Patience is how long one read of totals may take; 0 is for as long as it takes.
	Patience time.Duration
}

// Deps are what a Set uses. All of them are required.
type Deps struct {
	Source    feed.Source
	Snapshots Snapshotter
	Log       *zap.Logger
	Registry  prometheus.Registerer
}

// Set follows every partition of a deployment. It is safe for concurrent use.
type Set struct {
	partitions []*partition
	metrics    *metrics
}

// New returns a Set at rest; [Set.Run] starts it. It registers its metrics.
func New(cfg Config, deps Deps) (*Set, error) {
	if cfg.Partitions < 1 {
		return nil, fmt.Errorf("following the log: %d partitions, must be at least 1", cfg.Partitions)
	}
	if err := cfg.Fold.Check(); err != nil {
		return nil, fmt.Errorf("following the log: %w", err)
	}
	m, err := newMetrics(deps.Registry)
	if err != nil {
		return nil, fmt.Errorf("following the log: %w", err)
	}
	s := &Set{metrics: m, partitions: make([]*partition, cfg.Partitions)}
	t := newTrouble(deps.Log, m.troubled)
	for i := range s.partitions {
		s.partitions[i] = newPartition(int32(i), cfg, deps, m, t)
	}
	return s, nil
}

// Run follows the log until ctx ends, and then returns nil. No fault of the log ends it: it tries again, and the
// watermark tells how far behind that leaves the counts. It is to be called once.
func (s *Set) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, p := range s.partitions {
		running.Go(func() { p.follow(ctx) })
		running.Go(func() { p.readTotals(ctx) })
	}
	running.Wait()
	return nil
}

// Watch returns the count of a link, kept up to date until w is released. The first watcher of a link makes its total
// be read; w hears of it when it has landed. The link must be valid: see [click.CheckLink].
func (s *Set) Watch(link string, w Watcher) *Watched {
	return s.partitions[click.Partition(link, len(s.partitions))].watch(link, w)
}

// Ready returns nil once every partition has reached the end that its log had when it was opened. A log that is away
// afterwards shows in the watermark, and is no reason to send dashboards elsewhere; one that is another than the one that
// was counted is, until a new epoch begins.
func (s *Set) Ready() error {
	var errs []error
	for _, p := range s.partitions {
		if reason := p.stopReason(); reason != "" {
			errs = append(errs, fmt.Errorf("the log of partition %d is not the one that was counted (%s): "+
				"begin a new epoch with `linkpulse totals rebuild --topic NAME`", p.id, reason))
		} else if !p.caughtUp.Load() {
			errs = append(errs, fmt.Errorf("partition %d has not caught up with the log yet", p.id))
		}
	}
	return errors.Join(errs...)
}

// Watermark returns the time up to which the counts are complete: every click that the log took before it is in them.
// The partition that is furthest behind decides. It is zero until all partitions have reached the end of the log once.
func (s *Set) Watermark() (completeTo time.Time) {
	oldest := s.partitions[0].completeTo.Load()
	for _, p := range s.partitions[1:] {
		oldest = min(oldest, p.completeTo.Load())
	}
	if oldest == 0 {
		return time.Time{}
	}
	return time.Unix(0, oldest)
}
