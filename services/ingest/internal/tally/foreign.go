package tally

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// foreignEvery is how often a partition is looked at that nobody should write to.
const foreignEvery = time.Minute

// watchForeign looks at a partition that the topic has and the deployment does not, until ctx ends. Links are hashed over
// the deployment's partitions, so what lies there is of a producer that hashes over all that it sees, and counts nowhere.
func (t *Tally) watchForeign(ctx context.Context, partition int32) {
	records := t.deps.Metrics.foreign.WithLabelValues(label(partition))
	defer records.Set(0) // its owner reports on it
	told := int64(0)
	for ctx.Err() == nil {
		start, end, err := t.deps.Source.Bounds(ctx, partition)
		if err == nil {
			records.Set(float64(end - start))
		}
		if err == nil && end > max(start, told) {
			told = end
			t.deps.Log.Error("records lie in a partition that the deployment does not have, and count nowhere: "+
				"a foreign producer hashes links over the topic's partitions",
				zap.Int32("partition", partition), zap.Int64("records", end-start), zap.Int("partitions", len(t.workers)))
		}
		wait(ctx, foreignEvery)
	}
}
