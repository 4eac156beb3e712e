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

// clockMargin is for clocks that differ and for segments that are cut whole.
const clockMargin = time.Hour

// Check returns everything that is wrong with the topics of a record.
func (t Topics) Check(r Record) error {
	var errs []error
	if t.Replicas < 1 {
		errs = append(errs, fmt.Errorf("replicas is %d, must be at least 1", t.Replicas))
	}
	if t.MinInsync < 1 || t.MinInsync > t.Replicas {
		errs = append(errs, fmt.Errorf(
			"min insync replicas is %d, must be 1 to the number of replicas, %d: nothing could be appended otherwise", t.MinInsync, t.Replicas))
	}
	if least := r.Within + clockMargin; t.Retention <= least {
		errs = append(errs, fmt.Errorf(
			"retention is %v, must be more than %v: clicks would be cut away that can still make others duplicates", t.Retention, least))
	}
	return errors.Join(errs...)
}

// Init creates the topics and the record where they are not there, and returns the record that stands. It may be called
// again, and by several at once. A record that differs is a *[ConflictError] and stays. Of several that were written for
// one epoch the first decides, which is the same one for everybody who reads them: the last one would stand, and
// compaction would leave only that, so Init puts the first one back behind it.
func Init(ctx context.Context, c *kafkalog.Cluster, want Record, topics Topics) (Record, error) {
	if err := errors.Join(want.Check(), topics.Check(want)); err != nil {
		return Record{}, fmt.Errorf("creating a deployment: %w", err)
	}
	if err := c.EnsureTopics(ctx, controlSpec(topics)); err != nil {
		return Record{}, err
	}
	want.CreatedAt = time.Now()
	for {
		s, _, err := read(ctx, c)
		if kafkalog.Temporary(err) && rest(ctx) { // the topic may have been created a moment ago
			continue
		}
		if err = errors.Join(err, s.err); err != nil {
			return Record{}, err
		}
		switch {
		case !s.found:
			// The topic of the clicks comes first: whoever sees the record may use what it names.
			if err := c.EnsureTopics(ctx, clicksSpec(want, topics)); err != nil {
				return Record{}, err
			}
			err = write(ctx, c, want)
		case s.record.Epoch != s.first.Epoch || s.first.conflict(s.record) != nil:
			err = write(ctx, c, s.first)
		default:
			if err := s.record.conflict(want); err != nil {
				return s.record, err
			}
			// It is checked even where the record stands: somebody may have deleted it.
			return s.record, c.EnsureTopics(ctx, clicksSpec(s.record, topics))
		}
		// What may have been written shows when it is read.
		if err != nil && !errors.Is(err, kafkalog.ErrUnknownOutcome) {
			return Record{}, err
		}
	}
}

func controlSpec(topics Topics) kafkalog.TopicSpec {
	return kafkalog.TopicSpec{
		Name: ControlTopic, Partitions: 1, Replicas: topics.Replicas,
		Settings: map[string]string{
			"cleanup.policy":                 "compact",
			"min.insync.replicas":            strconv.Itoa(topics.MinInsync),
			"unclean.leader.election.enable": "false",
		},
	}
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
			// A leader that had missed clicks would forget some that were acknowledged.
			"unclean.leader.election.enable": "false",
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
	// first is the first record of the highest epoch that is still there.
	first Record
}

// read returns what stands, and the offset behind what was read.
func read(ctx context.Context, c *kafkalog.Cluster) (s standing, next int64, err error) {
	next, err = c.ReadAll(ctx, ControlTopic, 0, s.take)
	if err != nil {
		return standing{}, 0, err
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
		if len(rec.Value) == 0 {
			*s = standing{} // it was removed
			continue
		}
		*s = standing{first: s.first}
		if s.record, s.err = decode(rec.Value); s.err == nil {
			s.found = true
			if s.record.Epoch > s.first.Epoch {
				s.first = s.record
			}
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
		case errors.Is(err, kafkalog.ErrNoTopic):
			err = fmt.Errorf("%w: the topic %s is not there", ErrMissing, ControlTopic)
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
