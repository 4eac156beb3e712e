package kafkalog

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	dial := &dialError{errRefused}
	for name, tc := range map[string]struct {
		answer error // what the broker said
		err    error // why there is no answer
		want   verdict
		reason string
	}{
		"acknowledged":                   {nil, nil, acked, ""},
		"recognised":                     {kafka.DuplicateSequenceNumber, nil, acked, ""},
		"leader lost before replication": {kafka.NotLeaderForPartition, nil, uncertain, "leader"},
		"replica moved away":             {kafka.UnknownTopicOrPartition, nil, uncertain, "leader"},
		"disk broke":                     {kafka.KafkaStorageError, nil, uncertain, "broker"},
		"replicas too slow":              {kafka.RequestTimedOut, nil, uncertain, "replication"},
		"replicas lost after the append": {kafka.NotEnoughReplicasAfterAppend, nil, uncertain, "replication"},
		"anything":                       {kafka.Unknown, nil, uncertain, "replication"},
		"too few replicas":               {kafka.NotEnoughReplicas, nil, refused, "not_enough_replicas"},
		"damaged on the way":             {kafka.InvalidMessage, nil, refused, "broker"},
		"a gap":                          {kafka.OutOfOrderSequenceNumber, nil, desync, "sequence"},
		"fenced":                         {kafka.InvalidProducerEpoch, nil, desync, "sequence"},
		"forgotten":                      {kafka.UnknownProducerId, nil, desync, "sequence"},
		"too large":                      {kafka.MessageSizeTooLarge, nil, tainted, "refused"},
		"not allowed":                    {kafka.TopicAuthorizationFailed, nil, hopeless, "refused"},
		"no leader known":                {nil, protocol.NewErrNoLeader(topic, 0), refused, "leader"},
		"no topic known":                 {nil, protocol.NewErrNoTopic(topic), refused, "leader"},
		"no connection":                  {nil, fmt.Errorf("sending: %w", dial), refused, "dial"},
		"no connection in time":          {nil, &dialError{context.DeadlineExceeded}, refused, "dial"},
		"the cluster was closed":         {nil, errClusterClosed, hopeless, "dial"},
		"no answer in time":              {nil, context.DeadlineExceeded, uncertain, "timeout"},
		"the connection had no more":     {nil, os.ErrDeadlineExceeded, uncertain, "timeout"},
		"the connection broke":           {nil, io.ErrUnexpectedEOF, uncertain, "connection"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, reason := judge(cmp.Or(tc.answer, tc.err))
			if v != tc.want || reason != tc.reason {
				t.Fatalf("judged %d, %q; want %d, %q", v, reason, tc.want, tc.reason)
			}
		})
	}
}
