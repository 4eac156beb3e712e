package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// answerMargin is how much of the drain is kept for telling clients what could not be finished.
const answerMargin = time.Second

// Run serves until ctx ends, then drains: it returns when every request under way is answered and the producer has
// nothing left, or after Config.Drain. It returns nil after a drain that finished. Run is called once.
func (s *Service) Run(ctx context.Context) error {
	defer s.close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	defer context.AfterFunc(ctx, func() {
		s.draining.Store(true)
		s.log.Info("stopping", zap.NamedError("cause", context.Cause(ctx)))
	})()

	// The admin port outlives the drain, so that it can be watched.
	adminCtx, stopAdmin := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAdmin()
	admin, served, appended, tallied := make(chan error, 1), make(chan error, 1), make(chan error, 1), make(chan error, 1)
	idle := make(chan struct{}) // closed when no request is under way any more
	go func() { admin <- s.serveAdmin(adminCtx, fail) }()
	go func() {
		defer close(idle)
		served <- s.serve(ctx, fail)
	}()
	go func() { appended <- s.append(ctx, fail, idle) }()
	go func() { tallied <- s.tally(ctx, fail) }()
	watched := make(chan struct{}) // closed when the keys are not looked after any more
	go func() {
		defer close(watched)
		s.keys.watch(ctx)
	}()
	defer func() { <-watched }()
	s.log.Info("serving", zap.Stringer("addr", s.Addr()))
	if s.handler != nil && s.keys == nil && !loopback(s.Addr()) {
		s.log.Warn("--auth is off: whoever can connect can send clicks", zap.Stringer("addr", s.Addr()))
	}

	err := errors.Join(<-served, <-appended, <-tallied)
	stopAdmin()
	return errors.Join(err, <-admin)
}

// loopback tells whether only this machine can connect to an address.
func loopback(addr net.Addr) bool {
	ap, err := netip.ParseAddrPort(addr.String())
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// serve takes requests until ctx ends and returns when they are answered.
func (s *Service) serve(ctx context.Context, fail context.CancelCauseFunc) error {
	// No handler asks whether its client is still there: what it sent is appended all the same.
	err := httpserver.Serve(ctx, s.server, httpserver.Frugal(s.listener), s.cfg.Drain)
	fail(err) // where it ended by itself, the rest ends too
	return err
}

func (s *Service) serveAdmin(ctx context.Context, fail context.CancelCauseFunc) error {
	if s.admin == nil {
		return nil
	}
	err := httpserver.Serve(ctx, s.adminSrv, s.admin, answerMargin)
	fail(err)
	return err
}

// append opens the way into the log once the deployment is known, and closes it once nobody uses it any more: at the
// latest when there is just time left to answer those whose clicks were not acknowledged.
func (s *Service) append(ctx context.Context, fail context.CancelCauseFunc, idle <-chan struct{}) error {
	producer, record, err := s.open(ctx)
	if err != nil {
		fail(err)
		return err
	}
	if record == (deployment.Record{}) { // it was told to stop before there was a deployment
		return nil
	}
	if err = s.followDeployment(ctx, record); err != nil {
		fail(err)
	}
	late := time.NewTimer(s.cfg.Drain - answerMargin)
	defer late.Stop()
	select {
	case <-idle:
	case <-late.C:
	}
	// Where requests are still under way, their time is over: this ends their wait.
	closeCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	select {
	case <-idle:
	default:
		cancel()
	}
	if producer == nil {
		return err
	}
	return errors.Join(err, producer.Close(closeCtx))
}

// open waits for the deployment record and opens the way into the log that it names, unless the API is off. It returns
// the zero record if ctx ends before.
func (s *Service) open(ctx context.Context) (*kafkalog.Producer, deployment.Record, error) {
	record, err := deployment.Wait(ctx, s.cluster, func(reason error) {
		s.waiting.Store(&reason)
		s.log.Warn("not ready", zap.Error(reason))
	})
	if err != nil {
		if ctx.Err() != nil {
			err = nil // being told to stop while waiting is no error
		}
		return nil, deployment.Record{}, err
	}
	if s.cfg.API != on {
		s.known.Store(true)
		return nil, record, nil
	}
	producer, err := s.cluster.NewProducer(ctx, kafkalog.ProducerConfig{
		Topic: record.Topic, Partitions: record.Partitions, QueueBytes: s.cfg.Queue.Bytes, Deadline: s.cfg.Queue.Deadline,
	})
	if err != nil {
		return nil, deployment.Record{}, err
	}
	s.producer.Store(producer)
	s.known.Store(true)
	s.handler.Open(producer, record.Partitions)
	s.log.Info("appending", zap.String("topic", record.Topic), zap.Int("partitions", record.Partitions), zap.Int64("epoch", record.Epoch))
	return producer, record, nil
}

// errMoved ends a service whose clicks belong elsewhere now. Whoever runs it starts it again.
var errMoved = errors.New("the deployment moved to another topic or partition count; start again to follow it")

// followDeployment returns nil when ctx ends, and an error when clicks must not be appended as the service does it. A
// new epoch alone is no concern of ingest: it counts nothing.
func (s *Service) followDeployment(ctx context.Context, current deployment.Record) error {
	for {
		next, err := deployment.Follow(ctx, s.cluster, current)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // Follow says that ctx has ended
		case err != nil:
			return err
		case next.Topic != current.Topic || next.Partitions != current.Partitions:
			return fmt.Errorf("%w: epoch %d, topic %s, %d partitions", errMoved, next.Epoch, next.Topic, next.Partitions)
		}
		s.log.Info("a new epoch", zap.Int64("epoch", next.Epoch))
		current = next
	}
}
