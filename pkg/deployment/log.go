package deployment

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// Topics is how Init creates the topics. It is not part of the record: brokers can be added and retention changed.
type Topics struct {
	// Replicas is how many brokers hold each partition.
	Replicas int
	// MinInsync is how many of them must have a record before it is acknowledged.
	MinInsync int
	// Retention is how long clicks are kept. Readers that were away for longer cannot be exact any more.
	Retention time.Duration
}

// DefaultRetention is how long clicks are kept where nobody says otherwise: a week, far longer than any reader should be
// away.
const DefaultRetention = 7 * 24 * time.Hour

// pollEvery is how often Wait looks again, and how long Follow rests after an error.
const pollEvery = 500 * time.Millisecond

// Init creates the topics and the record where they are not there, and returns the record that stands. It may be called
// again; a record that differs is a *[ConflictError] and stays. Two calls at once with different records are a mistake
// of the caller that only services notice: the later record contradicts the one that they started with.
func Init(ctx context.Context, c *kafkalog.Cluster, want Record, topics Topics) (Record, error) {
	if err := want.Check(); err != nil {
		return Record{}, fmt.Errorf("creating a deployment: %w", err)
	}
	err := c.EnsureTopics(ctx, kafkalog.TopicSpec{
		Name: ControlTopic, Partitions: 1, Replicas: topics.Replicas,
		Settings: map[string]string{"cleanup.policy": "compact", "min.insync.replicas": strconv.Itoa(topics.MinInsync)},
	})
	if err != nil {
		return Record{}, err
	}
	s, _, err := read(ctx, c)
	if err = errors.Join(err, s.err); err != nil {
		return Record{}, err
	}
	if s.found {
		want.Epoch = s.record.Epoch
		if err := s.record.conflict(want); err != nil {
			return s.record, err
		}
	}
	// The topic of the clicks is checked even where the record stands: somebody may have deleted it.
	if err := c.EnsureTopics(ctx, clicksSpec(want, topics)); err != nil {
		return Record{}, err
	}
	if s.found {
		return s.record, nil
	}
	want.CreatedAt = time.Now()
	if err := write(ctx, c, want); err != nil {
		return Record{}, err
	}
	s, _, err = read(ctx, c)
	if err == nil && s.err == nil && !s.found {
		err = ErrMissing
	}
	if err = errors.Join(err, s.err); err != nil {
		return Record{}, fmt.Errorf("reading what was written: %w", err)
	}
	return s.record, s.record.conflict(want)
}

func clicksSpec(r Record, topics Topics) kafkalog.TopicSpec {
	return kafkalog.TopicSpec{
		Name: r.Topic, Partitions: r.Partitions, Replicas: topics.Replicas,
		Settings: map[string]string{
			"cleanup.policy": "delete",
			"retention.ms":   strconv.FormatInt(topics.Retention.Milliseconds(), 10),
			// A bound in bytes would cut the log by traffic, inside the duplicate window of a busy partition.
			"retention.bytes": "-1",
			// The broker tells its time in every acknowledgement, which is how ingest notices a clock that is wrong.
			// Readers use the time that ingest stamped, which stays in the record.
			"message.timestamp.type": "LogAppendTime",
			"min.insync.replicas":    strconv.Itoa(topics.MinInsync),
		},
	}
}

