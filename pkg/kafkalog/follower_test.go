package kafkalog

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

func TestFollowerTellsLossFromAShortLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		for i := range 5 {
			if _, err := appendOne(p, 0, strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.fake.DeleteRecords(topic, 0, 3); err != nil {
			t.Fatal(err)
		}
		if _, err := w.cluster.Follow(topic, 0, 2).Fetch(t.Context()); !errors.Is(err, feed.ErrLost) {
			t.Fatalf("Fetch below the start = %v", err)
		}
		if _, err := w.cluster.Follow(topic, 0, 6).Fetch(t.Context()); !errors.Is(err, feed.ErrBeyondEnd) {
			t.Fatalf("Fetch beyond the end = %v", err)
		}
		began := time.Now()
		batch, err := w.cluster.Follow(topic, 0, 5).Fetch(t.Context())
		if err != nil || time.Since(began) != fetchWait {
			t.Fatalf("Fetch at the end = %v after %v", err, time.Since(began))
		}
		if m := batch.Marks(); m.Start != 3 || m.End != 5 || m.Next != 5 || !m.AsOf.Equal(began) {
			t.Fatalf("marks %+v", m)
		}
	})
}
