package kafkalog

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestReadyWaitsForTheTopic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		p := w.producer(ProducerConfig{Partitions: 3})
		if err := p.Ready(); !errors.Is(err, ErrNoLeader) {
			t.Fatalf("Ready before the first probe = %v", err)
		}
		time.Sleep(5 * time.Second)
		if err := p.Ready(); !errors.Is(err, ErrNoLeader) || !strings.Contains(err.Error(), "clicks/2") {
			t.Fatalf("Ready without the third partition = %v", err)
		}
	})
}

// Brokers that die while nobody produces: the library's memory says that all is well, the producer does not.
func TestQuietProducerNotices(t *testing.T) {
	t.Parallel()
	for name, partition := range map[string]func(w *world) (heal func()){
		"refused": func(w *world) func() { return w.refuse() },
		"silent":  func(w *world) func() { return w.silence(func([]byte) bool { return true }) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 3, 3)
				p := w.producer(ProducerConfig{Partitions: 3})
				time.Sleep(time.Second)
				heal := partition(w)
				time.Sleep(failingFor - time.Second)
				if err := p.Ready(); err != nil {
					t.Fatalf("Ready soon after the brokers went = %v: that may be a leader that moves", err)
				}
				time.Sleep(failingFor + 5*time.Second)
				if err := p.Ready(); !errors.Is(err, ErrNoLeader) {
					t.Fatalf("Ready without brokers = %v", err)
				}
				heal()
				time.Sleep(10 * time.Second)
				if err := p.Ready(); err != nil {
					t.Fatalf("Ready with brokers = %v", err)
				}
			})
		})
	}
}

// A partition that failed and then got no more traffic is given another chance; no pod stays out for a click that failed
// an hour ago.
func TestFailedPartitionThatGotQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{Deadline: failingFor + 3*time.Second})
		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.NotEnoughReplicas, Count: -1})
		if _, err := appendOne(p, 0, "a"); !errors.Is(err, ErrNotAppended) {
			t.Fatalf("append = %v", err)
		}
		if err := p.Ready(); !errors.Is(err, ErrFailing) {
			t.Fatalf("Ready = %v, want %v", err, ErrFailing)
		}
		time.Sleep(quietFor + 2*probeEvery)
		if err := p.Ready(); err != nil {
			t.Fatalf("Ready after a while = %v", err)
		}
	})
}

func TestReadyAfterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t, 1, 1).producer(ProducerConfig{})
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := p.Ready(); !errors.Is(err, ErrClosed) {
			t.Fatalf("Ready = %v, want %v", err, ErrClosed)
		}
	})
}

// stamp makes the broker stamp appends as a topic with LogAppendTime does, with a clock that is off.
func (w *world) stamp(off time.Duration, answerAfter time.Duration) {
	w.fake.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		at := time.Now().Add(off).UnixMilli()
		w.fake.SleepControl(func() { time.Sleep(answerAfter) })
		res := req.ResponseKind().(*kmsg.ProduceResponse)
		part := kmsg.NewProduceResponseTopicPartition()
		part.LogAppendTime = at
		res.Topics = []kmsg.ProduceResponseTopic{{Topic: topic, Partitions: []kmsg.ProduceResponseTopicPartition{part}}}
		return res, nil, true
	})
}

func TestClockSkew(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		off, answerAfter time.Duration
		want             time.Duration // that our clock is ahead
		ready            bool
	}{
		"agree":                          {0, 0, 0, true},
		"the answer takes long":          {0, 2 * time.Second, 0, true},
		"broker ahead, within the trip":  {time.Second, 2 * time.Second, 0, true},
		"broker ahead":                   {10 * time.Second, 0, -10 * time.Second, true},
		"broker ahead by a minute":       {time.Minute, 0, -time.Minute, true},
		"broker ahead by more":           {time.Minute + time.Millisecond, 0, -time.Minute - time.Millisecond, false},
		"broker behind by more":          {-time.Hour, 0, time.Hour, false},
		"broker behind, a long way back": {-10 * time.Second, 2 * time.Second, 10 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 1)
				p := w.producer(ProducerConfig{})
				if _, err := appendOne(p, 0, "not stamped"); err != nil {
					t.Fatal(err)
				}
				if skew, ok := p.Skew(); ok {
					t.Fatalf("a skew of %v without a stamp", skew)
				}
				w.stamp(tc.off, tc.answerAfter)
				if _, err := appendOne(p, 0, "stamped"); err != nil {
					t.Fatal(err)
				}
				skew, ok := p.Skew()
				if !ok || skew != tc.want {
					t.Fatalf("skew %v, %v; want %v", skew, ok, tc.want)
				}
				time.Sleep(probeEvery)
				if err := p.Ready(); errors.Is(err, ErrSkew) == tc.ready {
					t.Fatalf("Ready = %v", err)
				}
				time.Sleep(skewFor) // nobody appends meanwhile, so nothing can show that the clock was set
				if err := p.Ready(); err != nil {
					t.Fatalf("Ready a while later = %v", err)
				}
			})
		})
	}
}
