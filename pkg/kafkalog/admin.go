package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/segmentio/kafka-go"
)

// TopicSpec is a topic as it must be.
type TopicSpec struct {
	Name       string
	Partitions int
	// Replicas is how many brokers hold a partition; it is only used to create the topic.
	Replicas int
	// Settings are the topic's own, by Kafka's names.
	Settings map[string]string
}

// TopicError reports a topic that is there and differs from what it must be. Nothing was changed.
type TopicError struct {
	Topic string
	// Differences has a sentence for each.
	Differences []string
}

// Error lists the differences.
func (e *TopicError) Error() string {
	return fmt.Sprintf("topic %s is not as it must be: %v", e.Topic, e.Differences)
}

// EnsureTopics creates the topics that are not there, explicitly and with their settings, and checks those that are. It
// may be called again, and by several at once. It waits until every partition has a leader.
func (c *Cluster) EnsureTopics(ctx context.Context, specs ...TopicSpec) error {
	for _, spec := range specs {
		if err := c.ensureTopic(ctx, spec); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) ensureTopic(ctx context.Context, spec TopicSpec) error {
	t, err := c.topic(spec.Name)
	if err != nil {
		return err
	}
	var pause backoff
	for {
		err := t.create(ctx, spec)
		if err == nil || errors.Is(err, kafka.TopicAlreadyExists) {
			break
		}
		t.refresh(err)
		if permanent(err) || !pause.wait(ctx) {
			return fmt.Errorf("creating topic %s: %w", spec.Name, err)
		}
	}
	// A broker that has not heard of the topic yet denies that there is one, for a moment longer than the one that was
	// asked before it.
	for {
		err := t.led(ctx)
		if err == nil {
			err = c.CheckTopic(ctx, spec)
		}
		if _, differs := errors.AsType[*TopicError](err); err == nil || differs || permanent(err) {
			return err
		}
		t.refresh(err)
		if !pause.wait(ctx) {
			return fmt.Errorf("waiting for topic %s: %w", spec.Name, err)
		}
	}
}

// led returns nil if every partition that the topic has, has a leader. Whether there are enough is not its question.
func (t *topicClient) led(ctx context.Context) error {
	parts, err := t.partitions(ctx)
	if err != nil {
		return err
	}
	_, err = t.leaders(ctx, max(len(parts), 1))
	return err
}

func (t *topicClient) create(ctx context.Context, spec TopicSpec) error {
	topic := kafka.TopicConfig{Topic: spec.Name, NumPartitions: spec.Partitions, ReplicationFactor: spec.Replicas}
	for _, name := range slices.Sorted(maps.Keys(spec.Settings)) {
		topic.ConfigEntries = append(topic.ConfigEntries, kafka.ConfigEntry{ConfigName: name, ConfigValue: spec.Settings[name]})
	}
	res, err := t.client().CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{topic}})
	if err != nil {
		return t.explain(ctx, err)
	}
	return res.Errors[spec.Name]
}

// Temporary tells whether a broker refused for a reason that passes by itself, such as a leader that is being elected.
func Temporary(err error) bool {
	code, ok := errors.AsType[kafka.Error](err)
	return ok && code.Temporary()
}

// permanent tells errors that trying again cannot mend.
func permanent(err error) bool {
	var code kafka.Error
	// The client library says that a broker is not available where it has not found one to ask yet.
	return errors.As(err, &code) && !code.Temporary() && code != kafka.BrokerNotAvailable
}

// CheckTopic returns a *[TopicError] where the topic differs from the spec. More partitions than the spec names are no
// difference: links are hashed over the number in the deployment record, so they stay where they are.
func (c *Cluster) CheckTopic(ctx context.Context, spec TopicSpec) error {
	t, err := c.topic(spec.Name)
	if err != nil {
		return err
	}
	parts, err := t.partitions(ctx)
	if err != nil {
		return fmt.Errorf("checking topic %s: %w", spec.Name, err)
	}
	var differences []string
	if len(parts) < spec.Partitions {
		differences = append(differences, fmt.Sprintf("it has %d partitions, at least %d are needed", len(parts), spec.Partitions))
	}
	settings, err := t.settings(ctx, spec.Name)
	if err != nil {
		return fmt.Errorf("checking topic %s: %w", spec.Name, err)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Settings)) {
		if got, told := settings[name]; told && got != spec.Settings[name] {
			differences = append(differences, fmt.Sprintf("%s is %q, must be %q", name, got, spec.Settings[name]))
		}
	}
	if len(differences) > 0 {
		return &TopicError{Topic: spec.Name, Differences: differences}
	}
	return nil
}

// resourceTopic is the type of topics in Kafka's ConfigResource.
const resourceTopic = kafka.ResourceTypeTopic

// settings returns the topic's settings, defaults included.
func (t *topicClient) settings(ctx context.Context, topic string) (map[string]string, error) {
	res, err := t.client().DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: resourceTopic, ResourceName: topic}},
	})
	if err != nil {
		return nil, t.explain(ctx, err)
	}
	settings := map[string]string{}
	for _, r := range res.Resources {
		if r.Error != nil {
			return nil, r.Error
		}
		for _, e := range r.ConfigEntries {
			settings[e.ConfigName] = e.ConfigValue
		}
	}
	return settings, nil
}
