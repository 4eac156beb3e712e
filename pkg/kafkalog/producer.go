package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// ProducerConfig configures a producer. The zero value of a limit is its default.
type ProducerConfig struct {
	Topic      string
	Partitions int
	// QueueBytes bounds what waits for each partition, the batch on its way included. Default 4 MiB: at 100 bytes a
	// click that is 40,000 clicks, more than a healthy broker leaves waiting and little enough to be refused in time.
	QueueBytes int
	// BatchBytes bounds a batch. Default 512 KiB, half of what brokers take by default.
	BatchBytes int
	// Deadline is how long a message is tried for, counted from the first one of its batch: when a batch is given up, so
	// are those that queued behind it as long. Default 30 s: the duplicate window of readers is sized for clients that
	// retry for as long again.
	Deadline time.Duration
}

func (c *ProducerConfig) setDefaults() {
	if c.QueueBytes <= 0 {
		c.QueueBytes = 4 << 20
	}
	if c.BatchBytes <= 0 {
		c.BatchBytes = 512 << 10
	}
	c.BatchBytes = min(c.BatchBytes, c.QueueBytes)
	if c.Deadline <= 0 {
		c.Deadline = 30 * time.Second
	}
}

// Message is a message to append, and what became of it.
type Message struct {
	Partition int32 // below ProducerConfig.Partitions
	TimeMs    int64 // record timestamp, Unix milliseconds
	Key       []byte
	Value     []byte // nil removes what a compacted topic has of the key
	Headers   []Header

	// Err is nil once the message is acknowledged by all in-sync replicas; otherwise it wraps one of the package's errors.
	Err error
	// Offset is where the message is, -1 where the broker did not say.
	Offset int64

	batch *batch
	place int32
}

// Producer appends messages to the partitions of a topic, idempotently, in the order of the calls for each partition. It
// is safe for concurrent use.
type Producer struct {
	cfg        ProducerConfig
	client     *topicClient
	log        *zap.Logger
	metrics    *producerMetrics
	lanes      []*lane
	active     sync.WaitGroup // lanes that are held or have something in the queue
	dispatcher *dispatcher

	requests atomic.Int32 // numbers them
	frames   sync.Pool    // of *[]byte: requests that went out

	ctx    context.Context //nolint:containedctx // ends the work that outlives its callers; Close cancels it
	cancel context.CancelFunc
	intake context.Context //nolint:containedctx // ends when Close begins
	close  context.CancelFunc
	done   sync.WaitGroup
	closed atomic.Bool

	health health
}

// NewProducer returns a producer and starts its goroutines, which Close ends.
func (c *Cluster) NewProducer(ctx context.Context, cfg ProducerConfig) (*Producer, error) {
	cfg.setDefaults()
	if cfg.Partitions < 1 {
		return nil, fmt.Errorf("producing to %s: %d partitions, must be at least 1", cfg.Topic, cfg.Partitions)
	}
	client, err := c.topic(cfg.Topic)
	if err != nil {
		return nil, err
	}
	p := &Producer{cfg: cfg, client: client, log: c.log}
	p.dispatcher = newDispatcher(p)
	for i := range cfg.Partitions {
		p.lanes = append(p.lanes, newLane(p, int32(i)))
	}
	p.metrics = newProducerMetrics(p.queued)
	if err := p.metrics.register(c.registry); err != nil {
		return nil, fmt.Errorf("producing to %s: %w", cfg.Topic, err)
	}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p.intake, p.close = context.WithCancel(p.ctx)
	for _, l := range p.lanes {
		l.active = true // while it greets
		p.active.Add(1)
		p.done.Go(l.greet)
	}
	p.done.Go(p.dispatcher.run)
	p.done.Go(p.probe)
	return p, nil
}

// queued is how many bytes wait for their outcome, in all partitions.
func (p *Producer) queued() float64 {
	n := 0
	for _, l := range p.lanes {
		n += l.queued()
	}
	return float64(n)
}

// Append appends messages and returns when the outcome of each is known: its Err and Offset say it. It returns the first
// error. The bytes are copied at once; messages of one partition keep their order. What was taken is tried until its
// deadline whatever becomes of the caller.
func (p *Producer) Append(msgs []Message) error {
	for i := range msgs {
		m := &msgs[i]
		m.Offset = -1
		m.batch, m.place, m.Err = p.lanes[m.Partition].add(m)
	}
	p.dispatcher.ringIfReady()
	var (
		first   error
		settled *batch // messages that follow each other are often in one batch
	)
	for i := range msgs {
		m := &msgs[i]
		if b := m.batch; b != nil {
			if b != settled {
				<-b.done
				settled = b
			}
			m.batch = nil
			m.Offset, m.Err = b.outcome(m.place)
		}
		if first == nil {
			first = m.Err
		}
	}
	return first
}

// Close takes no more messages and waits until those that were taken have their outcome, or ctx ends: then what is left
// fails. No goroutine is left behind.
func (p *Producer) Close(ctx context.Context) error {
	p.closed.Store(true)
	p.close()
	for _, l := range p.lanes {
		l.close()
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		p.active.Wait()
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		if p.queued() > 0 {
			err = errors.Join(errNotDrained, context.Cause(ctx))
		}
	}
	p.cancel()
	<-drained
	p.dispatcher.end()
	p.done.Wait()
	p.metrics.unregister()
	return err
}

var errNotDrained = errors.New("closing the producer: messages were still waiting for their outcome")
