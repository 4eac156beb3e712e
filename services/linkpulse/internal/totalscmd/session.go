package totalscmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// session is what a command works with.
type session struct {
	env     Env
	cluster *kafkalog.Cluster
	store   *totals.Store
	record  deployment.Record
}

// connect opens both ends and reads the deployment record.
func connect(ctx context.Context, c *Connection, env Env) (*session, error) {
	s := &session{env: env}
	kafka := []kafkalog.Option{kafkalog.WithLogger(env.Log)}
	redis := []totals.Option{totals.WithLogger(env.Log)}
	if env.Dial != nil {
		kafka = append(kafka, kafkalog.WithDialer(env.Dial))
		redis = append(redis, totals.WithDialer(env.Dial))
	}
	var err error
	if s.cluster, err = kafkalog.Open(c.Kafka, kafka...); err != nil {
		return nil, err
	}
	if s.store, err = totals.Open(c.Redis, redis...); err != nil {
		s.cluster.Close()
		return nil, err
	}
	if err := s.read(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) close() {
	s.store.Close()
	s.cluster.Close()
}

// read reads the deployment record.
func (s *session) read(ctx context.Context) error {
	return patiently(ctx, func() (err error) {
		s.record, err = deployment.Read(ctx, s.cluster)
		return err
	})
}

// epoch returns the totals of an epoch, counted by the rule that stands.
func (s *session) epoch(number int64) *totals.Epoch {
	return s.store.Epoch(number, totals.RuleOf(s.record.Fold()))
}

// current returns the totals that are in use.
func (s *session) current() *totals.Epoch { return s.epoch(s.record.Epoch) }

// source returns the log.
func (s *session) source(topic string) feed.Source { return patient{s.cluster.Source(topic)} }

// partitions yields the numbers of all partitions.
func (s *session) partitions() []int32 {
	all := make([]int32, s.record.Partitions)
	for p := range all {
		all[p] = int32(p)
	}
	return all
}

const (
	// patience is for how long a broker that cannot be asked is asked again: an election takes seconds.
	patience = 30 * time.Second
	// patiencePause is the rest between two questions.
	patiencePause = 200 * time.Millisecond
)

// patiently calls ask until it works, or says what does not pass by itself, or patience is over.
func patiently(ctx context.Context, ask func() error) error {
	for begun := time.Now(); ; {
		err := ask()
		if err == nil || errors.Is(err, feed.ErrLost) || errors.Is(err, feed.ErrBeyondEnd) ||
			errors.Is(err, deployment.ErrMissing) || errors.Is(err, kafkalog.ErrNoTopic) || time.Since(begun) > patience || !pause(ctx, patiencePause) {
			return err
		}
	}
}

// pause waits and tells whether it was not interrupted.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// patient is a log that is asked again where that may help: it takes hours to read, and brokers restart meanwhile.
type patient struct{ feed.Source }

// Bounds implements [feed.Source].
func (p patient) Bounds(ctx context.Context, partition int32) (start, end int64, err error) {
	err = patiently(ctx, func() error {
		start, end, err = p.Source.Bounds(ctx, partition)
		return err
	})
	return start, end, err
}

// Open implements [feed.Source].
func (p patient) Open(partition int32, from int64) feed.Log {
	return patientLog{p.Source.Open(partition, from)}
}

type patientLog struct{ feed.Log }

// Fetch implements [feed.Log].
func (p patientLog) Fetch(ctx context.Context) (batch feed.Batch, err error) {
	err = patiently(ctx, func() error {
		batch, err = p.Log.Fetch(ctx)
		return err
	})
	return batch, err
}

// leftovers returns the partitions that have totals of an epoch which has not begun: a rebuild was aborted.
func (s *session) leftovers(ctx context.Context, epoch int64) (partitions []int32, err error) {
	for _, p := range s.partitions() {
		_, err := s.epoch(epoch).Position(ctx, p)
		switch {
		case errors.Is(err, totals.ErrMissing):
		case totals.IsAway(err):
			return nil, fmt.Errorf("looking for leftovers of epoch %d: %w", epoch, err)
		default: // whatever is there
			partitions = append(partitions, p)
		}
	}
	return partitions, nil
}
