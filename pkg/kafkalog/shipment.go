package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
)

// shipment is one produce request: a batch for each of some partitions, and what became of each. It holds the lanes.
type shipment struct {
	p       *Producer
	cargo   []cargo
	bytes   int
	began   time.Time
	forming bool        // the dispatcher's: more may be loaded
	back    atomic.Bool // it was answered, or never will be, and the lanes are in other hands
}

// cargo is a batch in a shipment.
type cargo struct {
	lane  *lane
	batch *batch
	trial trial
}

// trial is an attempt to append a batch.
type trial struct {
	began    time.Time
	verdict  verdict
	err      error     // unless it was acknowledged
	offset   int64     // of the first record, -1 where the broker did not say
	appended time.Time // by the broker's clock, where it said so
}

// load takes a lane and its next batch on, if there is room.
func (s *shipment) load(l *lane) bool {
	room := requestBytes - s.bytes
	if len(s.cargo) == 0 {
		room = max(room, s.p.cfg.BatchBytes)
	}
	b, ok := l.take(room)
	if !ok {
		return false
	}
	b.seal(l.session, l.sequence)
	s.bytes += len(b.buf)
	s.cargo = append(s.cargo, cargo{lane: l, batch: b})
	return true
}

// awaited tells whether what gathers for the same leader waits for the answer to this.
func (s *shipment) awaited(now time.Time) bool {
	return !s.back.Load() && now.Sub(s.began) < patience
}

// ship sends the shipment, settles what was acknowledged, and leaves the rest to the lanes' own goroutines.
func (s *shipment) ship() {
	ctx, cancel := context.WithTimeout(s.p.ctx, requestTimeout)
	defer cancel()
	overdue := time.AfterFunc(patience, s.p.dispatcher.ring)
	defer overdue.Stop()
	s.attempt(ctx)
	for i := range s.cargo {
		c := &s.cargo[i]
		if c.trial.verdict != acked {
			s.p.dispatcher.stale.Store(true)
			c.lane.alone(c.batch, &c.trial)
			continue
		}
		s.p.health.appended(c.trial.appended, c.trial.began, time.Now())
		c.batch.offset = c.trial.offset
		c.lane.taken(c.batch)
		c.lane.settle(c.batch, true)
	}
	s.cargo = nil // the dispatcher keeps the shipment, and with it would keep the batches
	s.back.Store(true)
	s.p.dispatcher.ring()
}

// attempt sends the request and notes of each batch what came of it.
func (s *shipment) attempt(ctx context.Context) {
	s.p.metrics.requestBatches.Observe(float64(len(s.cargo)))
	began := time.Now()
	res, sent, err := s.roundTrip(ctx)
	for i := range s.cargo {
		s.cargo[i].trial = trial{began: began, err: errNoAnswer, offset: -1}
		if err != nil {
			s.cargo[i].trial.err = err
		}
	}
	if err == nil {
		s.read(res)
	}
	for i := range s.cargo {
		s.cargo[i].trial.judge(ctx, s.p, sent)
	}
}

// errNoAnswer reports an answer that does not tell of a partition that was sent to.
var errNoAnswer = errors.New("the answer does not tell what became of the batch")

// roundTrip sends the request and waits for its answer. sent tells whether a broker can have seen it.
func (s *shipment) roundTrip(ctx context.Context) (answer *produceAnswer, sent bool, err error) {
	// Half of the time is for the replicas, the other half for the way.
	timeout := requestTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	req := &produceRequest{
		topic: s.p.cfg.Topic, clientID: s.p.client.c.base.ClientID, id: s.p.requests.Add(1), timeout: timeout / 2,
		parts: make([]producePart, len(s.cargo)), frames: &s.p.frames,
	}
	for i := range s.cargo {
		req.parts[i] = producePart{partition: s.cargo[i].lane.partition, set: s.cargo[i].batch.buf}
	}
	client := s.p.client.client()
	res, err := client.Transport.RoundTrip(ctx, client.Addr, req)
	if err != nil {
		return nil, !req.leaves.revoke(), fmt.Errorf("producing: %w", err)
	}
	answer, ok := res.(*produceAnswer)
	if !ok {
		return nil, true, errNoAnswer
	}
	return answer, true, nil
}

// read takes each partition's outcome from the answer.
func (s *shipment) read(answer *produceAnswer) {
	for i := range answer.parts {
		part := &answer.parts[i]
		c := s.of(part.partition, i)
		if c == nil {
			continue
		}
		if c.trial.err = brokerError(part.code, part.message); c.trial.err == nil {
			c.trial.offset = part.offset
			if part.appended > 0 { // -1: the topic has the producer's time
				c.trial.appended = time.UnixMilli(part.appended)
			}
		}
	}
}

// of returns what is on board for a partition, nil if there is nothing. It looks first where brokers that answer in the
// order of the request have it.
func (s *shipment) of(partition int32, guess int) *cargo {
	for i := range s.cargo {
		if c := &s.cargo[(guess+i)%len(s.cargo)]; c.lane.partition == partition {
			return c
		}
	}
	return nil
}

// brokerError is what a broker says of a batch; nil where it has it.
func brokerError(code int16, message string) error {
	switch {
	case code == 0:
		return nil
	case message == "":
		return kafka.Error(code)
	default:
		return fmt.Errorf("%w: %s", kafka.Error(code), message)
	}
}

// judge completes a trial of which err is known. Where the client may have an old idea of the leaders, it looks for them
// anew.
func (t *trial) judge(ctx context.Context, p *Producer, sent bool) {
	var reason string
	t.verdict, reason = judge(t.err)
	if t.verdict == uncertain && !sent {
		t.verdict = refused // whatever went wrong, no broker has seen it
	}
	if t.verdict == acked {
		t.err = nil
		return
	}
	t.err = p.client.explain(ctx, t.err)
	p.metrics.retries.WithLabelValues(reason).Inc()
	p.client.refresh(t.err)
}
