package kafkalog

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// session is a producer id and its epoch (KIP-98). Brokers number the batches of each session and partition, and keep
// the last five: a batch that comes again is recognised.
type session struct {
	id    int64
	epoch int16
}

// newSession asks for a fresh producer id. Without a transactional id the broker always gives a new one, with epoch 0.
// On a fresh cluster the answer is GROUP_LOAD_IN_PROGRESS for about a second, because the client library first asks for
// a transaction coordinator, which makes the broker create its topic.
func (t *topicClient) newSession(ctx context.Context) (session, error) {
	// -1 for both: -1 and 0 together is an invalid request.
	res, err := t.client().InitProducerID(ctx, &kafka.InitProducerIDRequest{ProducerID: -1, ProducerEpoch: -1})
	if err == nil {
		err = res.Error
	}
	if err == nil && (res.Producer == nil || res.Producer.ProducerID < 0) {
		err = errNoProducerID
	}
	if err != nil {
		return session{}, fmt.Errorf("asking for a producer id: %w", t.explain(ctx, err))
	}
	return session{id: int64(res.Producer.ProducerID), epoch: int16(res.Producer.ProducerEpoch)}, nil //nolint:gosec // an int16 on the wire
}

var errNoProducerID = errors.New("the answer has no producer id")

// nextSequence is the sequence behind n records; it wraps to 0 after 2^31-1 (KIP-98).
func nextSequence(sequence, n int32) int32 {
	return int32((int64(sequence) + int64(n)) & 0x7fffffff)
}
