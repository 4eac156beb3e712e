package kafkalog

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// probeEvery is how often a producer looks whether every partition has a leader, and asks each leader for something
	// small. It matters where nobody produces: a producer that is not ready gets no traffic that could show that it has
	// recovered, and one that is quiet gets none that could show that it would fail.
	probeEvery = time.Second
	// failingFor is how long a partition, or the probe, must fail before the producer says that it is not ready. A broker
	// that dies is replaced after its session timeout, 9 s by Kafka's default; taking every pod out for that would turn a
	// pause, which requests wait out, into an outage.
	failingFor = 15 * time.Second
	// quietFor is after how long without an attempt a partition that failed is given another chance.
	quietFor = 2 * time.Second
	// skewFor is how long a wrong clock is held against the producer. Only an append can measure it again, and a producer
	// that is not ready gets none: after this it has another chance.
	skewFor = time.Minute
	// MaxSkew is the largest difference between this machine's clock and the broker's with which records are right: the
	// duplicate rule compares the times of records that different machines stamped.
	MaxSkew = time.Minute
)

// Why a producer is not ready. What Ready returns wraps one of these.
var (
	// ErrNoLeader: the topic or a partition's leader is not there, or the brokers do not answer.
	ErrNoLeader = errors.New("the partitions cannot be reached")
	// ErrFailing: appends have failed for a while.
	ErrFailing = errors.New("appends fail")
	// ErrSkew: the clock is too far from the broker's.
	ErrSkew = errors.New("this machine's clock differs from the broker's by more than a minute: set it")
)

var errNotProbed = fmt.Errorf("%w: not asked yet", ErrNoLeader)

// health is what a producer knows of its ability to produce.
type health struct {
	mu      sync.Mutex // guards what follows
	probe   failure    // err is nil after a success
	proven  bool       // a probe has succeeded
	failing map[int32]failure
	skew    time.Duration
	skewed  time.Time // when skew was measured, zero: never; it takes a topic with LogAppendTime
}

// failure of a partition's appends, or of probes: from the beginning of the first attempt that failed, to the end of the
// last.
type failure struct {
	since, last time.Time
	err         error
}

// again notes one more failure.
func (f *failure) again(began time.Time, err error) {
	if f.err == nil {
		f.since = began
	}
	f.last, f.err = time.Now(), err
}

func (h *health) succeeded(partition int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.failing, partition)
}

// failed notes an attempt that began then.
func (h *health) failed(partition int32, began time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failing == nil {
		h.failing = map[int32]failure{}
	}
	f := h.failing[partition]
	f.again(began, err)
	h.failing[partition] = f
}

// appended notes the broker's time of an append that went on between began and ended by our clock. Where the topic does
// not stamp appends there is none.
func (h *health) appended(at, began, ended time.Time) {
	if at.Unix() <= 0 {
		return
	}
	var skew time.Duration
	switch { // what the round trip took is no skew; the broker's stamp has milliseconds
	case at.Before(began.Truncate(time.Millisecond)):
		skew = began.Sub(at)
	case at.After(ended):
		skew = ended.Sub(at)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.skew, h.skewed = skew, ended
}

// probed notes the outcome of a probe that began then. A good one gives partitions that failed and then got no traffic
// another chance.
func (h *health) probed(began time.Time, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.probe.again(began, err)
		return
	}
	h.probe, h.proven = failure{}, true
	for partition, f := range h.failing {
		if time.Since(f.last) > quietFor {
			delete(h.failing, partition)
		}
	}
}

// Skew is how far this machine's clock is ahead of the broker's, beyond what the round trip explains. ok is false until
// it was measured, which takes a topic with LogAppendTime.
func (p *Producer) Skew() (skew time.Duration, ok bool) {
	p.health.mu.Lock()
	defer p.health.mu.Unlock()
	return p.health.skew, !p.health.skewed.IsZero()
}

// Ready returns nil when messages can be appended, and otherwise why not. It does no I/O.
func (p *Producer) Ready() error {
	h := &p.health
	h.mu.Lock()
	defer h.mu.Unlock()
	if p.closed.Load() {
		return ErrClosed
	}
	if h.probe.err != nil && (!h.proven || time.Since(h.probe.since) > failingFor) {
		return h.probe.err
	}
	if !h.proven {
		return errNotProbed
	}
	for partition, f := range h.failing {
		if age := time.Since(f.since); age > failingFor {
			return fmt.Errorf("%w: partition %d, for %v: %w", ErrFailing, partition, age.Round(time.Second), f.err)
		}
	}
	if (h.skew > MaxSkew || h.skew < -MaxSkew) && time.Since(h.skewed) < skewFor {
		return fmt.Errorf("%w: it is off by %v", ErrSkew, h.skew.Round(time.Second))
	}
	return nil
}

// probe asks the topic's leaders until the producer is closed.
func (p *Producer) probe() {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		began := time.Now()
		err := p.client.askLeaders(p.ctx, p.cfg.Partitions)
		if p.ctx.Err() != nil {
			return
		}
		if err != nil {
			p.client.refresh(err)
		}
		p.health.probed(began, err)
		select {
		case <-p.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
