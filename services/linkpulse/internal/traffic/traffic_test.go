package traffic

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func found(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusFound, Body: http.NoBody}, nil
}

func run(t *testing.T, perSecond float64, seconds int, answer roundTrip) *Stats {
	t.Helper()
	g, err := New(Config{
		BaseURL: "http://sample", Slugs: []string{"a", "b", "c"}, PerSecond: perSecond, Seed: 1,
		Client: &http.Client{Transport: answer},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second+tick/2)
	defer cancel()
	g.Run(ctx)
	return g.Stats()
}

func TestRateIsKept(t *testing.T) {
	t.Parallel()
	for _, perSecond := range []float64{0.5, 7, 1000} {
		synctest.Test(t, func(t *testing.T) {
			seen := map[string]int{}
			done := make(chan string, 20_000)
			s := run(t, perSecond, 10, func(r *http.Request) (*http.Response, error) {
				done <- r.URL.Path
				return found(r)
			})
			close(done)
			for p := range done {
				seen[p]++
			}
			if got := s.Visited.Load(); got != int64(perSecond*10) || s.Failed.Load()+s.Skipped.Load() != 0 {
				t.Fatalf("at %v/s for 10 s: %d visited, %d failed, %d skipped", perSecond, got, s.Failed.Load(), s.Skipped.Load())
			}
			if perSecond == 1000 && (seen["/a"] <= seen["/b"] || seen["/b"] <= seen["/c"]) {
				t.Fatalf("the first slug must be the most popular: %v", seen)
			}
		})
	}
}

func TestHangingShortenerSkipsVisits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := run(t, 100, 10, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		if s.Failed.Load() != maxInFlight || s.Skipped.Load() != 1000-maxInFlight {
			t.Fatalf("%d failed, %d skipped, want %d and the rest of 1000", s.Failed.Load(), s.Skipped.Load(), maxInFlight)
		}
	})
}

func TestErrorsAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		if s := run(t, 10, 1, func(*http.Request) (*http.Response, error) { return nil, errors.New("refused") }); s.Failed.Load() != 10 {
			t.Fatalf("%d failed, want 10", s.Failed.Load())
		}
		if s := run(t, 10, 1, func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody}, nil
		}); s.Failed.Load() != 10 {
			t.Fatalf("%d failed, want 10", s.Failed.Load())
		}
	})
	if _, err := New(Config{Slugs: []string{"a"}}); err == nil {
		t.Fatal("a rate of 0 was taken")
	}
}
