package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"
)

// Timings of a group. A member that dies holds its partitions for the session; a rebalance takes about a heartbeat.
const (
	groupSession   = 10 * time.Second
	groupHeartbeat = time.Second
	groupRebalance = 10 * time.Second
	groupBackoff   = 500 * time.Millisecond
	// leaveWithin bounds the good manners of a member that was told to stop: joining can hang for longer than a drain.
	leaveWithin = 2 * time.Second
)

// Assignment is what one member of a group was given until the next rebalance.
type Assignment struct {
	// Partitions of the topic, none where there are more members than partitions.
	Partitions []int32

	cluster    *Cluster
	topic      string
	generation *kafka.Generation
}

// Commit tells the group how far partitions were read, which tools for operators show as lag. Nothing here reads it. It
// does not share the connection of the heartbeats: the library lets one request wait for the other there.
func (a *Assignment) Commit(ctx context.Context, positions map[int32]int64) error {
	if len(positions) == 0 {
		return nil
	}
	t, err := a.cluster.topic(a.topic)
	if err != nil {
		return err
	}
	offsets := make([]kafka.OffsetCommit, 0, len(positions))
	for partition, next := range positions {
		offsets = append(offsets, kafka.OffsetCommit{Partition: int(partition), Offset: next})
	}
	answer, err := t.client().OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: a.generation.GroupID, GenerationID: int(a.generation.ID), MemberID: a.generation.MemberID,
		Topics: map[string][]kafka.OffsetCommit{a.topic: offsets},
	})
	if err == nil {
		for _, p := range answer.Topics[a.topic] {
			err = errors.Join(err, p.Error)
		}
	}
	if err != nil {
		return fmt.Errorf("committing positions: %w", err)
	}
	return nil
}

// Own joins a consumer group and calls work with the partitions of a topic that it was given, again after each
// rebalance, until ctx ends; then it leaves the group, so that the others need not wait for its session to expire. The
// context of work ends with the assignment, and work must return then; if it returns before, the group is asked anew. A
// group that cannot be reached is tried again for ever.
//
// A group assigns and does no more: two members may believe at once that a partition is theirs, since the one that was
// thought dead may live on. Whoever uses this makes two owners harmless.
func (c *Cluster) Own(ctx context.Context, group, topic string, work func(context.Context, *Assignment)) error {
	conns := &connections{dialer: c.conns.dial}
	member, err := c.join(group, topic, conns)
	if err != nil {
		return err
	}
	left := make(chan struct{})
	defer func() { <-left }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() {
		defer close(left)
		leave(member, conns)
	})
	var pause backoff
	told := ""
	for {
		generation, err := member.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if told != err.Error() {
				told = err.Error()
				c.log.Warn("the group cannot be joined, trying again until it can", zap.String("group", group), zap.Error(err))
			}
			if !pause.wait(ctx) {
				return nil
			}
		default:
			pause, told = backoff{}, ""
			c.runGeneration(ctx, topic, generation, work)
		}
	}
}

// runGeneration calls work for one generation and returns when it has returned.
func (c *Cluster) runGeneration(
	ctx context.Context, topic string, generation *kafka.Generation, work func(context.Context, *Assignment),
) {
	a := &Assignment{cluster: c, topic: topic, generation: generation}
	for _, p := range generation.Assignments[topic] {
		a.Partitions = append(a.Partitions, int32(p.ID)) //nolint:gosec // Kafka's partitions are 32 bits
	}
	done := make(chan struct{})
	generation.Start(func(generation context.Context) {
		defer close(done)
		own, cancel := context.WithCancel(generation)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		work(own, a)
		if ctx.Err() != nil {
			// The library asks for the next assignment as soon as this function has returned. Unless it knows by then that
			// the member is leaving, the others wait for a member that joins to leave.
			<-generation.Done()
		}
	})
	<-done
}

// leave tells the group, and breaks the member's connections where that takes too long.
func leave(member *kafka.ConsumerGroup, conns *connections) {
	late := time.AfterFunc(leaveWithin, conns.close)
	defer late.Stop()
	_ = member.Close() // always nil
}

func (c *Cluster) join(group, topic string, conns *connections) (*kafka.ConsumerGroup, error) {
	dialer := &kafka.Dialer{
		ClientID: c.base.ClientID, DialFunc: conns.dial, Timeout: dialTimeout, TLS: c.base.TLS, SASLMechanism: c.base.SASL,
	}
	member, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: group, Brokers: strings.Split(c.addr.String(), ","), Dialer: dialer, Topics: []string{topic},
		GroupBalancers:    []kafka.GroupBalancer{kafka.RangeGroupBalancer{}},
		HeartbeatInterval: groupHeartbeat, SessionTimeout: groupSession, RebalanceTimeout: groupRebalance,
		JoinGroupBackoff: groupBackoff, Timeout: requestTimeout, StartOffset: kafka.FirstOffset,
		ErrorLogger: kafka.LoggerFunc(func(format string, args ...any) {
			if !closing(args) {
				c.log.Debug("group", zap.String("group", group), zap.String("says", fmt.Sprintf(format, args...)))
			}
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("joining group %s: %w", group, err)
	}
	return member, nil
}

// closing tells whether what the library says is only that a connection was closed.
func closing(args []any) bool {
	for _, a := range args {
		if err, ok := a.(error); ok && (errors.Is(err, io.EOF) || errors.Is(err, kafka.ErrGroupClosed)) {
			return true
		}
	}
	return false
}
