package kafkalog

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A broker that has another idea of the producer than the producer itself: a fresh session mends it, without a word to
// the caller where nothing can be in doubt.
func TestDesyncTakesAFreshSession(t *testing.T) {
	t.Parallel()
	for _, fault := range []*kerr.Error{kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.InvalidProducerEpoch} {
		t.Run(fault.Message, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 1)
				p := w.producer(ProducerConfig{})
				if _, err := appendOne(p, 0, "a"); err != nil {
					t.Fatal(err)
				}
				before := p.lanes[0].session
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: fault, Count: 1})
				for _, v := range []string{"b", "c"} {
					if _, err := appendOne(p, 0, v); err != nil {
						t.Fatal(err)
					}
				}
				if l := p.lanes[0]; l.session == before || l.sequence != 2 {
					t.Fatalf("session %v after %v, sequence %d", l.session, before, l.sequence)
				}
				equal(t, w.log(0), []string{"a", "b", "c"})
			})
		})
	}
}

// Where an attempt may have been appended before, the batch must not be sent under another session: that would be a
// second record for certain.
func TestDesyncAfterDoubtIsUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		if _, err := appendOne(p, 0, "a"); err != nil {
			t.Fatal(err)
		}
		before := p.lanes[0].session
		w.fake.Fault(
			kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.RequestTimedOut, Count: 1},
			kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.OutOfOrderSequenceNumber, Count: 1},
		)
		if _, err := appendOne(p, 0, "b"); !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("append = %v, want %v", err, ErrUnknownOutcome)
		}
		if _, err := appendOne(p, 0, "c"); err != nil {
			t.Fatal(err)
		}
		if p.lanes[0].session == before {
			t.Fatal("the session went on")
		}
		equal(t, w.log(0), []string{"a", "b", "c"})
	})
}

// DUPLICATE_SEQUENCE_NUMBER: the broker has the batch and has forgotten where.
func TestDuplicateSequenceIsAcknowledged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 1)
		p := w.producer(ProducerConfig{})
		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: topic, Err: kerr.DuplicateSequenceNumber, Count: 1})
		offset, err := appendOne(p, 0, "a")
		if err != nil || offset != -1 {
			t.Fatalf("append = %d, %v; want -1", offset, err)
		}
	})
}

func TestNoProducerID(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fault *kerr.Error
		count int
		want  error
		most  time.Duration
	}{
		"the coordinator is still loading": {kerr.CoordinatorLoadInProgress, 5, nil, 5 * time.Second},
		"it never comes":                   {kerr.CoordinatorNotAvailable, -1, ErrNotAppended, 6 * time.Second},
		"not allowed":                      {kerr.ClusterAuthorizationFailed, -1, ErrNotAppended, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 1, 1)
				w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: tc.fault, Count: tc.count})
				p := w.producer(ProducerConfig{Deadline: 5 * time.Second})
				began := time.Now()
				if _, err := appendOne(p, 0, "a"); !errors.Is(err, tc.want) || time.Since(began) > tc.most {
					t.Fatalf("append = %v after %v, want %v", err, time.Since(began), tc.want)
				}
			})
		})
	}
}
