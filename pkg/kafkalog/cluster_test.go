package kafkalog

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
)

// Close breaks what is under way, at once, and nothing of the cluster is left: the test's bubble ends with all of its
// goroutines.
func TestClusterCloseUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 3)
		c := w.open()
		p, err := c.NewProducer(t.Context(), ProducerConfig{Topic: topic, Partitions: 3})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.silence(func([]byte) bool { return true })
		var wg sync.WaitGroup
		outcomes := make(chan error, 10)
		for i := range int32(3) {
			wg.Go(func() {
				_, err := appendOne(p, i, "x")
				outcomes <- err
			})
			wg.Go(func() {
				_, err := c.Follow(topic, i, 0).Fetch(t.Context())
				outcomes <- err
			})
		}
		synctest.Wait()
		began := time.Now()
		c.Close()
		wg.Wait()
		close(outcomes)
		for err := range outcomes {
			if err == nil {
				t.Error("it worked without a cluster")
			}
		}
		if took := time.Since(began); took > 2*backoffMost {
			t.Fatalf("what was under way ended after %v", took)
		}
		if _, err := c.Bounds(t.Context(), topic, 0); !errors.Is(err, errClusterClosed) {
			t.Fatalf("Bounds = %v", err)
		}
		if _, err := c.NewProducer(t.Context(), ProducerConfig{Topic: topic, Partitions: 1}); !errors.Is(err, errClusterClosed) {
			t.Fatalf("NewProducer = %v", err)
		}
		if _, err := appendOne(p, 0, "y"); !errors.Is(err, ErrNotAppended) {
			t.Fatalf("append = %v, want %v", err, ErrNotAppended)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

// One bootstrap broker that hangs must not stall partitions that others lead: what they need is there already.
func TestRefreshDisturbsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 2)
		for partition, node := range []int32{0, 1} {
			if err := w.fake.MoveTopicPartition(topic, int32(partition), node); err != nil {
				t.Fatal(err)
			}
		}
		p := w.producer(ProducerConfig{Partitions: 2})
		for i := range int32(2) {
			if _, err := appendOne(p, i, "warm"); err != nil {
				t.Fatal(err)
			}
		}
		hung := w.hang(w.fake.ListenAddrs()[0])
		failed := make(chan error, 1)
		go func() {
			_, err := appendOne(p, 0, "to the one that hangs")
			failed <- err
		}()
		var worst time.Duration
		for began := time.Now(); time.Since(began) < 20*time.Second; {
			asked := time.Now()
			if _, err := appendOne(p, 1, "x"); err != nil {
				t.Fatal(err)
			}
			worst = max(worst, time.Since(asked))
			time.Sleep(10 * time.Millisecond)
		}
		if worst > 100*time.Millisecond {
			t.Fatalf("an append to a broker that is well took %v", worst)
		}
		hung()
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	})
}

func TestMetricsGoWithTheirProducer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		registry := prometheus.NewPedanticRegistry()
		c, err := Open(Config{Brokers: w.fake.ListenAddrs()}, WithDialer(w.dial), WithMetrics(registry), WithLogger(zap.NewNop()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 2 {
			p, err := c.NewProducer(t.Context(), ProducerConfig{Topic: topic, Partitions: 1})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := appendOne(p, 0, "x"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.NewProducer(t.Context(), ProducerConfig{Topic: topic, Partitions: 1}); err == nil {
				t.Fatal("two producers with the same metrics")
			}
			if n, err := testutil.GatherAndCount(registry); err != nil || n == 0 {
				t.Fatalf("%d metrics, %v", n, err)
			}
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n, err := testutil.GatherAndCount(registry); err != nil || n != 0 {
				t.Fatalf("%d metrics are left, %v", n, err)
			}
		}
	})
}

// A cluster that is closed while an answer is on its way leaves the outcome in doubt: here the record is in the log.
func TestClusterCloseLeavesTheOutcomeInDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		c := w.open()
		p, err := c.NewProducer(t.Context(), ProducerConfig{Topic: topic, Partitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		w.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			time.AfterFunc(time.Second, c.Close)
			w.fake.SleepControl(func() { time.Sleep(2 * time.Second) }) // then it is appended, and nobody is there to be told
			return nil, nil, false
		})
		if _, err := appendOne(p, 0, "a"); !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("append = %v, want %v", err, ErrUnknownOutcome)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		equal(t, w.log(0), []string{"a"})
	})
}
