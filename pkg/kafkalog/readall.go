package kafkalog

import (
	"context"
	"fmt"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// ReadAll reads a partition from its start to where it ends now and returns the offset behind what it read, from where a
// follower goes on. It is for topics that are compacted to what stands, and small. Each answer is given to take, where
// the end of what came before may come again, in its order; an error of that ends it.
func (c *Cluster) ReadAll(ctx context.Context, topic string, partition int32, take func(feed.Batch) error) (next int64, err error) {
	bounds, err := c.Bounds(ctx, topic, partition)
	if err != nil {
		return 0, err
	}
	next = bounds.Start
	for f := c.Follow(topic, partition, next); next < bounds.End; {
		batch, err := f.Fetch(ctx)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", topic, err)
		}
		if err := take(batch); err != nil {
			return 0, err
		}
		m := batch.Marks()
		if m.Next == next && m.End >= bounds.End {
			break // the rest was compacted away; a leader that is new may take a while to know the end, and is asked again
		}
		next = m.Next
	}
	return next, nil
}
