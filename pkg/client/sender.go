package client

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// DropReason is why a [Sender] did not deliver a click.
type DropReason string

// The reasons.
const (
	// DropInvalid: the link id is not one; [Sender.Send] refused it.
	DropInvalid DropReason = "invalid"
	// DropQueueFull: ingest was away or slow for so long that [SenderOptions.Queue] clicks wait.
	DropQueueFull DropReason = "queue_full"
	// DropClosed: it came after Close, or was still waiting when the context of Close ended.
	DropClosed DropReason = "closed"
	// DropRefused: ingest says that the click breaks a rule; sending it again would end the same way.
	DropRefused DropReason = "refused"
	// DropUnauthorized: ingest does not take clicks from whoever sends these. The credentials are missing, wrong or have
	// expired.
	DropUnauthorized DropReason = "unauthorized"
	// DropUnknown: it was sent and no answer came, for so long that another attempt might count it twice. It may be
	// in the log.
	DropUnknown DropReason = "outcome_unknown"
)

// DropReasons returns every reason, for metrics that must exist before they are needed.
func DropReasons() []DropReason {
	return []DropReason{DropInvalid, DropQueueFull, DropClosed, DropRefused, DropUnauthorized, DropUnknown}
}

// RetryHorizon is how long after an attempt without a known outcome the same click may be sent again. The window in
// which Linkpulse recognises duplicates is sized for clients that keep to it (peak records per second of a partition,
// times this and 30 seconds more for what is on its way): a later retry could count twice.
const RetryHorizon = 30 * time.Second

// SenderOptions configures a [Sender]. The zero value is a good one.
type SenderOptions struct {
	// Queue is how many clicks may be unsettled at once; default 10,000, which is a few MB. When they are that many, new
	// ones are dropped: those that wait are older and nothing says that they matter less.
	Queue int
	// MaxBatch is how many clicks a request may carry; default 500, at most 1,000.
	MaxBatch int
	// RequestTimeout bounds an attempt; default 10 s, so that a black hole leaves room for another within
	// [RetryHorizon].
	RequestTimeout time.Duration
	// Credentials prove who sends the clicks; default is none, for an ingest that asks for none.
	Credentials Credentials
	// Transport sends the requests; default is one of the Sender's own, which keeps one connection.
	Transport http.RoundTripper
	// OnDrop, if set, is told of each click that is dropped, by the goroutine that calls Send or by the Sender's own. err
	// says more, where there is more. It must be quick and must not call Close.
	OnDrop func(c Click, reason DropReason, err error)
	// OnTrouble, if set, is told of each attempt that did not deliver everything and how long the Sender waits before the
	// next. It must be quick and must not call Close.
	OnTrouble func(err error, wait time.Duration)
}

// maxBatch is what ingest takes in one request.
const maxBatch = 1000

func (o SenderOptions) withDefaults() (SenderOptions, error) {
	if o.Queue == 0 {
		o.Queue = 10_000
	}
	if o.MaxBatch == 0 {
		o.MaxBatch = 500
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = 10 * time.Second
	}
	if o.Queue < 1 || o.MaxBatch < 1 || o.MaxBatch > maxBatch || o.RequestTimeout < 0 {
		return o, fmt.Errorf("sender options: Queue at least 1, MaxBatch 1 to %d, RequestTimeout above 0", maxBatch)
	}
	return o, nil
}

