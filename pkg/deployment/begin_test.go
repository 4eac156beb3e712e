package deployment_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

func (w *world) begin(current, next deployment.Record) (deployment.Record, error) {
	return deployment.Begin(w.t.Context(), w.cluster, current, next)
}

func TestBegin(t *testing.T) {
	inWorld(t, func(w *world) {
		if _, err := deployment.Read(w.t.Context(), w.cluster); !errors.Is(err, deployment.ErrMissing) {
			w.t.Fatalf("Read without a record: %v", err)
		}
		first := w.init(deployment.Default())
		if got, err := deployment.Read(w.t.Context(), w.cluster); err != nil || got != first {
			w.t.Fatalf("Read = %+v, %v; want %+v", got, err, first)
		}
		followed := make(chan deployment.Record, 1)
		go func() {
			r, err := deployment.Follow(w.t.Context(), w.cluster, first)
			if err != nil {
				w.t.Error(err)
			}
			followed <- r
		}()
		time.Sleep(time.Minute)
		next := first
		next.Window, next.Partitions, next.Epoch = 77, 3, 9 // the last two are not for it to choose
		second, err := w.begin(first, next)
		if err != nil || second.Epoch != 2 || second.Window != 77 || second.Partitions != 12 || !second.CreatedAt.After(first.CreatedAt) {
			w.t.Fatalf("Begin = %+v, %v", second, err)
		}
		if got := <-followed; got != second {
			w.t.Fatalf("followers were told %+v", got)
		}
		if got, err := w.wait(); err != nil || got != second {
			w.t.Fatalf("Wait = %+v, %v", got, err)
		}
	})
}

func TestBeginRefuses(t *testing.T) {
	inWorld(t, func(w *world) {
		if _, err := w.begin(deployment.Default(), deployment.Default()); !errors.Is(err, deployment.ErrMissing) {
			w.t.Errorf("without a record: %v", err)
		}
		first := w.init(deployment.Default())
		wrong := first
		wrong.Window = 0
		if _, err := w.begin(first, wrong); err == nil || errors.Is(err, deployment.ErrOvertaken) {
			w.t.Errorf("a record that cannot be: %v", err)
		}
		second, err := w.begin(first, first)
		if err != nil {
			w.t.Fatal(err)
		}
		if _, err := w.begin(first, first); !errors.Is(err, deployment.ErrOvertaken) {
			w.t.Errorf("after an epoch that is over: %v", err)
		}
		if got, err := w.wait(); err != nil || got != second || w.records() != 2 {
			w.t.Errorf("Wait = %+v, %v, %d records", got, err, w.records())
		}
	})
}

// Of several that begin an epoch at once one does, the others are told, and what stands and what compaction leaves is
// that one's record.
func TestBeginAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.init(deployment.Default())
		const callers = 5
		raceToControl(w.fake, callers)
		var records [callers]deployment.Record
		var errs [callers]error
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				next := first
				next.Window = int64(100 + i)
				records[i], errs[i] = w.begin(first, next)
			})
		}
		wg.Wait()
		stands, err := w.wait()
		if err != nil || stands.Epoch != 2 {
			w.t.Fatalf("Wait = %+v, %v", stands, err)
		}
		winners := 0
		for i, err := range errs {
			switch {
			case err == nil && records[i] == stands:
				winners++
			case !errors.Is(err, deployment.ErrOvertaken):
				w.t.Errorf("caller %d: %+v, %v; %+v stands", i, records[i], err, stands)
			}
		}
		if winners != 1 || w.records() != 1+callers+(callers-1) { // losers put right what compaction leaves
			w.t.Errorf("%d began it, %d records", winners, w.records())
		}
	})
}

// Nobody told whether the record was appended: the topic tells.
func TestBeginWithAnUnknownOutcome(t *testing.T) {
	inWorld(t, func(w *world) {
		first := w.init(deployment.Default())
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: deployment.ControlTopic, Err: kerr.RequestTimedOut, Count: -1})
		second, err := w.begin(first, first)
		h.Remove()
		stands, waitErr := w.wait()
		if waitErr != nil {
			w.t.Fatal(waitErr)
		}
		switch {
		case err == nil && stands == second && second.Epoch == 2:
		case errors.Is(err, kafkalog.ErrUnknownOutcome) && stands == first:
		default:
			w.t.Fatalf("Begin = %+v, %v; %+v stands", second, err, stands)
		}
	})
}
