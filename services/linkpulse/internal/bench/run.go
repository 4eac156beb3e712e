package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Load describes what a run does to the system under test.
type Load struct {
	Dashboards int           // connections
	Links      int           // links that each of them watches
	Pool       int           // links that there are, at least Links
	Rate       float64       // clicks per second
	Warmup     time.Duration // load before the measurement
	Duration   time.Duration // load that is measured
	Settle     time.Duration // how long to wait in the end for what is still owed
	Senders    int           // keep-alive connections that post
	Seed       uint64        // of the plan and of who watches what
	Poll       time.Duration // dashboards ask that often over plain HTTP instead of being told; 0: they are told
}

// Target is the system under test.
type Target struct {
	Ingest   string   // base URL
	Gateways []string // base URLs; dashboards take them in turn
	Token    string   // that every dashboard shows; empty: none
	// Dial opens connections; nil is the machine's own network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Probe reads the server's CPU time and memory; nil where they are unknown. collect asks for the memory that is in
	// use, without garbage, and may take the server's time for it.
	Probe func(ctx context.Context, collect bool) (Usage, error)
	// Progress is told how many of the clicks were posted, in passing; nil for nobody.
	Progress func(posted, clicks int)
}

// run is a run under way.
type run struct {
	load   Load
	target Target
	plan   *schedule
	prefix string // of its links' ids
	start  time.Time
	begin  atomic.Int64 // when the load starts, in nanoseconds from start

	pending atomic.Int64  // subscriptions without an answer
	ready   chan struct{} // closed when pending is 0
	owed    atomic.Int64  // clicks that dashboards have still to be told of
	settled chan struct{} // closed when owed is 0

	frames, requests, posted, retries atomic.Int64

	latency, delay histogram
}

// histogram is one that several goroutines record to.
type histogram struct {
	mu sync.Mutex // guards h
	h  *hdrhistogram.Histogram
}

// newHistogram covers 1 µs to 2 min at three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, (2 * time.Minute).Microseconds(), 3)
}

func (h *histogram) record(d time.Duration) {
	us := min(max(d.Microseconds(), 1), h.h.HighestTrackableValue())
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.h.RecordValue(us) // in range: it was just bounded
}

