package hub

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// The set against a map, through every word and over their borders.
func TestDirtySet(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var d dirtySet
		n := rapid.IntRange(1, wire.MaxSubscriptions).Draw(t, "n")
		d.reserve(n)
		want := map[uint32]bool{}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			i := uint32(rapid.IntRange(0, n-1).Draw(t, "i"))
			if rapid.Bool().Draw(t, "add") {
				d.add(i)
				want[i] = true
			} else {
				d.remove(i)
				delete(want, i)
			}
		}
		var got []uint32
		for i, ok := d.next(0); ok; i, ok = d.next(i + 1) {
			got = append(got, i)
			if !d.has(i) {
				t.Fatalf("next found %d, has says it is not there", i)
			}
		}
		if !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
