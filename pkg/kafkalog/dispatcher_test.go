package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// requests notes which partitions each produce request carries, and may have brokers take their time.
type requests struct {
	mu    sync.Mutex
	carry [][]int32
	slow  func(partitions []int32) time.Duration
}

func (w *world) requests() *requests {
	r := &requests{slow: func([]int32) time.Duration { return 0 }}
	w.fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		var partitions []int32
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range t.Partitions {
				partitions = append(partitions, p.Partition)
			}
		}
		slices.Sort(partitions)
		r.mu.Lock()
		r.carry = append(r.carry, partitions)
		pause := r.slow(partitions)
		r.mu.Unlock()
		if pause > 0 {
			w.fake.SleepControl(func() { time.Sleep(pause) })
		}
		return nil, nil, false
	})
	return r
}

// take returns what was noted since it was asked last.
func (r *requests) take() [][]int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	carry := r.carry
	r.carry = nil
	return carry
}

// everywhere is a message for each of the first n partitions.
func everywhere(n int32, value string) []Message {
	var msgs []Message
	for p := range n {
		msgs = append(msgs, message(p, value))
	}
	return msgs
}

// lead has each partition led by the node of its number modulo the number of nodes.
func (w *world) lead(nodes, partitions int32) {
	w.t.Helper()
	for p := range partitions {
		if err := w.fake.MoveTopicPartition(topic, p, p%nodes); err != nil {
			w.t.Fatal(err)
		}
	}
}

// greeted is a producer whose sessions and leaders are known.
func (w *world) greeted(cfg ProducerConfig) *Producer {
	w.t.Helper()
	p := w.producer(cfg)
	synctest.Wait()
	if err := p.Append(everywhere(int32(cfg.Partitions), "first")); err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestOneRequestForEachLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 12)
		w.lead(3, 12)
		p := w.greeted(ProducerConfig{Partitions: 12})
		r := w.requests()
		if err := p.Append(everywhere(12, "second")); err != nil {
			t.Fatal(err)
		}
		got := r.take()
		slices.SortFunc(got, slices.Compare)
		if want := "[[0 3 6 9] [1 4 7 10] [2 5 8 11]]"; fmt.Sprint(got) != want {
			t.Fatalf("requests with partitions %v, want %s", got, want)
		}
		for partition := range int32(12) {
			equal(t, w.log(partition), []string{"first", "second"})
		}
	})
}

// What comes for a leader's partitions while a request to it is out goes together, too.
func TestPartitionsGatherForTheirLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const partitions = 8
		w := newWorld(t, 1, partitions)
		p := w.greeted(ProducerConfig{Partitions: partitions})
		r := w.requests()
		r.slow = func([]int32) time.Duration { return patience / 2 }
		began := time.Now()
		var callers sync.WaitGroup
		for partition := range int32(partitions) {
			callers.Go(func() {
				if _, err := appendOne(p, partition, "second"); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			time.Sleep(patience / 32)
		}
		callers.Wait()
		if took := time.Since(began); took != patience {
			t.Errorf("it took %v, want two answers of %v", took, patience/2)
		}
		if got, want := fmt.Sprint(r.take()), "[[0] [1 2 3 4 5 6 7]]"; got != want {
			t.Errorf("requests with partitions %s, want %s", got, want)
		}
	})
}

// A partition that fails holds up nobody who was in the same request, and then has requests of its own until it is well.
func TestOnePartitionFails(t *testing.T) {
	t.Parallel()
	for _, fault := range []*kerr.Error{
		kerr.NotEnoughReplicas, kerr.RequestTimedOut, kerr.NotLeaderForPartition, kerr.OutOfOrderSequenceNumber,
		kerr.UnknownProducerID, kerr.KafkaStorageError,
	} {
		t.Run(fault.Message, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const partitions = 4
				w := newWorld(t, 1, partitions)
				p := w.greeted(ProducerConfig{Partitions: partitions})
				h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{1}, Err: fault, Count: -1})
				r := w.requests()
				began := time.Now()
				var failing sync.WaitGroup
				failing.Go(func() {
					if _, err := appendOne(p, 1, "second"); err != nil {
						t.Error(err)
					}
				})
				want := []string{"first"}
				for i := range 20 {
					others := everywhere(partitions, strconv.Itoa(i))
					if err := p.Append(slices.Delete(others, 1, 2)); err != nil {
						t.Fatal(err)
					}
					want = append(want, strconv.Itoa(i))
					time.Sleep(50 * time.Millisecond)
				}
				if took := time.Since(began); took > 20*(50+20)*time.Millisecond {
					t.Errorf("20 appends to the others took %v", took)
				}
				carried := r.take()
				for _, c := range carried[1:] { // the first may have met the others
					if slices.Contains(c, 1) && len(c) > 1 {
						t.Errorf("a request with partitions %v", c)
					}
				}
				if alone := slices.ContainsFunc(carried, func(c []int32) bool { return slices.Equal(c, []int32{1}) }); !alone {
					t.Error("the partition was not tried again")
				}
				h.Remove()
				failing.Wait()
				for partition := range int32(partitions) {
					if partition != 1 {
						equal(t, w.log(partition), want)
					}
				}
				equal(t, w.log(1), []string{"first", "second"})
				r.take()
				if err := p.Append(everywhere(partitions, "together")); err != nil {
					t.Fatal(err)
				}
				if got := r.take(); len(got) != 1 {
					t.Errorf("requests with partitions %v, when all is well again", got)
				}
			})
		})
	}
}

