package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

// Retention returns for how long a topic keeps its records: 0 where it keeps them for ever, or where the cluster tells its
// settings only to others.
func (c *Cluster) Retention(ctx context.Context, topic string) (time.Duration, error) {
	t, err := c.topic(topic)
	if err != nil {
		return 0, err
	}
	settings, err := t.settings(ctx, topic)
	if errors.Is(err, kafka.TopicAuthorizationFailed) {
		return 0, nil
	}
	if err != nil {
		t.refresh(err)
		return 0, fmt.Errorf("asking for the retention of topic %s: %w", topic, err)
	}
	const name = "retention.ms"
	ms, err := strconv.ParseInt(settings[name], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("asking for the retention of topic %s: %s is %q", topic, name, settings[name])
	}
	if ms < 0 || ms > int64(1<<63-1)/int64(time.Millisecond) {
		return 0, nil
	}
	return time.Duration(ms) * time.Millisecond, nil
}
