package kafkalog

import (
	"context"
	"errors"
	"os"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// What Append says of a message that was not acknowledged. The errors wrap one of these.
var (
	// ErrQueueFull: the partition's queue has no room. The message was not taken.
	ErrQueueFull = errors.New("the queue of the partition is full")
	// ErrNotAppended: the message is not in the log, and will not be.
	ErrNotAppended = errors.New("the message was not appended")
	// ErrUnknownOutcome: the message may be in the log, or get there yet. Sending it again with the same event id is
	// safe: readers of the log count it once.
	ErrUnknownOutcome = errors.New("whether the message was appended is not known")
	// ErrTooLarge: the message is larger than a batch may be. It was not taken.
	ErrTooLarge = errors.New("the message is larger than a batch may be")
	// ErrClosed: the producer was closed. The message was not taken.
	ErrClosed = errors.New("the producer is closed")
)

// verdict is what an attempt to append a batch came to.
type verdict uint8

const (
	acked     verdict = iota
	refused           // not appended; trying again can help
	uncertain         // perhaps appended; the same bytes can be sent again
	desync            // not appended: the broker expects another sequence or does not know the producer
	hopeless          // not appended, and trying again cannot help
	tainted           // not appended because of something in the batch: without it, the rest may be
)

// judge reads the outcome of an attempt from what the broker said, a [kafka.Error] or nil, or from the error that there
// was instead, and names it for the metric. Without an answer it takes the request to have been sent.
func judge(err error) (v verdict, reason string) {
	if err == nil {
		return acked, ""
	}
	if code, ok := errors.AsType[kafka.Error](err); ok {
		return judgeCode(code)
	}
	return judgeTransport(err)
}

func judgeCode(code kafka.Error) (v verdict, reason string) {
	switch code {
	case kafka.DuplicateSequenceNumber:
		return acked, "" // an earlier attempt had been appended; the broker has forgotten where
	case kafka.NotLeaderForPartition, kafka.UnknownTopicOrPartition:
		// A broker also says this of a batch that it has appended, when it stops leading the partition, or is relieved of
		// it, before the replicas have the batch (kafka.cluster.Partition.checkEnoughReplicasReachOffset). They may have
		// it all the same.
		return uncertain, "leader"
	case kafka.KafkaStorageError: // and this when the disk under the batch breaks meanwhile
		return uncertain, "broker"
	case kafka.LeaderNotAvailable, kafka.FencedLeaderEpoch, kafka.UnknownLeaderEpoch:
		return refused, "leader"
	case kafka.NotEnoughReplicas:
		return refused, "not_enough_replicas"
	case kafka.BrokerNotAvailable, kafka.ReplicaNotAvailable, kafka.GroupLoadInProgress,
		kafka.GroupCoordinatorNotAvailable, kafka.NotCoordinatorForGroup:
		return refused, "broker"
	case kafka.RequestTimedOut, kafka.NotEnoughReplicasAfterAppend, kafka.NetworkException, kafka.Unknown:
		return uncertain, "replication"
	case kafka.InvalidMessage: // it broke on its way: brokers check before they append
		return refused, "broker"
	case kafka.MessageSizeTooLarge, kafka.RecordListTooLarge, kafka.InvalidRecord:
		return tainted, "refused"
	case kafka.OutOfOrderSequenceNumber, kafka.InvalidProducerEpoch, kafka.UnknownProducerId,
		kafka.InvalidProducerIDMapping:
		return desync, "sequence"
	default:
		return hopeless, "refused"
	}
}

func judgeTransport(err error) (v verdict, reason string) {
	var dial *dialError
	switch {
	case errors.Is(err, errClusterClosed):
		return hopeless, "dial"
	case errors.Is(err, protocol.ErrNoTopic), errors.Is(err, protocol.ErrNoPartition), errors.Is(err, protocol.ErrNoLeader),
		errors.Is(err, errSeveralLeaders):
		return refused, "leader" // nobody to send to, or several, so nothing was sent
	case errors.As(err, &dial):
		return refused, "dial"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded): // the request's, the connection's
		return uncertain, "timeout"
	default:
		return uncertain, "connection"
	}
}