// The leader of one partition moves: the others' batches are in the log at once, and its own where it moved to.
func TestLeaderOfOnePartitionMoves(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const partitions = 6
		w := newWorld(t, 2, partitions)
		w.lead(2, partitions)
		p := w.greeted(ProducerConfig{Partitions: partitions})
		want := []string{"first"}
		for i := range int32(10) {
			if err := w.fake.MoveTopicPartition(topic, 2, (i+1)%2); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			others := slices.Delete(everywhere(partitions, "x"), 2, 3)
			var moved sync.WaitGroup
			moved.Go(func() {
				if _, err := appendOne(p, 2, "x"); err != nil || time.Since(began) > time.Second {
					t.Errorf("append = %v after %v", err, time.Since(began))
				}
			})
			if err := p.Append(others); err != nil || time.Since(began) > 2*patience {
				t.Errorf("append to the others = %v after %v", err, time.Since(began))
			}
			moved.Wait()
			want = append(want, "x")
			time.Sleep(300 * time.Millisecond)
		}
		for partition := range int32(partitions) {
			equal(t, w.log(partition), want)
		}
	})
}

// One partition's batch is larger than its topic takes: it goes in parts, and the others are not asked to.
func TestOneBatchIsTooLarge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const partitions = 3
		w := newWorld(t, 1, partitions)
		p := w.greeted(ProducerConfig{Partitions: partitions})
		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{1}, Err: kerr.MessageTooLarge, Count: 1})
		r := w.requests()
		msgs := everywhere(partitions, "a")
		msgs = append(msgs, everywhere(partitions, "b")...)
		if err := p.Append(msgs); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(r.take()), "[[0 1 2] [1] [1]]"; got != want {
			t.Errorf("requests with partitions %s, want %s", got, want)
		}
		for partition := range int32(partitions) {
			equal(t, w.log(partition), []string{"first", "a", "b"})
		}
	})
}

// A request whose answer is lost is sent again for each of its partitions, and each log holds it once.
func TestLostAnswerOfManyPartitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const partitions = 5
		w := newWorld(t, 1, partitions)
		p := w.greeted(ProducerConfig{Partitions: partitions})
		r := w.requests()
		r.slow = func(partitions []int32) time.Duration {
			if len(partitions) > 1 {
				return time.Second
			}
			return 0
		}
		time.AfterFunc(999*time.Millisecond, w.cut) // it has arrived, and is appended behind the cut
		if err := p.Append(everywhere(partitions, "second")); err != nil {
			t.Fatal(err)
		}
		for partition := range int32(partitions) {
			equal(t, w.log(partition), []string{"first", "second"})
		}
	})
}

// A leader that hangs is its own partitions' trouble.
func TestHungLeaderHoldsNobodyElseUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const partitions = 6
		w := newWorld(t, 3, partitions)
		w.lead(3, partitions)
		p := w.greeted(ProducerConfig{Partitions: partitions})
		heal := w.hang(w.fake.ListenAddrs()[0])
		var hung sync.WaitGroup
		hung.Go(func() {
			if err := p.Append([]Message{message(0, "late"), message(3, "late")}); err != nil {
				t.Error(err)
			}
		})
		for i := range 100 {
			began := time.Now()
			msgs := []Message{message(1, "x"), message(2, "x"), message(4, "x"), message(5, "x")}
			if err := p.Append(msgs); err != nil || time.Since(began) > 2*patience {
				t.Fatalf("append %d = %v after %v", i, err, time.Since(began))
			}
			time.Sleep(10 * time.Millisecond)
		}
		heal()
		w.cut() // what it swallowed is gone
		hung.Wait()
		equal(t, w.log(0), []string{"first", "late"})
		equal(t, w.log(3), []string{"first", "late"})
	})
}

