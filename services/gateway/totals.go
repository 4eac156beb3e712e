package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/gateway/internal/follower"
	"github.com/linkpulse/linkpulse/services/gateway/internal/rest"
)

// Where totals come from.
const (
	totalsRedis  = "redis"
	totalsReplay = "replay"
)

// totalsPatience bounds one read of totals. A Redis that was cut off in the middle of a read is asked again after that
// long and the follower's wait, which is in time to have every link right two seconds after the end of the fault.
const totalsPatience = time.Second

// openTotals returns the connection to Redis, nil where totals come from the log.
func (s *Service) openTotals(deps Deps) (*totals.Store, error) {
	if s.cfg.Totals == totalsReplay {
		return nil, nil //nolint:nilnil // no store is a configuration
	}
	opts := []totals.Option{totals.WithLogger(s.log), totals.WithMetrics(s.registry)}
	if deps.Dial != nil {
		opts = append(opts, totals.WithDialer(deps.Dial))
	}
	return totals.Open(s.cfg.Redis, opts...)
}

// epochTotals is the totals of an epoch in Redis, as the follower and the REST interface ask for them.
type epochTotals struct {
	epoch      *totals.Epoch
	partitions int
}

func newEpochTotals(store *totals.Store, record deployment.Record) epochTotals {
	return epochTotals{epoch: store.Epoch(record.Epoch, totals.RuleOf(record.Fold())), partitions: record.Partitions}
}

// Totals implements follower.Snapshotter.
func (t epochTotals) Totals(
	ctx context.Context, partition int32, links []string,
) (sums map[string]fold.Total, at follower.At, err error) {
	sums, at.Position, err = t.epoch.Totals(ctx, partition, links)
	var rule *totals.RuleError
	switch {
	case errors.Is(err, totals.ErrMissing):
		err = fmt.Errorf("%w: %w", follower.ErrMissing, err)
	case errors.As(err, &rule):
		err = fmt.Errorf("%w: %w", follower.ErrRule, err)
	}
	return sums, at, err
}

// Minutes implements rest.History.
func (t epochTotals) Minutes(ctx context.Context, link string, from, to int64) (minutes []rest.Minute, next int64, err error) {
	h, err := t.epoch.History(ctx, click.Partition(link, t.partitions), link, from, to)
	if err != nil {
		return nil, 0, err
	}
	for _, m := range h.Minutes {
		if m.Count != 0 {
			minutes = append(minutes, rest.Minute(m))
		}
	}
	return minutes, h.Next, nil
}
