package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/wire"
	"github.com/linkpulse/linkpulse/services/gateway/internal/follower"
	"github.com/linkpulse/linkpulse/services/gateway/internal/hub"
	"github.com/linkpulse/linkpulse/services/gateway/internal/rest"
)

// generation is all that belongs to one epoch of the deployment: the counts and the sessions that were told them. A new
// epoch replaces it whole, so no number of the old one can get into the new one.
type generation struct {
	record deployment.Record
	counts *follower.Set
	hub    *hub.Hub
	rest   rest.Source
}

// epochSpread is over how long dashboards are sent away when a new epoch begins. What they show is of the past already;
// the spread only keeps them from coming back all at once.
const epochSpread = time.Second

// count waits for the deployment record, then counts, one generation after the other, until ctx ends.
func (s *Service) count(ctx context.Context) error {
	record, err := deployment.Wait(ctx, s.cluster, func(reason error) { s.waiting.Store(&reason) })
	for err == nil {
		s.log.Info("counting", zap.String("topic", record.Topic), zap.Int("partitions", record.Partitions),
			zap.Int64("epoch", record.Epoch))
		record, err = s.countEpoch(ctx, record)
	}
	if ctx.Err() == nil {
		return err
	}
	return nil // it was told to end
}

// countEpoch runs a generation until the record changes and returns the new one.
func (s *Service) countEpoch(ctx context.Context, record deployment.Record) (next deployment.Record, err error) {
	registry := &scope{Registerer: s.registry}
	defer registry.clear()
	g, err := s.newGeneration(record, registry)
	if err != nil {
		return next, err
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { _ = g.counts.Run(ctx) }) // ends with ctx only
	running.Go(func() { g.hub.Run(ctx) })
	s.rest.Open(g.rest)
	defer s.rest.Close()
	s.current.Store(g)
	next, err = deployment.Follow(ctx, s.cluster, record)
	if err != nil {
		return next, err
	}
	s.log.Warn("a new epoch begins: every dashboard starts afresh", zap.Int64("epoch", next.Epoch))
	reason := errors.New("a new epoch begins")
	s.waiting.Store(&reason)
	s.current.Store(nil)
	s.rest.Close()
	drainCtx, stop := context.WithTimeout(ctx, epochSpread+drainMargin)
	defer stop()
	if err := g.hub.Drain(drainCtx, wire.ReasonEpoch, epochSpread); err != nil {
		s.log.Warn("dashboards of the old epoch did not leave in time", zap.Error(err))
	}
	return next, nil
}

// newGeneration builds the parts of a generation, at rest.
func (s *Service) newGeneration(record deployment.Record, registry prometheus.Registerer) (*generation, error) {
	cfg := follower.Config{Partitions: record.Partitions, Epoch: record.Epoch, Fold: record.Fold()}
	deps := follower.Deps{Source: s.cluster.Source(record.Topic), Log: s.log, Registry: registry}
	g := &generation{record: record, rest: rest.Source{Epoch: record.Epoch}}
	if s.totals != nil {
		kept := newEpochTotals(s.totals, record)
		deps.Snapshots, g.rest.History = kept, kept
		cfg.Patience = totalsPatience
	} else {
		replay, err := follower.NewReplay(cfg, deps)
		if err != nil {
			return nil, err
		}
		deps.Snapshots = replay
	}
	set, err := follower.New(cfg, deps)
	if err != nil {
		return nil, err
	}
	g.counts, g.rest.Counts = set, restCounts{set}
	g.hub = hub.New(hub.Config{
		Gateway: s.cfg.Name, Epoch: record.Epoch, Heartbeat: s.cfg.Heartbeat, Counts: counts{set}, Metrics: s.hubMetrics,
	})
	return g, nil
}

// counts makes the follower what the hub asks for.
type counts struct{ set *follower.Set }

func (c counts) Watch(link string, w hub.Watcher) hub.Watched { return watched{c.set.Watch(link, w)} }
func (c counts) CompleteTo() time.Time                        { return c.set.Watermark() }

// watched is one pointer, so that it fits an interface without an allocation.
type watched struct{ w *follower.Watched }

func (w watched) Read() (hub.Reading, bool) {
	r, ok := w.w.Read()
	return hub.Reading{Seq: r.Seq, Count: r.Count.Count, Bots: r.Bots, At: r.At}, ok
}

func (w watched) Release(watcher hub.Watcher) { w.w.Release(watcher) }

// restCounts makes the follower what the REST interface asks for.
type restCounts struct{ set *follower.Set }

func (c restCounts) Watch(link string, w rest.Watcher) rest.Watched {
	return restWatched{c.set.Watch(link, w)}
}

type restWatched struct{ w *follower.Watched }

func (w restWatched) Read() (rest.Reading, bool) {
	r, ok := w.w.Read()
	return restReading(r), ok
}

func (w restWatched) Recent(from int64, add func(timeMs int64, bot bool)) (rest.Reading, int64, bool) {
	r, to, ok := w.w.Recent(from, add)
	return restReading(r), to, ok
}

func (w restWatched) Release(watcher rest.Watcher) { w.w.Release(watcher) }

func restReading(r follower.Reading) rest.Reading {
	return rest.Reading{Epoch: r.Epoch, Seq: r.Seq, Count: r.Count.Count, Bots: r.Bots, At: r.At}
}

// scope is a registry that can be emptied: a generation's metrics end with it.
type scope struct {
	prometheus.Registerer
	registered []prometheus.Collector
}

// Register implements prometheus.Registerer.
func (s *scope) Register(c prometheus.Collector) error {
	err := s.Registerer.Register(c)
	if err == nil {
		s.registered = append(s.registered, c)
	}
	return err
}

// MustRegister implements prometheus.Registerer.
func (s *scope) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := s.Register(c); err != nil {
			panic(err)
		}
	}
}

func (s *scope) clear() {
	for _, c := range s.registered {
		s.Unregister(c)
	}
}
