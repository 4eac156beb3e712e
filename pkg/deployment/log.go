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
	stands, found, _, err := read(ctx, c)
	if err != nil {
		return Record{}, err
	}
	if found {
		want.Epoch = stands.Epoch
		if ds := stands.diff(want); len(ds) > 0 {
			return stands, &ConflictError{Stands: stands, Differences: ds}
		}
	}
	// The topic of the clicks is checked even where the record stands: somebody may have deleted it.
	if err := c.EnsureTopics(ctx, clicksSpec(want, topics)); err != nil {
		return Record{}, err
	}
	if found {
		return stands, nil
	}
	want.CreatedAt = time.Now()
	if err := write(ctx, c, want); err != nil {
		return Record{}, err
	}
	stands, _, _, err = read(ctx, c)
	if err != nil {
		return Record{}, err
	}
	if ds := stands.diff(want); len(ds) > 0 {
		return stands, &ConflictError{Stands: stands, Differences: ds}
	}
	return stands, nil
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

// read returns the record that stands, the last one as compaction keeps it, and the offset behind what was read.
func read(ctx context.Context, c *kafkalog.Cluster) (r Record, found bool, next int64, err error) {
	bounds, err := c.Bounds(ctx, ControlTopic, 0)
	if err != nil {
		return Record{}, false, 0, err
	}
	next = bounds.Start
	for f := c.Follow(ControlTopic, 0, next); next < bounds.End; {
		batch, err := f.Fetch(ctx)
		if err != nil {
			return Record{}, false, 0, fmt.Errorf("reading the deployment record: %w", err)
		}
		if r, found, err = newest(batch, r, found); err != nil {
			return Record{}, false, 0, err
		}
		if batch.Marks().Next == next {
			break // the rest was compacted away
		}
		next = batch.Marks().Next
	}
	return r, found, next, nil
}

// newest returns the last deployment record of a batch, or the one before it.
func newest(batch feed.Batch, before Record, found bool) (Record, bool, error) {
	var rec fold.Record
	for batch.Next(&rec) {
		if string(rec.Key) != Key || len(rec.Value) == 0 {
			continue
		}
		r, err := decode(rec.Value)
		if err != nil {
			return Record{}, false, err
		}
		before, found = r, true
	}
	return before, found, batch.Err()
}

// ErrMissing says that there is no record yet.
var ErrMissing = errors.New("there is no deployment record: run `linkpulse init`")

// Wait returns the record, as soon as there is one that can be used. Until then it tells waiting why it waits, whenever
// that changes.
func Wait(ctx context.Context, c *kafkalog.Cluster, waiting func(reason error)) (Record, error) {
	told := ""
	for {
		r, found, _, err := read(ctx, c)
		if err == nil && found {
			return r, nil
		}
		if err == nil {
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

// ErrContradiction says that a later record of the same epoch differs: whoever goes on counts something else than others.
var ErrContradiction = errors.New("the deployment record was changed within its epoch")

// Follow waits for the record of a later epoch than that of current and returns it. It returns an error that wraps
// ErrContradiction and a *[ConflictError] where the record was changed within the epoch, and one when ctx ends. A cluster
// that is away is waited for.
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
	r, found, next, err := read(ctx, c)
	if err != nil {
		return Record{}, err
	}
	for f := c.Follow(ControlTopic, 0, next); ; {
		if found && r.Epoch > current.Epoch {
			return r, nil
		}
		if found && r.Epoch == current.Epoch {
			if ds := current.diff(r); len(ds) > 0 {
				return r, fmt.Errorf("%w: %w", ErrContradiction, &ConflictError{Stands: current, Differences: ds})
			}
		}
		batch, err := f.Fetch(ctx)
		if err != nil {
			return Record{}, err
		}
		if r, found, err = newest(batch, Record{}, false); err != nil {
			return Record{}, err
		}
	}
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
