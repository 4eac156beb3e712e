package kafkalog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestChaos appends from many callers while leaders move, answers get lost, connections break, brokers
// hang and replicas are short.
// Whatever was acknowledged is in the log once, at the offset that was told; what was not appended is not there.
func TestChaos(t *testing.T) {
	t.Parallel()
	for range 20 {
		seed := rand.Uint64()
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { chaos(t, seed) })
		})
	}
}

func chaos(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	const partitions = 3
	w := newWorld(t, 3, partitions)
	p := w.producer(ProducerConfig{Partitions: partitions})
	type told struct {
		partition int32
		value     string
		offset    int64
		err       error
	}
	results := make(chan told, 10_000)
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			for i := range 100 {
				msgs := []Message{message(int32((caller+i)%partitions), fmt.Sprintf("%d/%d", caller, i))}
				if i%4 == 0 { // requests of many partitions
					msgs = nil
					for partition := range int32(partitions) {
						msgs = append(msgs, message(partition, fmt.Sprintf("%d/%d/%d", caller, i, partition)))
					}
				}
				_ = p.Append(msgs) // the messages carry it
				for _, m := range msgs {
					results <- told{m.Partition, string(m.Value), m.Offset, m.Err}
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	faults := []*kerr.Error{
		kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend, kerr.NotEnoughReplicas, kerr.NotLeaderForPartition,
		kerr.KafkaStorageError, kerr.UnknownTopicOrPartition,
	}
	for range 60 {
		time.Sleep(time.Duration(rng.IntN(60)) * time.Millisecond)
		switch rng.IntN(5) {
		case 0:
			w.cut()
		case 1:
			_ = w.fake.MoveTopicPartition(topic, rng.Int32N(partitions), rng.Int32N(3)) // it has always been there
		case 2:
			heal := w.hang(w.fake.ListenAddrs()[rng.IntN(3)])
			time.AfterFunc(time.Duration(rng.IntN(8000))*time.Millisecond, heal)
		default:
			w.fake.Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Partitions: []int32{rng.Int32N(partitions)},
				Err: faults[rng.IntN(len(faults))], Count: 1 + rng.IntN(4),
			})
		}
	}
	wg.Wait()
	close(results)
	logs := map[int32][]string{}
	times := map[string]int{}
	for partition := range int32(partitions) {
		logs[partition] = w.log(partition)
		for _, v := range logs[partition] {
			times[v]++
		}
	}
	ackedCount := 0
	for r := range results {
		switch n := times[r.value]; {
		case r.err == nil:
			ackedCount++
			if n != 1 {
				t.Errorf("%s was acknowledged and is in the log %d times", r.value, n)
			} else if r.offset >= 0 && logs[r.partition][r.offset] != r.value {
				t.Errorf("%s is not at %d/%d as told", r.value, r.partition, r.offset)
			}
		case errors.Is(r.err, ErrUnknownOutcome):
			if n > 1 {
				t.Errorf("%s has an unknown outcome and is in the log %d times", r.value, n)
			}
		default:
			if n != 0 {
				t.Errorf("%s was not appended (%v) and is in the log", r.value, r.err)
			}
		}
	}
	if ackedCount < 1050 {
		t.Errorf("only %d of 1200 were acknowledged", ackedCount)
	}
}
