package kafkalog

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

func TestAppendAndFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		p := w.producer(ProducerConfig{Partitions: 2})
		now := time.Now()
		msgs := []Message{
			{Partition: 0, TimeMs: now.UnixMilli(), Key: []byte("a"), Value: []byte("0"), Headers: []Header{{Key: "traceparent", Value: []byte("00-x")}}},
			{Partition: 1, TimeMs: now.UnixMilli(), Key: []byte("b"), Value: []byte("1")},
			{Partition: 0, TimeMs: now.UnixMilli() - 5000, Key: []byte("a"), Value: nil},
		}
		if err := p.Append(msgs); err != nil {
			t.Fatal(err)
		}
		if msgs[0].Offset != 0 || msgs[1].Offset != 0 || msgs[2].Offset != 1 {
			t.Fatalf("offsets %d %d %d", msgs[0].Offset, msgs[1].Offset, msgs[2].Offset)
		}
		batch, err := w.cluster.Follow(topic, 0, 0).Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []fold.Record
		for r := (fold.Record{}); batch.Next(&r); {
			got = append(got, r)
		}
		if len(got) != 2 || string(got[0].Key) != "a" || string(got[0].Value) != "0" || got[0].TimeMs != now.UnixMilli() ||
			got[1].TimeMs != now.UnixMilli()-5000 || got[1].Offset != 1 || len(got[1].Value) != 0 {
			t.Fatalf("records %+v", got)
		}
		if m := batch.Marks(); m.Start != 0 || m.End != 2 || m.Next != 2 {
			t.Fatalf("marks %+v", m)
		}
	})
}

// What queued while a request was out makes up the next batch: nothing waits for a timer, and nothing is sent alone that
// could have gone together.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		if _, err := appendOne(p, 0, "first"); err != nil {
			t.Fatal(err)
		}
		requests := 0
		w.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.fake.KeepControl()
			requests++
			w.fake.SleepControl(func() { time.Sleep(20 * time.Millisecond) })
			return nil, nil, false
		})
		began := time.Now()
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if _, err := appendOne(p, 0, "x"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		took := time.Since(began)
		// 100 appends over 99 ms, acknowledgements after 20 ms: the last one waits for at most two.
		if requests > 8 || took > 99*time.Millisecond+2*20*time.Millisecond+5*time.Millisecond {
			t.Fatalf("%d requests, %v", requests, took)
		}
	})
}

func TestFullQueueRefusesAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		p := w.producer(ProducerConfig{Partitions: 2, QueueBytes: 1000, BatchBytes: 500})
		h := w.fake.Fault(kfake.Fault{
			Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{0}, Err: kerr.NotEnoughReplicas, Count: -1,
		})
		var wg sync.WaitGroup
		refused := 0
		var mu sync.Mutex
		for range 30 {
			wg.Go(func() {
				began := time.Now()
				if _, err := appendOne(p, 0, "0123456789012345678901234567890123456789"); err != nil {
					if !errors.Is(err, ErrQueueFull) || time.Since(began) != 0 {
						t.Errorf("append = %v after %v", err, time.Since(began))
					}
					mu.Lock()
					refused++
					mu.Unlock()
				}
			})
		}
		synctest.Wait()
		if _, err := appendOne(p, 1, "the other partition"); err != nil {
			t.Fatal(err)
		}
		if _, err := appendOne(p, 1, string(make([]byte, 600))); !errors.Is(err, ErrTooLarge) {
			t.Fatalf("append = %v, want %v", err, ErrTooLarge)
		}
		h.Remove()
		wg.Wait()
		if got := len(w.log(0)); refused == 0 || got != 30-refused {
			t.Fatalf("%d refused, %d in the log, 30 sent", refused, got)
		}
	})
}

func TestOutcomeAtTheDeadline(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault *kerr.Error
		want  error
		log   []string
	}{
		{"never appended", kerr.NotEnoughReplicas, ErrNotAppended, nil},
		{"perhaps appended", kerr.RequestTimedOut, ErrUnknownOutcome, []string{"a"}},
		{"refused for good", kerr.TopicAuthorizationFailed, ErrNotAppended, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 1)
				p := w.producer(ProducerConfig{Deadline: 5 * time.Second})
				h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: tc.fault, Count: -1})
				began := time.Now()
				_, err := appendOne(p, 0, "a")
				if !errors.Is(err, tc.want) || time.Since(began) > 6*time.Second {
					t.Fatalf("append = %v after %v, want %v", err, time.Since(began), tc.want)
				}
				h.Remove()
				if _, err := appendOne(p, 0, "b"); err != nil {
					t.Fatal(err)
				}
				equal(t, w.log(0), append(tc.log, "b"))
			})
		})
	}
}

func TestCloseDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.NotEnoughReplicas, Count: -1})
		outcome := make(chan error, 1)
		go func() {
			_, err := appendOne(p, 0, "a")
			outcome <- err
		}()
		time.Sleep(time.Second)
		time.AfterFunc(2*time.Second, func() { h.Remove() })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := p.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-outcome; err != nil {
			t.Fatal(err)
		}
		if _, err := appendOne(p, 0, "late"); !errors.Is(err, ErrClosed) {
			t.Fatalf("append = %v, want %v", err, ErrClosed)
		}
		equal(t, w.log(0), []string{"a"})
	})
}

// A close that has no time is no failure where nothing waits.
func TestCloseWithoutTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		if _, err := appendOne(p, 0, "a"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 {
			if err := p.Close(ctx); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// What queued behind a batch that is given up was never sent: that is known, and said.
func TestQueuedBehindABatchThatIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{Deadline: 5 * time.Second})
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.NotLeaderForPartition, Count: -1})
		outcomes := make(chan error, 1)
		go func() {
			_, err := appendOne(p, 0, "sent")
			outcomes <- err
		}()
		synctest.Wait() // at the same instant, and behind it
		if _, err := appendOne(p, 0, "queued"); !errors.Is(err, ErrNotAppended) {
			t.Errorf("append = %v, want %v", err, ErrNotAppended)
		}
		// A broker says this too of a batch that it has appended and could not replicate.
		if err := <-outcomes; !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("append = %v, want %v", err, ErrUnknownOutcome)
		}
		h.Remove()
		if _, err := appendOne(p, 0, "after"); err != nil {
			t.Fatal(err)
		}
		equal(t, w.log(0), []string{"after"})
	})
}

func TestCloseGivesUpInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.RequestTimedOut, Count: -1})
		outcome := make(chan error, 1)
		go func() {
			_, err := appendOne(p, 0, "a")
			outcome <- err
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Close(ctx); !errors.Is(err, errNotDrained) {
			t.Fatalf("Close = %v", err)
		}
		if err := <-outcome; !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("append = %v, want %v", err, ErrUnknownOutcome)
		}
	})
}