func write(ctx context.Context, c *kafkalog.Cluster, r Record) (err error) {
	value, err := r.encode()
	if err != nil {
		return fmt.Errorf("encoding the deployment record: %w", err)
	}
	p, err := c.NewProducer(ctx, kafkalog.ProducerConfig{Topic: ControlTopic, Partitions: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	msgs := []kafkalog.Message{{TimeMs: r.CreatedAt.UnixMilli(), Key: []byte(Key), Value: value}}
	if err := p.Append(msgs); err != nil {
		return fmt.Errorf("writing the deployment record: %w", err)
	}
	return nil
}

// standing is what the log says: its last record stands, and where that cannot be read or used, nothing does.
// Compaction removes the ones before it, so that nobody may fall back on them.
type standing struct {
	record Record
	found  bool
	err    error // why the last record is of no use
}

// read returns what stands, and the offset behind what was read.
func read(ctx context.Context, c *kafkalog.Cluster) (s standing, next int64, err error) {
	bounds, err := c.Bounds(ctx, ControlTopic, 0)
	if err != nil {
		return standing{}, 0, err
	}
	next = bounds.Start
	for f := c.Follow(ControlTopic, 0, next); next < bounds.End; {
		batch, err := f.Fetch(ctx)
		if err != nil {
			return standing{}, 0, fmt.Errorf("reading the deployment record: %w", err)
		}
		if err := s.take(batch); err != nil {
			return standing{}, 0, err
		}
		m := batch.Marks()
		if m.Next == next && m.End >= bounds.End {
			break // the rest was compacted away; a leader that is new may take a while to know the end, and is asked again
		}
		next = m.Next
	}
	return s, next, nil
}

// take goes through the records of a batch and tells what stands behind it.
func (s *standing) take(batch feed.Batch) error {
	var rec fold.Record
	for batch.Next(&rec) {
		if string(rec.Key) != Key {
			continue
		}
		*s = standing{}
		if len(rec.Value) == 0 {
			continue // it was removed
		}
		if s.record, s.err = decode(rec.Value); s.err == nil {
			s.found = true
		} else {
			s.err = fmt.Errorf("offset %d of %s: %w", rec.Offset, ControlTopic, s.err)
		}
	}
	return batch.Err()
}

// ErrMissing says that there is no record yet.
var ErrMissing = errors.New("there is no deployment record: run `linkpulse init`")

// Wait returns the record, as soon as there is one that can be used. Until then it tells waiting why it waits, whenever
// that changes.
func Wait(ctx context.Context, c *kafkalog.Cluster, waiting func(reason error)) (Record, error) {
	told := ""
	for {
		s, _, err := read(ctx, c)
		switch {
		case err != nil:
		case s.found:
			return s.record, nil
		case s.err != nil:
			err = s.err
		default:
			err = ErrMissing
		}
		if ctx.Err() != nil {
			return Record{}, fmt.Errorf("waiting for the deployment record: %w", context.Cause(ctx))
		}
		if err.Error() != told {
			told = err.Error()
			waiting(err)
		}
		if !rest(ctx) {
			return Record{}, fmt.Errorf("waiting for the deployment record: %w", context.Cause(ctx))
		}
	}
}

// ErrContradiction says that a later record denies the one that is counted by, in the same epoch or from an earlier one,
// or is one that this program cannot count by: whoever goes on counts something else than others.
var ErrContradiction = errors.New("a later deployment record contradicts the one that is counted by")

// Follow waits for the record of a later epoch than that of current and returns it. It returns an error that wraps
// ErrContradiction where another record denies current, with a *[ConflictError] where it is of the same epoch, and one
// when ctx ends. A cluster that is away is waited for, and so is a good record behind one that does not decode: that one
// denies nothing.
func Follow(ctx context.Context, c *kafkalog.Cluster, current Record) (Record, error) {
	for {
		r, err := follow(ctx, c, current)
		if err == nil || errors.Is(err, ErrContradiction) {
			return r, err
		}
		if !rest(ctx) {
			return Record{}, fmt.Errorf("following the deployment record: %w", context.Cause(ctx))
		}
	}
}

// follow is Follow until the first error of the cluster.
func follow(ctx context.Context, c *kafkalog.Cluster, current Record) (Record, error) {
	s, next, err := read(ctx, c)
	if err != nil {
		return Record{}, err
	}
	for f := c.Follow(ControlTopic, 0, next); ; {
		if err := s.deny(current); err != nil {
			return s.record, err
		}
		if s.found && s.record.Epoch > current.Epoch {
			return s.record, nil
		}
		batch, err := f.Fetch(ctx)
		if err != nil {
			return Record{}, err
		}
		if err := s.take(batch); err != nil {
			return Record{}, err
		}
	}
}

// deny returns why current cannot be counted by any longer, if that is so.
func (s *standing) deny(current Record) error {
	switch {
	case errors.Is(s.err, errUnusable):
		return fmt.Errorf("%w: %w", ErrContradiction, s.err)
	case s.found && s.record.Epoch < current.Epoch:
		return fmt.Errorf("%w: epoch %d stands after epoch %d", ErrContradiction, s.record.Epoch, current.Epoch)
	case s.found && s.record.Epoch == current.Epoch:
		if err := current.conflict(s.record); err != nil {
			return fmt.Errorf("%w: %w", ErrContradiction, err)
		}
	}
	return nil
}

func rest(ctx context.Context) bool {
	timer := time.NewTimer(pollEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
