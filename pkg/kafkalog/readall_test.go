package kafkalog

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// readAll returns the values in a partition.
func (w *world) readAll() (values []string, next int64, err error) {
	seen := int64(-1)
	next, err = w.cluster.ReadAll(w.t.Context(), topic, 0, func(b feed.Batch) error {
		var r fold.Record
		for b.Next(&r) {
			if r.Offset > seen { // brokers answer with whole batches
				values, seen = append(values, string(r.Value)), r.Offset
			}
		}
		return b.Err()
	})
	return values, next, err
}

func TestReadAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		if values, next, err := w.readAll(); err != nil || len(values) > 0 || next != 0 {
			t.Fatalf("of nothing: %v, %d, %v", values, next, err)
		}
		p := w.producer(ProducerConfig{Partitions: 1})
		var want []string
		for i := range 9 {
			want = append(want, strconv.Itoa(i))
			if err := p.Append([]Message{{Value: []byte(want[i])}}); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		values, next, err := w.readAll()
		if err != nil || !slices.Equal(values, want) || next != 9 || time.Since(began) > 100*time.Millisecond {
			t.Fatalf("%v, %d, %v, after %v", values, next, err, time.Since(began))
		}
		if err := w.fake.DeleteRecords(topic, 0, 4); err != nil {
			t.Fatal(err)
		}
		if values, next, err = w.readAll(); err != nil || !slices.Equal(values, want[4:]) || next != 9 {
			t.Fatalf("of what is left: %v, %d, %v", values, next, err)
		}
		enough := errors.New("enough")
		if _, err := w.cluster.ReadAll(t.Context(), topic, 0, func(feed.Batch) error { return enough }); !errors.Is(err, enough) {
			t.Fatalf("%v", err)
		}
		compacted(w)
		if values, next, err = w.readAll(); err != nil || !slices.Equal(values, []string{"a", "b", "c", "a", "b", "c"}) || next != 9 {
			t.Fatalf("of what compaction left: %v, %d, %v", values, next, err)
		}
		if _, err := w.cluster.ReadAll(t.Context(), "none", 0, nil); !errors.Is(err, ErrNoTopic) {
			t.Fatalf("of no topic: %v", err)
		}
	})
}
