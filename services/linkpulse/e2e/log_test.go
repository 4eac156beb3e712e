package e2e

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

// readLog reads the whole topic of a deployment with a client that the product does not use. Nobody may be writing.
func readLog(ctx context.Context, d deployment.Record, opts ...kgo.Opt) (history.Log, error) {
	log := history.Log{Epoch: d.Epoch, Window: d.Window, Within: d.Within, Partitions: make([]history.Partition, d.Partitions)}
	from := make(map[int32]kgo.Offset, d.Partitions)
	for p := range log.Partitions {
		from[int32(p)] = kgo.NewOffset().At(0)
	}
	client, err := kgo.NewClient(append(opts,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{d.Topic: from}), kgo.FetchMaxWait(100*time.Millisecond))...)
	if err != nil {
		return log, err
	}
	defer client.Close()
	// A broker that stood still may take itself for the leader a moment longer and tell an end that is none any more. So
	// the ends are asked for until they are those of what was read, twice in a row.
	for agreed := 0; agreed < 2; {
		if err := readEnds(ctx, client, d.Topic, &log); err != nil {
			return log, err
		}
		switch missing, beyond := compareEnds(&log); {
		case missing > 0:
			if err := readOn(ctx, client, &log, missing); err != nil {
				return log, err
			}
			agreed = 0
		case beyond:
			agreed = 0
		default:
			agreed++
		}
		if agreed < 2 {
			client.ForceMetadataRefresh()
			pause(ctx, 100*time.Millisecond)
		}
	}
	return log, nil
}

// compareEnds returns how many records are still to be read, and whether more were read than the ends allow.
func compareEnds(log *history.Log) (missing int64, beyond bool) {
	for _, p := range log.Partitions {
		n := p.End - int64(len(p.Records))
		missing += max(n, 0)
		beyond = beyond || n < 0
	}
	return missing, beyond
}

// readOn reads at least that many records.
func readOn(ctx context.Context, client *kgo.Client, log *history.Log, missing int64) error {
	for missing > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("reading the log, %d records to go: %w", missing, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			p := &log.Partitions[r.Partition]
			if int64(len(p.Records)) < p.End {
				missing--
			}
			p.Records = append(p.Records, history.Record{
				Offset: r.Offset, TimeMs: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value,
			})
		})
	}
	return nil
}

// readEnds asks where the partitions end. A broker that was killed or stood still has just come back, so there may be no
// leader yet: it asks until there is one.
func readEnds(ctx context.Context, client *kgo.Client, topic string, log *history.Log) error {
	for {
		err := askEnds(ctx, client, topic, log)
		if !kerr.IsRetriable(err) || ctx.Err() != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// askEnds is readEnds without patience. The topic has no transactions and is not compacted: every offset is a record.
func askEnds(ctx context.Context, client *kgo.Client, topic string, log *history.Log) error {
	asked := kmsg.NewListOffsetsRequestTopic()
	asked.Topic = topic
	for p := range log.Partitions {
		of := kmsg.NewListOffsetsRequestTopicPartition()
		of.Partition, of.Timestamp = int32(p), -1 // the end
		asked.Partitions = append(asked.Partitions, of)
	}
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	req.Topics = append(req.Topics, asked)
	for _, shard := range client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return err
				}
				log.Partitions[p.Partition].End = p.Offset
			}
		}
	}
	return nil
}