// Sender posts clicks to ingest in the background. It is made for the path of a redirect: Send never waits, whatever
// ingest does.
//
// Clicks are gathered by themselves: while a request is out, what is handed in makes up the next one, so a quiet server
// sends each click at once and a busy one sends hundreds together. A click that did not reach the log is sent again with
// the same id until it did, with full-jitter backoff, at the pace that ingest asks for; see [RetryHorizon] for when it is
// given up. The order of clicks is not kept. What ingest refuses for good is dropped: a click that breaks a rule, one of a
// link that the credentials do not cover, and everything while the credentials are no good.
//
// A Sender is safe for concurrent use. Close it to deliver what waits and to end its goroutine.
type Sender struct {
	opts   SenderOptions
	poster *Poster

	wake chan struct{} // there is something to send, or closed was set
	done chan struct{} // closed when the loop has ended
	// abandoned is how many clicks were left when the loop ended. It may be read when done is closed.
	abandoned int
	cancel    context.CancelFunc

	mu      sync.Mutex // guards what follows; held briefly, never while waiting
	queue   []item     // taken and never sent
	pending int        // unsettled: in queue, out, or waiting for another attempt
	closed  bool
	stats   Stats
}

// Stats counts what a [Sender] did. Clicks = Delivered + Pending + all that was dropped, at any moment.
type Stats struct {
	Clicks    int64 // handed to Send
	Delivered int64 // acknowledged by ingest: they are in the log
	Pending   int64 // clicks that are not settled yet
	Retried   int64 // clicks that were sent again, each time
	Requests  int64 // answered or not
	Failed    int64 // requests that did not deliver all that they carried
	Dropped   map[DropReason]int64
	// LastError is of the latest request, nil if it delivered everything.
	LastError error
}

// NewSender returns a Sender that posts to the ingest at base, like "http://ingest.example:8080". It does no I/O itself.
func NewSender(base string, opts SenderOptions) (*Sender, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	poster, err := NewPoster(base, opts.RequestTimeout, opts.Credentials, opts.Transport)
	if err != nil {
		return nil, err
	}
	s := &Sender{
		opts: opts, poster: poster,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		stats: Stats{Dropped: make(map[DropReason]int64)},
	}
	for _, reason := range DropReasons() {
		s.stats.Dropped[reason] = 0
	}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // the Sender's own life: Close ends it
	s.cancel = cancel
	go s.loop(ctx)
	return s, nil
}

// Send hands a click in and returns at once. False says that it was dropped, and is counted by its reason.
func (s *Sender) Send(c Click) bool {
	reason, err := s.take(c)
	if reason == "" {
		return true
	}
	s.mu.Lock()
	s.stats.Clicks++
	s.stats.Dropped[reason]++
	s.mu.Unlock()
	if s.opts.OnDrop != nil {
		s.opts.OnDrop(c, reason, err)
	}
	return false
}

func (s *Sender) take(c Click) (DropReason, error) {
	if err := click.CheckLink(c.Link); err != nil {
		return DropInvalid, err
	}
	if c.ID.IsZero() {
		id, err := click.NewID()
		if err != nil {
			return DropInvalid, fmt.Errorf("minting an event id: %w", err)
		}
		c.ID = id
	}
	if c.At.IsZero() {
		c.At = time.Now()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return DropClosed, nil
	}
	if s.pending >= s.opts.Queue {
		return DropQueueFull, nil
	}
	s.queue = append(s.queue, item{click: c})
	s.pending++
	s.stats.Clicks++
	s.nudge()
	return "", nil
}

// nudge wakes the loop. It never waits: the channel holds one, and one is enough.
func (s *Sender) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Stats returns the counters.
func (s *Sender) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Pending = int64(s.pending)
	st.Dropped = maps.Clone(s.stats.Dropped)
	return st
}

// ErrNotDelivered says that the context of [Sender.Close] ended while clicks were waiting. They were dropped.
var ErrNotDelivered = errors.New("clicks were not delivered in time")

// Close takes no more clicks, delivers those that wait, and ends the Sender. When ctx ends first, what is left is dropped
// and the error wraps [ErrNotDelivered]. Close may be called again, and concurrently.
func (s *Sender) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.nudge()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	s.cancel()
	<-s.done
	s.poster.Close()
	if s.abandoned > 0 { // written before done was closed
		return fmt.Errorf("closing the sender: %w: %d left", ErrNotDelivered, s.abandoned)
	}
	return nil
}
