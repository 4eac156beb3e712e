package tally

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/recount"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errLost = errors.New("connection reset by peer")

// world is a log, a store, and workers of one partition.
type world struct {
	t      *testing.T
	params fold.Params
	log    *feedtest.Topic
	whole  *feedtest.Topic // what was ever appended: retention does not touch it
	store  *memory
	// partitions is how many the topic has; the deployment has one.
	partitions int
	// retention is what the log says of itself; 0 is for ever.
	retention time.Duration
}

func newWorld(t *testing.T, window int64) *world {
	t.Helper()
	return &world{
		t: t, params: fold.Params{Window: window, Within: time.Hour}, log: feedtest.New(1), whole: feedtest.New(1), store: newMemory(),
		partitions: 1,
	}
}

// click appends clicks, written as link and event id: "a1".
func (w *world) click(clicks ...string) {
	w.t.Helper()
	for _, c := range clicks {
		rec := click.Record{Bot: c[1] == '0'}
		copy(rec.ID[:], c)
		r := fold.Record{TimeMs: time.Now().UnixMilli(), Key: []byte(c[:1]), Value: rec.Append(nil)}
		w.log.Append(0, r)
		w.whole.Append(0, r)
	}
}

// owner is a process that may own the partition.
type owner struct {
	w        *world
	tally    *Tally
	registry *prometheus.Registry
}

func (w *world) owner() *owner {
	w.t.Helper()
	o := &owner{w: w, registry: prometheus.NewRegistry()}
	m, err := NewMetrics(o.registry)
	if err != nil {
		w.t.Fatal(err)
	}
	o.tally = New(Config{Partitions: 1, Fold: w.params}, Deps{
		Source: w.log, Store: w.store, Log: zaptest.NewLogger(w.t), Metrics: m,
		Retention: func(context.Context) (time.Duration, error) { return w.retention, nil },
	})
	return o
}

// run makes it the owner until what it returns is called.
func (o *owner) run() (stop func()) {
	ctx, cancel := context.WithCancel(o.w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.tally.Run(ctx, []int32{0, 1}[:o.w.partitions])
	}()
	return sync.OnceFunc(func() {
		cancel()
		<-done
	})
}

// metric returns the sum of a metric's values, of those with a label value where one is given.
func (o *owner) metric(name string, label ...string) (sum float64) {
	o.w.t.Helper()
	families, err := o.registry.Gather()
	if err != nil {
		o.w.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "linkpulse_tally_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(label) > 0 && !slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == label[0] }) {
				continue
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// run makes a new process the owner until what it returns is called.
func (w *world) run() (stop func()) {
	w.t.Helper()
	return w.owner().run()
}

// want waits and holds that what is stored is the fold of the whole log.
func (w *world) want(within time.Duration) {
	w.t.Helper()
	time.Sleep(within)
	_, end, err := w.whole.Bounds(w.t.Context(), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if next := w.exact(); next != end {
		w.t.Errorf("the totals are those at %d, the log ends at %d", next, end)
	}
}

// exact holds that what is stored is what the log says at the offset that is stored with it, and returns that.
func (w *world) exact() (next int64) {
	w.t.Helper()
	w.store.mu.Lock()
	now := w.store.now
	w.store.mu.Unlock()
	want, err := recount.Run(w.t.Context(), w.whole, fold.New(w.params), recount.Request{Until: new(max(now.next, 0))})
	if err != nil {
		w.t.Fatal(err)
	}
	if !maps.Equal(now.links, want.Totals) {
		w.t.Errorf("totals at %d: %v, the log says %v", now.next, now.links, want.Totals)
	}
	if !maps.Equal(now.minutes(), counts(want.Totals)) {
		w.t.Errorf("minutes at %d add up to %v, the log says %v", now.next, now.minutes(), want.Totals)
	}
	return now.next
}

func counts(of map[string]fold.Total) map[string]int64 {
	sums := make(map[string]int64)
	for link, t := range of {
		sums[link] = t.Count
	}
	return sums
}

// wantStopped waits and holds that nothing was stored beyond what was there.
func (w *world) wantStopped(next int64) {
	w.t.Helper()
	time.Sleep(3 * lookAgain)
	if got := w.store.next(); got != next {
		w.t.Fatalf("the totals moved to %d, they must stay at %d", got, next)
	}
}

// memory is a store with the semantics of [totals.Epoch], whose calls can be made to fail before or after they did
// something, and which can be taken back in time.
type memory struct {
	mu      sync.Mutex // guards what follows
	now     state
	history []state
	fail    func(call string) (before, after error)
	calls   int
	largest int // entries of a batch
}

type state struct {
	next  int64
	last  totals.Fingerprint
	links map[string]fold.Total
	by    map[string]int64 // "minute/link" -> clicks
}

func newMemory() *memory { return &memory{now: state{next: totals.None}} }

func (s state) minutes() map[string]int64 {
	sums := make(map[string]int64)
	for key, n := range s.by {
		var minute int64
		var link string
		if _, err := fmt.Sscanf(key, "%d/%s", &minute, &link); err == nil {
			sums[link] += n
		}
	}
	return sums
}

func (m *memory) next() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now.next
}

// set changes what is stored.
func (m *memory) set(f func(m *memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

// rollBack goes back by some batches, before the first of them at most.
func (m *memory) rollBack(batches int) {
	m.set(func(m *memory) {
		if n := len(m.history); n > 0 {
			i := max(0, n-batches)
			m.now, m.history = m.history[i], m.history[:i]
		}
	})
}

// roundTrip is how long a call takes, half of it each way.
const roundTrip = 2 * time.Millisecond

func (m *memory) failing(call string) (before, after error) {
	m.calls++
	if m.fail == nil {
		return nil, nil
	}
	return m.fail(call)
}

func (m *memory) Position(context.Context, int32) (totals.Position, error) {
	time.Sleep(roundTrip / 2)
	defer time.Sleep(roundTrip / 2)
	m.mu.Lock()
	defer m.mu.Unlock()
	if before, after := m.failing("position"); before != nil || after != nil {
		return totals.Position{}, errors.Join(before, after)
	}
	if m.now.next == totals.None {
		return totals.Position{}, totals.ErrMissing
	}
	return totals.Position{Next: m.now.next, Last: m.now.last}, nil
}

func (m *memory) Apply(_ context.Context, b *totals.Batch) error {
	time.Sleep(roundTrip / 2)
	defer time.Sleep(roundTrip / 2)
	m.mu.Lock()
	defer m.mu.Unlock()
	before, after := m.failing("apply")
	entries := len(b.Links)
	for _, minute := range b.Minutes {
		entries += len(minute.Links)
	}
	m.largest = max(m.largest, entries)
	if before != nil {
		return before
	}
	if m.now.next != b.From {
		return &totals.RefusedError{Have: m.now.next}
	}
	m.history = append(m.history, m.now)
	s := state{next: b.To, last: b.Last, links: maps.Clone(m.now.links), by: maps.Clone(m.now.by)}
	if s.links == nil {
		s.links, s.by = map[string]fold.Total{}, map[string]int64{}
	}
	for _, l := range b.Links {
		s.links[l.Link] = s.links[l.Link].Plus(fold.Total{Count: l.Count, Bots: l.Bots, AtMs: l.AtMs})
	}
	for _, minute := range b.Minutes {
		for _, l := range minute.Links {
			s.by[fmt.Sprint(minute.Minute, "/", l.Link)] += l.Count
		}
	}
	m.now = s
	return after
}
