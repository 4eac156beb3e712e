package tally

import (
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Two processes find nothing in the store at the same moment. One creates the totals, the other finds them there.
func TestTwoOwnersBegin(t *testing.T) {
	trace(t, 3, func(_ *testing.T, w *world) {
		w.click("a1", "a1")
		defer w.run()()
		defer w.run()()
		w.want(soon)
	})
}

// A consumer group takes all partitions from everybody whenever one member comes or goes. With every fold thrown away, a
// pod that crashes again and again would keep all others busy with warming up.
func TestFoldOutlivesAnAssignment(t *testing.T) {
	trace(t, 3, func(t *testing.T, w *world) {
		w.click("a1", "a2")
		o := w.owner()
		for range 10 {
			stop := o.run()
			time.Sleep(soon)
			w.click("a2", "a3")
			w.want(soon)
			stop()
		}
		if n := o.metric("warm_ups_total"); n != 1 {
			t.Errorf("it warmed up %v times", n)
		}
	})
}

// Somebody else owned the partition for a while: what they counted is read without being counted, or, where that is more
// than a window, left out.
func TestFoldGoesOnBehindAnotherOwner(t *testing.T) {
	trace(t, 4, func(t *testing.T, w *world) {
		o, other := w.owner(), w.owner()
		turn := func(o *owner, clicks ...string) {
			stop := o.run()
			time.Sleep(soon)
			w.click(clicks...)
			w.want(soon)
			stop()
		}
		turn(o, "a1", "a2")
		turn(other, "a3", "a4")
		turn(o, "a3", "a1")
		if n := o.metric("warm_ups_total"); n != 1 {
			t.Errorf("it warmed up %v times", n)
		}
		turn(other, "a5", "a6", "a7", "a8", "a9")
		turn(o, "a9", "a5")
		if n := o.metric("warm_ups_total"); n != 2 {
			t.Errorf("it warmed up %v times, the second time because of a gap of more than a window", n)
		}
	})
}

// While somebody else owned the partition, Redis was emptied, the topic created anew, and the new log counted from its
// start. A fold that remembers the old log would take a click for the duplicate of one that is no more.
func TestFoldOfALogThatIsNoMore(t *testing.T) {
	trace(t, 10, func(_ *testing.T, w *world) {
		o := w.owner()
		stop := o.run()
		w.click("a1", "a2")
		w.want(soon)
		stop()
		w.log.Truncate(0, 0)
		w.whole.Truncate(0, 0)
		w.store.set(func(m *memory) { m.now = newMemory().now })
		w.click("b1", "b2", "b3")
		stop = w.run()
		w.want(soon)
		stop()
		defer o.run()()
		w.want(soon)
		w.click("a1")
		w.want(soon)
	})
}

// What stopped a worker still stops it while nothing can be asked; and the metric says so until it is mended.
func TestStopOutlivesAnInterruption(t *testing.T) {
	trace(t, 3, func(t *testing.T, w *world) {
		w.click("a1", "a2")
		w.log.Cut(0, 1)
		o := w.owner()
		defer o.run()()
		w.wantStopped(totals.None)
		stopped := func() float64 { return o.metric("stopped", string(Missing)) }
		if stopped() != 1 {
			t.Fatal("the metric does not say that it has stopped")
		}
		w.store.set(func(m *memory) { m.fail = func(string) (before, after error) { return errLost, nil } })
		time.Sleep(time.Minute)
		if stopped() != 1 {
			t.Error("the metric says that it was mended, when nobody could know")
		}
		w.store.set(func(m *memory) {
			m.fail = nil
			m.now = state{next: 1, links: map[string]fold.Total{"a": {Count: 1}}, by: map[string]int64{}}
		})
		time.Sleep(lookAgain + soon)
		if stopped() != 0 || w.store.next() != 2 {
			t.Errorf("a restore was not noticed: stopped is %v, the totals are at %d", stopped(), w.store.next())
		}
	})
}

// A log that was too short for a moment, long ago, gives one that is too short now no less time.
func TestGraceBeginsAnewWithAnAssignment(t *testing.T) {
	trace(t, 3, func(t *testing.T, w *world) {
		o := w.owner()
		stop := o.run()
		w.click("a1", "a2", "a3")
		w.want(soon)
		stop()
		last := w.log.Records(0)[2]
		for range 2 {
			w.log.Truncate(0, 2)
			stop := o.run()
			time.Sleep(endGrace / 2)
			stop()
			w.log.Append(0, last)
			time.Sleep(time.Hour)
		}
		if n := o.metric("stopped"); n != 0 {
			t.Error("it stopped though it was never short for long")
		}
		defer o.run()()
		w.want(soon)
	})
}

// Once told to end, a worker applies what it has folded, and waits for a store that is away no longer than one call.
func TestEndsWithWhatWasFolded(t *testing.T) {
	trace(t, 100, func(t *testing.T, w *world) {
		stop := w.run()
		time.Sleep(soon)
		for range 3 { // the first is applied at once, the others wait for their turn
			w.click("a1", "a2", "b1")
			time.Sleep(applyEvery / 4)
		}
		stop()
		w.want(0)

		defer w.run()()
		time.Sleep(soon)
		stop = w.run()
		w.store.set(func(m *memory) { m.fail = func(string) (before, after error) { return errLost, nil } })
		w.click("a3")
		time.Sleep(soon)
		begun := time.Now()
		stop()
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("it took %v to end", took)
		}
		w.store.set(func(m *memory) { m.fail = nil })
		w.want(soon)
	})
}

// What is folded and not applied is behind still: totals are what people look at.
func TestLagIsOfTheTotals(t *testing.T) {
	trace(t, 100, func(t *testing.T, w *world) {
		o := w.owner()
		defer o.run()()
		time.Sleep(soon)
		w.store.set(func(m *memory) { m.fail = func(string) (before, after error) { return errLost, nil } })
		w.click("a1", "a2", "a2", "b1", "c1")
		time.Sleep(soon)
		if lag := o.metric("lag_records"); lag != 5 {
			t.Errorf("5 records are not in the totals, the metric says %v", lag)
		}
		w.store.set(func(m *memory) { m.fail = nil })
		time.Sleep(soon)
		if lag, at := o.metric("lag_records"), o.metric("position"); lag != 0 || at != 5 {
			t.Errorf("behind by %v at %v, want 0 at 5", lag, at)
		}
		for verdict, want := range map[string]float64{"counted": 4, "duplicate": 1, "poison": 0} {
			if n := o.metric("records_total", verdict); n != want {
				t.Errorf("%v records are %s, want %v", n, verdict, want)
			}
		}
	})
}

// The topic has more partitions than the deployment. Links stay where they are; what somebody writes there counts nowhere,
// and that is said.
func TestPartitionThatTheDeploymentDoesNotHave(t *testing.T) {
	trace(t, 100, func(t *testing.T, w *world) {
		w.log, w.partitions = feedtest.New(2), 2
		o := w.owner()
		defer o.run()()
		w.click("a1", "b1")
		w.want(soon)
		if n := o.metric("foreign_records"); n != 0 {
			t.Errorf("%v records of a foreign producer", n)
		}
		for range 3 {
			w.log.Append(1, w.log.Records(0)[0])
		}
		time.Sleep(foreignEvery)
		if n := o.metric("foreign_records"); n != 3 {
			t.Errorf("%v records of a foreign producer, want 3", n)
		}
		w.want(soon)
	})
}
