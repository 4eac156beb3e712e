package kafkalog

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func spec() TopicSpec {
	return TopicSpec{
		Name: "new", Partitions: 4, Replicas: 3,
		Settings: map[string]string{"retention.ms": "604800000", "cleanup.policy": "delete", "message.timestamp.type": "LogAppendTime"},
	}
}

func TestEnsureTopics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0)
		if err := w.cluster.EnsureTopics(t.Context(), spec()); err != nil {
			t.Fatal(err)
		}
		info := w.fake.TopicInfo("new")
		if info == nil || len(w.fake.PartitionInfos("new")) != 4 || info.NumReplicas != 3 {
			t.Fatalf("created %+v", info)
		}
		for name, want := range spec().Settings {
			if got := info.Configs[name]; got == nil || *got != want {
				t.Errorf("%s is %v, want %s", name, got, want)
			}
		}
		began := time.Now()
		if err := w.cluster.EnsureTopics(t.Context(), spec(), spec()); err != nil || time.Since(began) > time.Second {
			t.Fatalf("once more: %v after %v", err, time.Since(began))
		}
	})
}

func TestEnsureTopicsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 0)
		var wg sync.WaitGroup
		for range 8 {
			c := w.open()
			wg.Go(func() {
				defer c.Close()
				if err := c.EnsureTopics(t.Context(), spec()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// What differs is told, all of it, and stays as it is.
func TestEnsureTopicsTellsDifferences(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 0)
		if err := w.fake.CreateTopic("new", 3, map[string]string{"retention.ms": "1000", "cleanup.policy": "compact"}); err != nil {
			t.Fatal(err)
		}
		err := w.cluster.EnsureTopics(t.Context(), spec())
		var differs *TopicError
		if !errors.As(err, &differs) || differs.Topic != "new" {
			t.Fatalf("EnsureTopics = %v", err)
		}
		want := []string{
			"it has 3 partitions, at least 4 are needed",
			`cleanup.policy is "compact", must be "delete"`,
			`message.timestamp.type is "CreateTime", must be "LogAppendTime"`,
			`retention.ms is "1000", must be "604800000"`,
		}
		if !slices.Equal(differs.Differences, want) {
			t.Fatalf("differences %q", differs.Differences)
		}
		if info := w.fake.TopicInfo("new"); len(w.fake.PartitionInfos("new")) != 3 || *info.Configs["retention.ms"] != "1000" {
			t.Fatalf("it was changed: %+v", info)
		}
	})
}

// Links are hashed over the count in the deployment record: more partitions than that change nothing.
func TestMorePartitionsAreNoDifference(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 5)
		if err := w.cluster.CheckTopic(t.Context(), TopicSpec{Name: topic, Partitions: 4}); err != nil {
			t.Fatal(err)
		}
		if err := w.cluster.CheckTopic(t.Context(), TopicSpec{Name: "nowhere", Partitions: 4}); err == nil {
			t.Fatal("a topic that is not there is as it must be")
		}
	})
}

func TestEnsureTopicsThroughTrouble(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		key   kmsg.Key
		fault *kerr.Error
		count int
		good  bool
		most  time.Duration
	}{
		"the controller moves":       {kmsg.CreateTopics, kerr.NotController, 3, true, 5 * time.Second},
		"not allowed":                {kmsg.CreateTopics, kerr.TopicAuthorizationFailed, -1, false, time.Second},
		"the policy says no":         {kmsg.CreateTopics, kerr.PolicyViolation, -1, false, time.Second},
		"timed out and created":      {kmsg.CreateTopics, kerr.RequestTimedOut, 1, true, 5 * time.Second},
		"it never works":             {kmsg.CreateTopics, kerr.NotController, -1, false, 11 * time.Second},
		"settings are not to be had": {kmsg.DescribeConfigs, kerr.TopicAuthorizationFailed, -1, false, time.Second},
		"a broker has not heard yet": {kmsg.DescribeConfigs, kerr.UnknownTopicOrPartition, 3, true, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 0)
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{tc.key}, Err: tc.fault, Count: tc.count})
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				began := time.Now()
				s := spec()
				s.Replicas = 1
				if err := w.cluster.EnsureTopics(ctx, s); (err == nil) != tc.good || time.Since(began) > tc.most {
					t.Fatalf("EnsureTopics = %v after %v", err, time.Since(began))
				}
			})
		})
	}
}

// A topic is not ready before all of its partitions are led.
func TestEnsureTopicsWaitsForLeaders(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4)
		h := w.fake.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Metadata}, Topic: topic, Partitions: []int32{3}, Err: kerr.LeaderNotAvailable, Count: -1,
		})
		began := time.Now()
		time.AfterFunc(3*time.Second, h.Remove)
		if err := w.cluster.EnsureTopics(t.Context(), TopicSpec{Name: topic, Partitions: 4, Replicas: 1}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 3*time.Second {
			t.Fatalf("it was there after %v", took)
		}
	})
}
