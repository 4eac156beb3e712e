package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"
)

// Timings of a group. A member that dies holds its partitions for the session; a rebalance takes about a heartbeat.
const (
	groupSession   = 10 * time.Second
	groupHeartbeat = time.Second
	// groupRebalance is how long the group waits for members it believes in, and a member for the group that and
	// requestTimeout. The first must be less than half of the second: of two members that join for the first time while the
	// group waits for a third one that is gone, each may have the group begin its wait anew, and with longer waits they give
	// up and join again in turns for ever.
	groupRebalance = 4 * time.Second
	groupBackoff   = 500 * time.Millisecond
	// leaveWithin bounds the good manners of a member that was told to stop: joining can hang for longer than a drain.
	leaveWithin = 2 * time.Second
)

// Assignment is what one member of a group was given. It is safe for concurrent use.
type Assignment struct {
	// Partitions of the topic, ascending; none where there are more members than partitions.
	Partitions []int32

	cluster    *Cluster
	topic      string
	generation atomic.Pointer[kafka.Generation] // the last one that gave these partitions
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
	generation := a.generation.Load()
	answer, err := t.client().OffsetCommit(ctx, &kafka.OffsetCommitRequest{
		GroupID: generation.GroupID, GenerationID: int(generation.ID), MemberID: generation.MemberID,
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

// Own joins a consumer group and calls work with the partitions of a topic that it was given, again whenever they change,
// until ctx ends; then it leaves the group, so that the others need not wait for its session to expire. The context of
// work ends when the next assignment is there, and work must return then. A group that cannot be reached is tried again for
// ever.
//
// A group assigns and does no more. While members come and go, or nobody can ask the group, everybody keeps what they had,
// so nothing is without an owner meanwhile; and two members may believe at once that a partition is theirs, if one was only
// thought dead. Whoever uses this makes two owners harmless.
func (c *Cluster) Own(ctx context.Context, group, topic string, work func(context.Context, *Assignment)) error {
	conns := &connections{dialer: c.conns.dial}
	member, err := c.join(group, topic, conns)
	if err != nil {
		return err
	}
	defer leave(member, conns)
	current := &owner{stop: func() {}}
	defer func() { current.stop() }()
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
			given := partitionsOfTopic(generation, topic)
			if current.assignment != nil && slices.Equal(current.assignment.Partitions, given) {
				current.assignment.generation.Store(generation)
				continue
			}
			current.stop()
			a := &Assignment{Partitions: given, cluster: c, topic: topic}
			a.generation.Store(generation)
			current = startOwner(ctx, a, work)
		}
	}
}

// owner is who works on an assignment.
type owner struct {
	assignment *Assignment // nil before the first
	stop       func()      // ends the work and waits for that
}

func startOwner(ctx context.Context, a *Assignment, work func(context.Context, *Assignment)) *owner {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		work(ctx, a)
	}()
	return &owner{assignment: a, stop: func() {
		cancel()
		<-done
	}}
}

func partitionsOfTopic(generation *kafka.Generation, topic string) []int32 {
	var partitions []int32
	for _, p := range generation.Assignments[topic] {
		partitions = append(partitions, int32(p.ID)) //nolint:gosec // Kafka's partitions are 32 bits
	}
	slices.Sort(partitions)
	return partitions
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