// What gathers for a leader waits for its answer, but not for long.
func TestSlowPartitionIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4)
		p := w.greeted(ProducerConfig{Partitions: 4})
		r := w.requests()
		r.slow = func(partitions []int32) time.Duration {
			if slices.Contains(partitions, 0) {
				return time.Second
			}
			return 0
		}
		var slow sync.WaitGroup
		slow.Go(func() {
			if _, err := appendOne(p, 0, "slow"); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		began := time.Now()
		if err := p.Append([]Message{message(1, "x"), message(2, "x"), message(3, "x")}); err != nil || time.Since(began) > 2*patience {
			t.Errorf("append = %v after %v", err, time.Since(began))
		}
		slow.Wait()
		if got, want := fmt.Sprint(r.take()), "[[0] [1 2 3]]"; got != want {
			t.Errorf("requests with partitions %s, want %s", got, want)
		}
	})
}

// Partitions with much to send share their leader's requests with one that has little: it waits for a request or two,
// not for all of theirs.
func TestQuietPartitionGetsItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const busy = 6
		w := newWorld(t, 1, busy+1)
		p := w.greeted(ProducerConfig{Partitions: busy + 1})
		r := w.requests()
		r.slow = func([]int32) time.Duration { return 5 * time.Millisecond }
		var flood sync.WaitGroup
		big := strings.Repeat("x", 100<<10)
		for partition := range int32(busy) {
			flood.Go(func() {
				var msgs []Message
				for range 35 {
					msgs = append(msgs, message(partition, big))
				}
				if err := p.Append(msgs); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if _, err := appendOne(p, busy, "quiet"); err != nil || time.Since(began) > 30*time.Millisecond {
			t.Errorf("append = %v after %v", err, time.Since(began))
		}
		flood.Wait()
		for _, c := range r.take() {
			if len(c) > 3 { // two of half a MiB and the quiet one
				t.Errorf("a request with partitions %v", c)
			}
		}
	})
}

// A session that ends is that of one partition.
func TestOnePartitionTakesAFreshSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 3)
		p := w.greeted(ProducerConfig{Partitions: 3})
		before := []session{p.lanes[0].session, p.lanes[1].session, p.lanes[2].session}
		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{1}, Err: kerr.UnknownProducerID, Count: 1})
		if err := p.Append(everywhere(3, "second")); err != nil {
			t.Fatal(err)
		}
		for i, l := range p.lanes {
			if fresh := l.session != before[i]; fresh != (i == 1) {
				t.Errorf("partition %d: session %v after %v", i, l.session, before[i])
			}
			equal(t, w.log(l.partition), []string{"first", "second"})
		}
	})
}

// A close waits for what is on its way and for what gathers behind it.
func TestCloseDrainsWhatGathered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const partitions = 8
		w := newWorld(t, 2, partitions)
		w.lead(2, partitions)
		p := w.greeted(ProducerConfig{Partitions: partitions})
		w.requests().slow = func([]int32) time.Duration { return 10 * time.Millisecond }
		var callers sync.WaitGroup
		for range 3 {
			callers.Go(func() {
				if err := p.Append(everywhere(partitions, "x")); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		callers.Wait()
		for partition := range int32(partitions) {
			equal(t, w.log(partition), []string{"first", "x", "x", "x"})
		}
	})
}

// A close that has no time left says of everything what is known: what was sent to a leader that hangs may be in the
// log, what gathered behind it is not.
func TestCloseBehindAHungLeader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const partitions = 3
		w := newWorld(t, 1, partitions)
		p := w.greeted(ProducerConfig{Partitions: partitions})
		w.hang(w.fake.ListenAddrs()[0])
		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		var callers sync.WaitGroup
		for _, want := range []error{ErrUnknownOutcome, ErrNotAppended} {
			callers.Go(func() {
				msgs := everywhere(partitions, "x")
				_ = p.Append(msgs) // the messages carry it
				for _, m := range msgs {
					if !errors.Is(m.Err, want) {
						t.Errorf("partition %d: %v, want %v", m.Partition, m.Err, want)
					}
				}
			})
			synctest.Wait()
		}
		if err := p.Close(ctx); !errors.Is(err, errNotDrained) {
			t.Errorf("Close = %v, want %v", err, errNotDrained)
		}
		callers.Wait()
	})
}
