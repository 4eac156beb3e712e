package hub

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The wheel against a list: every deadline fires once, at the first advance to its time or beyond, and next never names a
// time behind a deadline.
func TestWheel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var w wheel
		deadlines := map[uint32]int64{} // by gen
		gen := uint32(0)
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				gen++
				at := w.now + rapid.OneOf(rapid.Int64Range(-10, 5*windowSize), rapid.Int64Range(0, 3*windows*windowSize)).Draw(t, "in")
				w.add(at, kindPace, 7, gen)
				deadlines[gen] = max(at, w.now+1)
			},
			"advance": func(t *rapid.T) {
				now := w.now + rapid.SampledFrom([]int64{0, 1, 2, 63, 64, 500, windowSize - 1, windowSize, windowSize + 1, 10 * windowSize, 100 * windowSize}).Draw(t, "by")
				var want []uint32
				for g, at := range deadlines {
					if at <= now {
						want = append(want, g)
						delete(deadlines, g)
					}
				}
				var got []uint32
				for _, e := range w.advance(now) {
					if e.key != 7<<kindBits|kindPace {
						t.Fatalf("key %d", e.key)
					}
					got = append(got, e.gen)
				}
				slices.Sort(want)
				slices.Sort(got)
				if !slices.Equal(got, want) {
					t.Fatalf("at %d: %v, want %v", now, got, want)
				}
			},
			"": func(t *rapid.T) {
				at, ok := w.next()
				if ok != (len(deadlines) > 0) {
					t.Fatalf("next says %v with %d deadlines", ok, len(deadlines))
				}
				for _, d := range deadlines {
					if at > d {
						t.Fatalf("next is %d, behind the deadline %d", at, d)
					}
				}
				if len(w.nodes) > int(gen)+1 {
					t.Fatalf("%d nodes for %d entries", len(w.nodes), gen)
				}
			},
		})
	})
}
