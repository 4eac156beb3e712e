package tally

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestCrashAtEveryCall kills an owner at each of its calls of the store in turn, before the store heard of it and after it
// did what it was asked, and lets another process go on: at no time may the totals be anything but the fold of the log up
// to their offset, and in the end they must be those of all of it. Nothing that an owner does between two calls is seen by
// anybody, so these are all the places at which a crash can matter.
func TestCrashAtEveryCall(t *testing.T) {
	t.Parallel()
	calls := 0
	synctest.Test(t, func(t *testing.T) { calls = crashAt(t, -1, false) })
	if calls < 10 {
		t.Fatalf("a life without a crash made %d calls: there is little to crash at", calls)
	}
	for call := range calls {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d, done %t", call, done), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { crashAt(t, call, done) })
			})
		}
	}
}

// crashAt lives a life in which the owner crashes at a call, and returns how many calls there were up to its end.
func crashAt(t *testing.T, call int, done bool) (calls int) {
	t.Helper()
	w := newWorld(t, 3)
	crashed := make(chan struct{})
	w.store.set(func(m *memory) {
		n := 0
		m.fail = func(string) (before, after error) {
			n++
			switch {
			case call < 0 || n-1 < call:
				return nil, nil
			case n-1 == call && done:
				close(crashed)
				return nil, errLost
			case n-1 == call:
				close(crashed)
			}
			return errLost, nil // a process that is no more
		}
	})
	w.click("a1", "b1", "a1")
	stop := w.run()
	for _, clicks := range [][]string{{"a2", "b1"}, {"a1", "c1"}, {"a2", "a3", "b2"}, {"c1", "c2"}} {
		time.Sleep(soon)
		w.exact()
		w.click(clicks...)
	}
	time.Sleep(soon)
	w.exact()
	w.store.set(func(m *memory) { calls = m.calls })
	if call >= 0 {
		<-crashed
	}
	stop()
	w.store.set(func(m *memory) { m.fail = nil })
	defer w.run()()
	w.want(soon)
	return calls
}
