package kafkalog

import (
	"errors"
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A retry of a batch that had been appended after all is recognised by the broker: the log holds it once.
func TestRetryIsIdempotent(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		fault *kerr.Error
	}{
		{"timed out after the append", kerr.RequestTimedOut},
		{"too few replicas after the append", kerr.NotEnoughReplicasAfterAppend},
		{"too few replicas", kerr.NotEnoughReplicas},
		{"no leader", kerr.NotLeaderForPartition},
		{"storage", kerr.KafkaStorageError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 1)
				p := w.producer(ProducerConfig{})
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: tc.fault, Count: 3})
				for _, v := range []string{"a", "b", "c"} {
					if _, err := appendOne(p, 0, v); err != nil {
						t.Fatal(err)
					}
				}
				equal(t, w.log(0), []string{"a", "b", "c"})
			})
		})
	}
}

// cutReply is a connection that breaks when the n-th answer from now on would arrive: the request was handled, the client
// does not know.
type cutReply struct {
	net.Conn
	armed func() bool
}

func (c cutReply) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.armed() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func TestLostAnswerIsNoDuplicate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		var mu sync.Mutex
		cut, lost := false, false
		w.mangle = func(c net.Conn) net.Conn {
			return cutReply{Conn: c, armed: func() bool {
				mu.Lock()
				defer mu.Unlock()
				was := cut
				cut = false
				return was
			}}
		}
		p := w.producer(ProducerConfig{})
		if _, err := appendOne(p, 0, "a"); err != nil {
			t.Fatal(err)
		}
		// The next answer to a produce request is lost, whoever else reads meanwhile.
		w.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			mu.Lock()
			cut, lost = !lost, true // once
			mu.Unlock()
			return nil, nil, false
		})
		for _, v := range []string{"b", "c"} {
			if _, err := appendOne(p, 0, v); err != nil {
				t.Fatal(err)
			}
		}
		equal(t, w.log(0), []string{"a", "b", "c"})
	})
}

func TestLeaderMovesUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 1)
		p := w.producer(ProducerConfig{})
		stop := make(chan struct{})
		var want []string
		done := make(chan struct{})
		worst := time.Duration(0)
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				v := strconv.Itoa(i)
				if _, err := appendOne(p, 0, v); err != nil {
					t.Error(err)
				}
				worst = max(worst, time.Since(began))
				want = append(want, v)
				time.Sleep(time.Millisecond)
			}
		}()
		for i := range 20 {
			time.Sleep(200 * time.Millisecond)
			if err := w.fake.MoveTopicPartition(topic, 0, int32(i%3)); err != nil {
				t.Error(err)
			}
		}
		close(stop)
		<-done
		equal(t, w.log(0), want)
		if worst > time.Second {
			t.Fatalf("the longest append took %v", worst)
		}
	})
}

func TestUnreachableBrokersThenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		if _, err := appendOne(p, 0, "a"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // for the probe
		if err := p.Ready(); err != nil {
			t.Fatalf("Ready = %v", err)
		}
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.NotEnoughReplicas, Count: -1})
		outcome := make(chan error, 1)
		go func() {
			_, err := appendOne(p, 0, "b")
			outcome <- err
		}()
		time.Sleep(failingFor + 2*time.Second)
		if err := p.Ready(); !errors.Is(err, ErrFailing) {
			t.Fatalf("Ready = %v, want %v", err, ErrFailing)
		}
		h.Remove()
		healed := time.Now()
		if err := <-outcome; err != nil || time.Since(healed) > 2*time.Second {
			t.Fatalf("append after heal: %v, %v", err, time.Since(healed))
		}
		if err := p.Ready(); err != nil {
			t.Fatalf("Ready = %v", err)
		}
		equal(t, w.log(0), []string{"a", "b"})
	})
}
