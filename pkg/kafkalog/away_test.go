package kafkalog

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// Brokers that are not there yet are waited for, by a client that has never seen one, and the error at the end says that
// they could not be reached.
func TestEnsureTopicsWaitsForBrokers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0)
		spec := TopicSpec{Name: topic, Partitions: 2, Replicas: 1}
		heal := w.refuse()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if err := w.cluster.EnsureTopics(ctx, spec); !errors.Is(err, errRefused) || time.Since(began) > 7*time.Second {
			t.Fatalf("EnsureTopics = %v after %v", err, time.Since(began))
		}
		time.AfterFunc(10*time.Second, heal)
		if err := w.cluster.EnsureTopics(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		if _, err := w.cluster.Bounds(t.Context(), "another", 0); !errors.Is(err, ErrNoTopic) {
			t.Fatalf("Bounds = %v, want %v", err, ErrNoTopic)
		}
	})
}
