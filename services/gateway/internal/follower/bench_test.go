package follower

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// stream prepares chunks of clicks of a thousand links, each with an id of its own.
type stream struct {
	p       *partition
	read    trail
	records []fold.Record
	n       uint64
}

func newStream(tb testing.TB) *stream {
	tb.Helper()
	cfg := Config{Partitions: 1, Fold: fold.Params{Window: 50_000, Within: time.Hour}, Epoch: 1}
	set, err := New(cfg, Deps{Log: zap.NewNop(), Registry: prometheus.NewRegistry()})
	if err != nil {
		tb.Fatal(err)
	}
	s := &stream{p: set.partitions[0], records: make([]fold.Record, feed.MaxRecords)}
	s.p.begin(0, 0)
	for i := range s.records {
		s.records[i].Value = (&click.Record{ID: click.ID{1}, AtMs: 1763900000000, Country: "DE", ReferrerHost: "example.com"}).Append(nil)
		s.records[i].Key = fmt.Appendf(nil, "x7Kp2%d", i*7%1000)
	}
	for range 100_000 / feed.MaxRecords { // the fold's memory has grown
		s.apply()
	}
	return s
}

// watch puts links nobody clicks, and the first one that somebody does, under watch.
func (s *stream) watch(tb testing.TB, watcher Watcher) *Watched {
	tb.Helper()
	for i := range 1000 {
		s.p.watch(fmt.Sprintf("quiet%d", i), watcher)
	}
	w := s.p.watch(string(s.records[0].Key), watcher)
	links, life := s.p.takeWaiting(maxAsked)
	if got := s.p.land(links, life, nil, s.p.fold.Position()); got != readLanded {
		tb.Fatal(got)
	}
	return w
}

// apply makes the chunk the next of the log and applies it.
func (s *stream) apply() {
	at := s.p.fold.Position()
	for i := range s.records {
		r := &s.records[i]
		r.Offset = at + int64(i)
		r.TimeMs = r.Offset / 10
		s.n++
		binary.LittleEndian.PutUint64(r.Value[4:], s.n)
	}
	next := at + int64(len(s.records))
	s.p.apply(s.records, next)
	s.read.keep(&feed.Chunk{Records: s.records, Next: next})
}

type deaf struct{}

func (deaf) Changed() {}

func TestNoAllocationPerRecord(t *testing.T) {
	s := newStream(t)
	w := s.watch(t, deaf{})
	if allocs := testing.AllocsPerRun(300, s.apply); allocs != 0 {
		t.Errorf("%v allocations for a chunk with a watched link, want 0", allocs)
	}
	if r, ok := w.Read(); !ok || r.Count.Count < 300 {
		t.Errorf("reading %+v, %v: the watched link was not counted", r, ok)
	}
	if allocs := testing.AllocsPerRun(300, func() { w.Read() }); allocs != 0 {
		t.Errorf("%v allocations for a reading, want 0", allocs)
	}
}

// BenchmarkApply is what a click costs from a prepared chunk: scan, fold, look whether somebody watches, keep the last record.
func BenchmarkApply(b *testing.B) {
	run := func(b *testing.B, s *stream) {
		b.Helper()
		b.ReportAllocs()
		for b.Loop() {
			s.apply()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(s.records)), "ns/record")
	}
	b.Run("nobody-watches", func(b *testing.B) {
		s := newStream(b)
		s.watch(b, deaf{})
		for i := range s.records {
			s.records[i].Key = fmt.Appendf(nil, "cold%d", i)
		}
		run(b, s)
	})
	b.Run("all-watched", func(b *testing.B) {
		s := newStream(b)
		s.watch(b, deaf{})
		for i := range s.records {
			s.records[i].Key = s.records[0].Key
		}
		run(b, s)
	})
}

func BenchmarkRead(b *testing.B) {
	s := newStream(b)
	w := s.watch(b, deaf{})
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := w.Read(); !ok {
			b.Fatal("syncing")
		}
	}
}

// BenchmarkLand stitches one link to totals that are a whole window old: the worst walk.
func BenchmarkLand(b *testing.B) {
	s := newStream(b)
	w := s.watch(b, deaf{})
	b.ReportAllocs()
	for b.Loop() {
		s.p.mu.Lock()
		w.state = asked
		s.p.metrics.waiting.Inc()
		s.p.mu.Unlock()
		if got := s.p.land([]*Watched{w}, s.p.life, nil, s.p.fold.Floor()); got != readLanded {
			b.Fatal(got)
		}
	}
}
