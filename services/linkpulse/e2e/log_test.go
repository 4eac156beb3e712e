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
	left, err := readEnds(ctx, client, d.Topic, &log)
	if err != nil {
		return log, err
	}
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return log, fmt.Errorf("reading the log, %d records to go: %w", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			p := &log.Partitions[r.Partition]
			p.Records = append(p.Records, history.Record{
				Offset: r.Offset, TimeMs: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value,
			})
			left--
		})
	}
	return log, nil
}

// readEnds asks where the partitions end and returns how many records there are. A broker that was killed or stood still
// has just come back, so there may be no leader yet: it asks until there is one.
func readEnds(ctx context.Context, client *kgo.Client, topic string, log *history.Log) (records int64, err error) {
	for {
		records, err = askEnds(ctx, client, topic, log)
		if !kerr.IsRetriable(err) || ctx.Err() != nil {
			return records, err
		}
		pause(ctx, 100*time.Millisecond)
	}
}

// askEnds is readEnds without patience. The topic has no transactions and is not compacted, so every offset is a record.
func askEnds(ctx context.Context, client *kgo.Client, topic string, log *history.Log) (records int64, err error) {
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
			return 0, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return 0, err
				}
				log.Partitions[p.Partition].End = p.Offset
				records += p.Offset
			}
		}
	}
	return records, nil
}
