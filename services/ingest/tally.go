package ingest

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/ingest/internal/tally"
)

const (
	// tallyGroup shares the partitions among all ingests that tally. It is one for all epochs: a partition has one owner.
	tallyGroup = "linkpulse-tally"
	// commitEvery is how often the group is told how far the totals are, for those who look at its lag.
	commitEvery = 5 * time.Second
)

// tally folds the log into totals until ctx ends, one epoch after the other. It does nothing where the tally is off.
func (s *Service) tally(ctx context.Context, fail context.CancelCauseFunc) error {
	if s.totals == nil {
		return nil
	}
	record, err := deployment.Wait(ctx, s.cluster, func(error) {}) // the API's wait says why
	for err == nil {
		record, err = s.tallyEpoch(ctx, record)
	}
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	err = fmt.Errorf("tallying: %w", err)
	fail(err)
	return err
}

// tallyEpoch tallies until the deployment record changes and returns the new one.
func (s *Service) tallyEpoch(ctx context.Context, record deployment.Record) (next deployment.Record, err error) {
	ctx, cancel := context.WithCancel(ctx)
	owned := make(chan error, 1)
	defer func() {
		cancel()
		if ownErr := <-owned; err == nil {
			err = ownErr
		}
	}()
	t := tally.New(tally.Config{Partitions: record.Partitions, Fold: record.Fold()}, tally.Deps{
		Source: s.cluster.Source(record.Topic), Store: s.totals.Epoch(record.Epoch, totals.RuleOf(record.Fold())),
		Retention: func(ctx context.Context) (time.Duration, error) { return s.cluster.Retention(ctx, record.Topic) },
		Log:       s.log.Named("tally"), Metrics: s.tallies,
	})
	go func() {
		owned <- s.cluster.Own(ctx, tallyGroup, record.Topic, func(ctx context.Context, a *kafkalog.Assignment) {
			s.log.Info("tallying", zap.Int32s("partitions", a.Partitions), zap.Int64("epoch", record.Epoch))
			s.tallyAssigned(ctx, t, a)
		})
	}()
	return deployment.Follow(ctx, s.cluster, record)
}

// tallyAssigned tallies what the group has assigned until that ends, and tells the group how far it is.
func (s *Service) tallyAssigned(ctx context.Context, t *tally.Tally, a *kafkalog.Assignment) {
	done := make(chan struct{})
	defer func() { <-done }()
	go func() {
		defer close(done)
		ticker := time.NewTicker(commitEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				if err := a.Commit(ctx, t.Positions(a.Partitions)); err != nil {
					s.log.Debug("positions were not committed", zap.Error(err)) // nothing depends on them
				}
			}
		}
	}()
	t.Run(ctx, a.Partitions)
	<-ctx.Done() // a member without partitions waits for the next assignment
}