// Run puts the load on the target and returns what it measured. An error says that there is no result: the target could
// not be reached, refused the load, or told something wrong.
func Run(ctx context.Context, load Load, target Target) (Result, error) {
	r, err := newRun(load, target)
	if err != nil {
		return Result{}, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	g, err := newGenerator(ctx, r)
	if err != nil {
		return Result{}, err
	}
	idle, err := r.probe(ctx, true)
	if err != nil {
		g.poll.close()
		return Result{}, err
	}
	leave, err := r.open(ctx, stop, g)
	defer leave()
	if err != nil {
		return Result{}, err
	}
	select {
	case <-r.ready:
	case <-ctx.Done():
		return Result{}, fmt.Errorf("waiting until every dashboard is subscribed: %w", context.Cause(ctx))
	}
	connected, err := r.probe(ctx, true)
	if err != nil {
		return Result{}, err
	}
	return r.measure(ctx, idle, connected)
}

// open opens the dashboards, which are told or poll until leave is called; it is never nil.
func (r *run) open(ctx context.Context, stop context.CancelCauseFunc, g *generator) (leave func(), err error) {
	r.begin.Store(int64(time.Hour)) // nothing is due yet
	r.pending.Store(int64(r.load.Dashboards * r.load.Links))
	if r.load.Poll > 0 {
		wait := r.poll(ctx, stop, r.pollers())
		rest := g.start(ctx, stop)
		return func() {
			stop(errDone)
			wait()
			rest()
		}, nil
	}
	dashboards, err := r.connect(ctx)
	if err == nil {
		err = g.watch(dashboards)
	}
	if err != nil {
		return func() {
			g.poll.close()
			for _, d := range dashboards {
				_ = d.conn.Close() // again, where it was taken over
			}
		}, err
	}
	return g.start(ctx, stop), nil
}

// linkPrefix begins the ids of the links of every run.
const linkPrefix = "bench-"

var errDenied = errors.New("the token does not cover the links of the benchmark")

var errDone = errors.New("the run is over")

func newRun(load Load, target Target) (*run, error) {
	switch {
	case load.Dashboards < 1 || load.Links < 1 || load.Pool < load.Links || load.Senders < 1:
		return nil, fmt.Errorf("%d dashboards of %d links out of %d, %d senders: all must be at least 1, and the pool at least as large as a dashboard",
			load.Dashboards, load.Links, load.Pool, load.Senders)
	case load.Rate <= 0 || load.Duration <= 0 || load.Warmup < 0:
		return nil, errors.New("rate and duration must be above 0")
	case len(target.Gateways) == 0:
		return nil, errors.New("there is no gateway to connect to")
	}
	if target.Progress == nil {
		target.Progress = func(int, int) {}
	}
	var unique [6]byte
	if _, err := rand.Read(unique[:]); err != nil {
		return nil, err
	}
	r := &run{
		load: load, target: target, start: time.Now(),
		plan:   draw(load.Pool, load.Rate, load.Warmup+load.Duration, load.Seed),
		prefix: linkPrefix + hex.EncodeToString(unique[:]) + "-",
		ready:  make(chan struct{}), settled: make(chan struct{}),
	}
	r.latency.h, r.delay.h = newHistogram(), newHistogram()
	return r, nil
}

func (r *run) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if r.target.Dial != nil {
		return r.target.Dial(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// now is the time since the load began; negative before.
func (r *run) now() time.Duration { return time.Since(r.start) - time.Duration(r.begin.Load()) }

// connectAtOnce is how many handshakes are under way at a time: a storm is another test.
const connectAtOnce = 16

// connect opens all dashboards. Where it fails, those that are open are returned with the error.
func (r *run) connect(ctx context.Context) ([]*dashboard, error) {
	rng := mrand.New(mrand.NewPCG(r.load.Seed, 2)) //nolint:gosec // who watches what, and a seed repeats it
	all := make([]*dashboard, r.load.Dashboards)
	for i := range all {
		links := rng.Perm(r.load.Pool)[:r.load.Links]
		slices.Sort(links)
		all[i] = &dashboard{run: r, links: slices.Clone(links), told: slices.Repeat([]int64{-1}, len(links))}
		for _, link := range links {
			r.owed.Add(int64(len(r.plan.due[link])))
		}
	}
	slots := make(chan struct{}, connectAtOnce)
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, d := range all {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			errs[i] = d.connect(ctx, r.target.Gateways[i%len(r.target.Gateways)])
		})
	}
	wg.Wait()
	open := all[:0:0]
	for i, d := range all {
		if errs[i] == nil {
			open = append(open, d)
		}
	}
	if len(open) < len(all) {
		return open, fmt.Errorf("%d of %d dashboards did not connect: %w", len(all)-len(open), len(all), first(errs))
	}
	return open, nil
}

func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// measure puts the load on and waits for the last frame.
func (r *run) measure(ctx context.Context, idle, connected Usage) (Result, error) {
	if r.owed.Load() == 0 {
		close(r.settled) // nobody watches a link that is clicked
	}
	r.begin.Store(int64(time.Since(r.start) + 2*breath)) // so that the generator knows of it in time

	before, err := r.probeAt(ctx, r.load.Warmup)
	if err != nil {
		return Result{}, err
	}
	after, err := r.probeAt(ctx, r.load.Warmup+r.load.Duration)
	if err != nil {
		return Result{}, err
	}
	late := time.NewTimer(r.load.Settle)
	defer late.Stop()
	select {
	case <-r.settled:
	case <-late.C:
	case <-ctx.Done():
		return Result{}, context.Cause(ctx)
	}
	return r.result(idle, connected, before, after), nil
}

func (r *run) probe(ctx context.Context, collect bool) (Usage, error) {
	if r.target.Probe == nil {
		return Usage{}, nil
	}
	return r.target.Probe(ctx, collect)
}

// probeAt waits until the load has run for that long, telling of the progress, and probes.
func (r *run) probeAt(ctx context.Context, at time.Duration) (Usage, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for wait := at - r.now(); wait > 0; wait = at - r.now() {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-tick.C:
			r.target.Progress(int(r.posted.Load()), r.plan.all)
		case <-ctx.Done():
			timer.Stop()
			return Usage{}, context.Cause(ctx)
		}
		timer.Stop()
	}
	return r.probe(ctx, false)
}

// subscribed notes the answer to one subscription.
func (r *run) subscribed() {
	if r.pending.Add(-1) == 0 {
		close(r.ready)
	}
}

// measured tells whether a time of the load belongs to the measurement.
func (r *run) measured(at time.Duration) bool {
	return at >= r.load.Warmup && at < r.load.Warmup+r.load.Duration
}

// frame notes an update that arrived.
func (r *run) frame(now time.Duration) {
	if r.measured(now) {
		r.frames.Add(1)
	}
}

// covered notes that a dashboard has now been told of the clicks from the before-th to the count-th of a link.
func (r *run) covered(link int, before, count int64, now time.Duration) {
	for _, due := range r.plan.due[link][before:count] {
		if r.measured(due) {
			r.latency.record(now - due)
		}
	}
	if count > before && r.owed.Add(before-count) == 0 {
		close(r.settled)
	}
}

// late notes how much later a click goes out than the load generator was free to send it.
func (r *run) late(due, by time.Duration) {
	if r.measured(due) {
		r.delay.record(by)
	}
}

func (r *run) sent(clicks int) {
	r.requests.Add(1)
	r.posted.Add(int64(clicks))
}
