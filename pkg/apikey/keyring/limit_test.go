package keyring

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever is asked for when, the bucket answers as one that is filled drop by drop does.
func TestBucketIsABucket(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		burst := rapid.IntRange(1, 50).Draw(t, "burst")
		each := time.Duration(rapid.IntRange(1, 1e9).Draw(t, "each"))
		l := limit{each: each, burst: burst}
		began := time.Now()
		b := bucket{began: began}
		// The reference: a level in nanoseconds' worth of clicks, which sinks with time.
		var level time.Duration
		now := began
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			step := time.Duration(rapid.Int64Range(0, int64(2*each)*int64(burst)).Draw(t, "step"))
			now = now.Add(step)
			level = max(0, level-step)
			n := rapid.IntRange(1, burst+1).Draw(t, "n")
			want := max(0, level+time.Duration(n)*each-time.Duration(burst)*each)
			if got := b.wait(l, n, now); got != want {
				t.Fatalf("%d of %+v: wait %v, want %v", n, l, got, want)
			}
			if got := b.take(l, n, now); got != want {
				t.Fatalf("%d of %+v: take %v, want %v", n, l, got, want)
			}
			if want == 0 {
				level += time.Duration(n) * each
			} else if n <= burst && b.wait(l, n, now.Add(want)) != 0 {
				t.Fatalf("%d of %+v: after %v there is no room", n, l, want)
			}
		}
	})
}

// Requests at once do not take more than there is.
func TestBucketConcurrently(t *testing.T) {
	t.Parallel()
	b, l, now := bucket{began: time.Now()}, limit{each: time.Hour, burst: 1000}, time.Now()
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				if b.take(l, 1, now) == 0 {
					taken.Add(1)
				}
			}
		})
	}
	all.Wait()
	// What is forgotten between the beginning and now is far less than one.
	if taken.Load() != 1000 {
		t.Errorf("%d were taken, want 1000", taken.Load())
	}
}

// No limit that a file may have overflows.
func TestBucketAtItsLimits(t *testing.T) {
	t.Parallel()
	for _, rate := range []float64{MinRate, 1, MaxRate} {
		var m mistakes
		l := (&Entry{ClicksPerSecond: rate, Burst: MaxRate}).limit(&m)
		if m.errs != nil {
			t.Fatal(m.errs)
		}
		b := bucket{began: time.Now()}
		now := b.began.Add(100 * 365 * 24 * time.Hour)
		if l.each <= 0 || b.wait(l, 1<<62, now) <= 0 || b.take(l, MaxRate, now) != 0 || b.wait(l, 1, now) != l.each {
			t.Errorf("%v a second: %+v", rate, l)
		}
	}
}
