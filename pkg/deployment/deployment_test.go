package deployment_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/linkpulse/linkpulse/pkg/clickpb"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a cluster in memory, and a client of it, in the synctest bubble of its test.
type world struct {
	t       *testing.T
	fake    *kfake.Cluster
	cluster *kafkalog.Cluster
}

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		network := &kfake.VirtualNetwork{}
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9000), kfake.ListenFn(network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		cluster, err := kafkalog.Open(kafkalog.Config{Brokers: fake.ListenAddrs()}, kafkalog.WithDialer(network.DialContext))
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		defer cluster.Close()
		test(&world{t: t, fake: fake, cluster: cluster})
	})
}

func topics() deployment.Topics {
	return deployment.Topics{Replicas: 1, MinInsync: 1, Retention: deployment.DefaultRetention}
}

func (w *world) init(r deployment.Record) deployment.Record {
	w.t.Helper()
	r, err := deployment.Init(w.t.Context(), w.cluster, r, topics())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// put writes whatever to the control topic.
func (w *world) put(key string, value []byte) {
	w.t.Helper()
	p, err := w.cluster.NewProducer(w.t.Context(), kafkalog.ProducerConfig{Topic: deployment.ControlTopic, Partitions: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	err = p.Append([]kafkalog.Message{{TimeMs: time.Now().UnixMilli(), Key: []byte(key), Value: value}})
	if err = errors.Join(err, p.Close(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// rewrite writes a record whatever stands.
func (w *world) rewrite(r deployment.Record) {
	w.t.Helper()
	value, err := proto.Marshal(&clickpb.Deployment{
		Topic: r.Topic, Partitions: uint32(r.Partitions), Window: r.Window, WithinMs: r.Within.Milliseconds(),
		FoldVersion: uint32(r.FoldVersion), Epoch: r.Epoch, CreatedAtMs: time.Now().UnixMilli(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(deployment.Key, value)
}

func (w *world) wait() (deployment.Record, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	return deployment.Wait(ctx, w.cluster, func(error) {})
}

func TestInit(t *testing.T) {
	inWorld(t, func(w *world) {
		began := time.Now()
		r := w.init(deployment.Default())
		if r.CreatedAt.Before(began.Truncate(time.Millisecond)) || r.CreatedAt.After(time.Now()) {
			w.t.Errorf("created at %v", r.CreatedAt)
		}
		want := deployment.Default()
		want.CreatedAt = r.CreatedAt
		if r != want {
			w.t.Errorf("record %+v, want %+v", r, want)
		}
		for topic, settings := range map[string]map[string]string{
			deployment.ControlTopic: {"cleanup.policy": "compact", "min.insync.replicas": "1"},
			"clicks": {
				"cleanup.policy": "delete", "retention.ms": "604800000", "retention.bytes": "-1",
				"message.timestamp.type": "LogAppendTime", "min.insync.replicas": "1",
			},
		} {
			info := w.fake.TopicInfo(topic)
			if info == nil {
				w.t.Fatalf("no topic %s", topic)
			}
			for name, want := range settings {
				if got := info.Configs[name]; got == nil || *got != want {
					w.t.Errorf("%s: %s is %v, want %s", topic, name, got, want)
				}
			}
		}
		if n := len(w.fake.PartitionInfos("clicks")); n != 12 {
			w.t.Errorf("%d partitions", n)
		}
		time.Sleep(time.Hour)
		if again := w.init(deployment.Default()); again != r {
			w.t.Errorf("the second Init returns %+v, the first %+v", again, r)
		}
		if end := w.fake.PartitionInfo(deployment.ControlTopic, 0).HighWatermark; end != 1 {
			w.t.Errorf("%d records in the control topic", end)
		}
		if got, err := w.wait(); err != nil || got != r {
			w.t.Errorf("Wait = %+v, %v", got, err)
		}
	})
}

func TestInitAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _, _ = w.wait() }) // services that wait meanwhile are in nobody's way
			wg.Go(func() {
				if _, err := deployment.Init(w.t.Context(), w.cluster, deployment.Default(), topics()); err != nil {
					w.t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestInitRefusesAnother(t *testing.T) {
	inWorld(t, func(w *world) {
		stands := w.init(deployment.Default())
		other := deployment.Record{Topic: "clicks-2", Partitions: 24, Window: 1000, Within: time.Minute, FoldVersion: stands.FoldVersion, Epoch: 1}
		got, err := deployment.Init(w.t.Context(), w.cluster, other, topics())
		var conflict *deployment.ConflictError
		if !errors.As(err, &conflict) || got != stands || conflict.Stands != stands {
			w.t.Fatalf("Init = %+v, %v", got, err)
		}
		want := []deployment.Difference{
			{Field: "topic", Have: "clicks", Want: "clicks-2"},
			{Field: "partitions", Have: "12", Want: "24"},
			{Field: "window", Have: "50000", Want: "1000"},
			{Field: "within", Have: "1h0m0s", Want: "1m0s"},
		}
		if !slices.Equal(conflict.Differences, want) {
			w.t.Fatalf("differences %+v", conflict.Differences)
		}
		for _, d := range want {
			if !strings.Contains(err.Error(), d.Field+" is "+d.Have+", "+d.Want) {
				w.t.Errorf("%q does not name %+v", err, d)
			}
		}
		if w.fake.TopicInfo("clicks-2") != nil {
			w.t.Error("it created the other topic")
		}
		if got, err := w.wait(); err != nil || got != stands {
			w.t.Errorf("Wait = %+v, %v", got, err)
		}
	})
}

// The epoch is not asked for: who runs init again after a rebuild does not mean to go back.
func TestInitAgainInALaterEpoch(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.init(deployment.Default())
		r.Epoch = 3
		w.rewrite(r)
		if got := w.init(deployment.Default()); got.Epoch != 3 {
			w.t.Fatalf("Init returns epoch %d", got.Epoch)
		}
	})
}

func TestInitRefusesNonsense(t *testing.T) {
	inWorld(t, func(w *world) {
		_, err := deployment.Init(w.t.Context(), w.cluster, deployment.Record{Within: time.Microsecond, FoldVersion: 99}, topics())
		if err == nil {
			w.t.Fatal("it was taken")
		}
		for _, part := range []string{"topic is", "partitions is 0", "window is 0", "within is 1µs", "whole milliseconds", "fold version is 99", "epoch is 0"} {
			if !strings.Contains(err.Error(), part) {
				w.t.Errorf("%q does not tell %q", err, part)
			}
		}
		if w.fake.TopicInfo(deployment.ControlTopic) != nil {
			w.t.Error("it created a topic")
		}
	})
}

// While it waits, Wait tells why, once for each reason.
func TestWaitTellsWhy(t *testing.T) {
	inWorld(t, func(w *world) {
		var mu sync.Mutex
		var told []string
		reasons := func() string {
			mu.Lock()
			defer mu.Unlock()
			return strings.Join(told, " | ")
		}
		type result struct {
			r   deployment.Record
			err error
		}
		found := make(chan result, 1)
		go func() {
			r, err := deployment.Wait(w.t.Context(), w.cluster, func(reason error) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, reason.Error())
			})
			found <- result{r, err}
		}()
		time.Sleep(10 * time.Second)
		if got := reasons(); !strings.Contains(got, deployment.ControlTopic) || strings.Contains(got, " | ") {
			w.t.Fatalf("without a topic: %s", got)
		}
		if err := w.fake.CreateTopic(deployment.ControlTopic, 1, nil); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if got := reasons(); !strings.HasSuffix(got, deployment.ErrMissing.Error()) {
			w.t.Fatalf("without a record: %s", got)
		}
		w.put("something else", []byte("x"))
		w.put(deployment.Key, []byte{0xff})
		time.Sleep(10 * time.Second)
		if got := reasons(); !strings.Contains(got, "offset 1") || !strings.Contains(got, "does not decode") {
			w.t.Fatalf("with a poison record: %s", got)
		}
		later := deployment.Default()
		later.FoldVersion++
		w.rewrite(later)
		time.Sleep(10 * time.Second)
		if got := reasons(); !strings.Contains(got, "fold version is 2") {
			w.t.Fatalf("with a record of a later version: %s", got)
		}
		w.put(deployment.Key, nil)
		time.Sleep(10 * time.Second)
		if got := reasons(); strings.Count(got, deployment.ErrMissing.Error()) != 3 || !strings.HasSuffix(got, deployment.ErrMissing.Error()) {
			w.t.Fatalf("with a record that was removed: %s", got)
		}
		w.rewrite(deployment.Default())
		if got := <-found; got.err != nil || got.r.Topic != "clicks" {
			w.t.Fatalf("Wait = %+v", got)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	inWorld(t, func(w *world) {
		began := time.Now()
		if _, err := w.wait(); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 6*time.Second {
			w.t.Fatalf("Wait = %v after %v", err, time.Since(began))
		}
	})
}

// What later records do to those who count by the first one.
func TestFollow(t *testing.T) {
	with := func(change func(*deployment.Record)) func(w *world) {
		return func(w *world) {
			r := deployment.Default()
			change(&r)
			w.rewrite(r)
		}
	}
	for name, tc := range map[string]struct {
		write  func(w *world)
		denied bool
		epoch  int64 // that is returned; 0 and not denied: Follow goes on
	}{
		"nothing":        {func(*world) {}, false, 0},
		"the same again": {with(func(*deployment.Record) {}), false, 0},
		"the next epoch": {with(func(r *deployment.Record) { r.Epoch = 2 }), false, 2},
		"a later epoch, all new": {with(func(r *deployment.Record) {
			*r = deployment.Record{"c", 1, 7, time.Hour, r.FoldVersion, 9, r.CreatedAt}
		}), false, 9},
		"another window":   {with(func(r *deployment.Record) { r.Window++ }), true, 0},
		"other partitions": {with(func(r *deployment.Record) { r.Partitions++ }), true, 0},
		"a later version":  {with(func(r *deployment.Record) { r.FoldVersion++; r.Epoch++ }), true, 0},
		"poison":           {func(w *world) { w.put(deployment.Key, []byte{0xff}) }, false, 0},
		"another key":      {func(w *world) { w.put("revoked", []byte{0xff}) }, false, 0},
		"removed":          {func(w *world) { w.put(deployment.Key, nil) }, false, 0},
		"poison, then a new epoch": {func(w *world) {
			w.put(deployment.Key, []byte{0xff})
			with(func(r *deployment.Record) { r.Epoch = 2 })(w)
		}, false, 2},
		"two epochs, one fetch": {func(w *world) {
			with(func(r *deployment.Record) { r.Epoch = 2 })(w)
			with(func(r *deployment.Record) { r.Epoch = 3 })(w)
		}, false, 3},
	} {
		t.Run(name, func(t *testing.T) {
			for _, when := range []string{"before", "while"} {
				t.Run(when, func(t *testing.T) {
					inWorld(t, func(w *world) {
						current := w.init(deployment.Default())
						if when == "before" { // it was written while the service was starting
							tc.write(w)
						}
						ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
						defer cancel()
						type result struct {
							r   deployment.Record
							err error
						}
						done := make(chan result, 1)
						go func() {
							r, err := deployment.Follow(ctx, w.cluster, current)
							done <- result{r, err}
						}()
						if when == "while" {
							time.Sleep(3 * time.Second)
							tc.write(w)
						}
						got := <-done
						switch {
						case tc.denied:
							if !errors.Is(got.err, deployment.ErrContradiction) {
								w.t.Fatalf("Follow = %+v, %v, want %v", got.r, got.err, deployment.ErrContradiction)
							}
						case tc.epoch == 0:
							if !errors.Is(got.err, context.DeadlineExceeded) {
								w.t.Fatalf("Follow = %+v, %v, want it to go on", got.r, got.err)
							}
						case got.err != nil || got.r.Epoch < 2 || got.r.Epoch > tc.epoch:
							w.t.Fatalf("Follow = %+v, %v, want epoch %d", got.r, got.err, tc.epoch)
						}
					})
				})
			}
		})
	}
}

// An epoch that went back is no order to count by the old one again.
func TestFollowDeniesAnEarlierEpoch(t *testing.T) {
	inWorld(t, func(w *world) {
		r := w.init(deployment.Default())
		r.Epoch = 2
		w.rewrite(deployment.Default())
		if _, err := deployment.Follow(w.t.Context(), w.cluster, r); !errors.Is(err, deployment.ErrContradiction) {
			w.t.Fatalf("Follow = %v", err)
		}
	})
}

func TestFollowWaitsForTheCluster(t *testing.T) {
	inWorld(t, func(w *world) {
		current := w.init(deployment.Default())
		down := w.fake.Fault(
			kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets}, Topic: deployment.ControlTopic, Err: kerr.NotLeaderForPartition, Count: -1},
		)
		done := make(chan error, 1)
		go func() {
			r, err := deployment.Follow(w.t.Context(), w.cluster, current)
			if err == nil && r.Epoch != 2 {
				err = fmt.Errorf("epoch %d", r.Epoch)
			}
			done <- err
		}()
		time.Sleep(20 * time.Second)
		down.Remove()
		next := current
		next.Epoch = 2
		w.rewrite(next)
		if err := <-done; err != nil {
			w.t.Fatalf("Follow: %v", err)
		}
	})
}
