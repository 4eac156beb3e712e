package fold

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

const benchWindow = 50_000

// source makes records without allocating: the id is written over in the encoded value.
type source struct {
	fold  *Fold
	keys  [][]byte
	value []byte
	r     Record
}

func newSource(links int) *source {
	s := &source{
		fold:  New(Params{Window: benchWindow, Within: time.Hour}),
		value: (&click.Record{ID: click.ID{1}, AtMs: 1763900000000, Country: "DE", ReferrerHost: "example.com"}).Append(nil),
	}
	for i := range links {
		s.keys = append(s.keys, fmt.Appendf(nil, "x7Kp2%d", i))
	}
	return s
}

// add folds the event number n; each number is another event, of a link that follows from it.
func (s *source) add(n uint64) Verdict {
	const idAt = 4 // behind the version and the id's tag and length
	binary.LittleEndian.PutUint64(s.value[idAt:], n)
	s.r.TimeMs = s.r.Offset / 10
	s.r.Key, s.r.Value = s.keys[n*2654435761%uint64(len(s.keys))], s.value
	v := s.fold.Add(s.r)
	s.r.Offset++
	return v
}

func (s *source) fill(tb testing.TB) {
	tb.Helper()
	for n := range uint64(2 * benchWindow) {
		if v := s.add(n); v != Counted {
			tb.Fatalf("event %d: %v", n, v)
		}
	}
}

func TestNoAllocationPerClick(t *testing.T) {
	s := newSource(1000)
	s.fill(t)
	n := uint64(2 * benchWindow)
	if allocs := testing.AllocsPerRun(2*benchWindow, func() {
		s.add(n)     // fresh
		s.add(n)     // duplicate
		s.add(n / 2) // fresh or duplicate
		n++
	}); allocs != 0 {
		t.Errorf("%v allocations for three clicks, want 0", allocs)
	}
	sum := int64(0)
	if allocs := testing.AllocsPerRun(10, func() {
		for c := range s.fold.Counted(s.fold.Floor(), s.fold.Position()) {
			sum += c.TimeMs
		}
	}); allocs != 0 {
		t.Errorf("%v allocations for a walk of the ring, want 0", allocs)
	}
	if sum == 0 {
		t.Error("the walk saw nothing")
	}
}

// BenchmarkAdd includes the scan of the record. "hot" is one link for all clicks, "cold" 100,000 links.
func BenchmarkAdd(b *testing.B) {
	for _, links := range []struct {
		name string
		n    int
	}{{"hot", 1}, {"cold", 100_000}} {
		for _, bench := range []struct {
			name string
			want Verdict
			id   func(n uint64) uint64
		}{
			{"fresh", Counted, func(n uint64) uint64 { return n }},
			{"duplicate-near", Duplicate, func(n uint64) uint64 { return n / 64 }},
			{"duplicate-far", Duplicate, func(n uint64) uint64 { return n % (benchWindow / 2) }},
		} {
			b.Run(links.name+"/"+bench.name, func(b *testing.B) {
				s := newSource(links.n)
				s.fill(b)
				n := uint64(2 * benchWindow)
				if bench.want == Duplicate { // let what the records duplicate be there
					for range benchWindow {
						s.add(bench.id(n))
						n++
					}
				}
				b.ReportAllocs()
				other := 0
				for b.Loop() {
					if s.add(bench.id(n)) != bench.want {
						other++
					}
					n++
				}
				if other > b.N/32+1 {
					b.Fatalf("%d of %d were not %v", other, b.N, bench.want)
				}
			})
		}
	}
}

func BenchmarkScanAlone(b *testing.B) {
	s := newSource(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := click.Scan(s.keys[0], s.value); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWalk walks the whole ring, as a stitch to a total that is one window old does. The figure is for all of it.
func BenchmarkWalk(b *testing.B) {
	s := newSource(1000)
	s.fill(b)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for c := range s.fold.Counted(s.fold.Floor(), s.fold.Position()) {
			n += len(c.Link)
		}
		if n == 0 {
			b.Fatal("nothing was counted")
		}
	}
}
