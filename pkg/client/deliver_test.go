package client

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func clicksOf(t *testing.T, links ...string) []Click {
	t.Helper()
	clicks := make([]Click, len(links))
	for i, link := range links {
		id, err := NewID()
		if err != nil {
			t.Fatal(err)
		}
		clicks[i] = Click{Link: link, ID: id}
	}
	return clicks
}

func TestDeliverWaitsUntilEverythingIsSettled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// An hour of no answers, then one that tells the clicks apart, then a click that is refused.
		up := time.Now().Add(time.Hour)
		parted := false
		g := &ingest{t: t, began: time.Now(), answer: func(_ int, r request) (*http.Response, error) {
			switch {
			case time.Now().Before(up):
				return nil, errors.New("connection reset")
			case !parted:
				parted = true
				return refusal(503, "unavailable", `,"results":[{"index":0,"status":"accepted"},{"index":1,"status":"failed"},
					{"index":2,"status":"unknown"},{"index":3,"status":"failed"}]`), nil
			}
			if i := slices.Index(r.links, "bad"); i >= 0 {
				return refusal(422, "invalid_click", `,"rule":"link","index":`+string('0'+rune(i))), nil
			}
			return accepted(), nil
		}}
		p, err := NewPoster("http://ingest", time.Second, nil, g)
		if err != nil {
			t.Fatal(err)
		}
		var refused []int
		troubles := 0
		fates, err := p.Deliver(t.Context(), clicksOf(t, "a", "b", "bad", "c"), Delivery{
			OnTrouble: func(error, time.Duration) { troubles++ },
			OnRefused: func(i int, err error) {
				refused = append(refused, i)
				if e := (*RefusedError)(nil); !errors.As(err, &e) || e.Rule != "link" {
					t.Errorf("refused with %v", err)
				}
			},
		})
		if want := []Fate{FateDelivered, FateDelivered, FateRefused, FateDelivered}; err != nil || !slices.Equal(fates, want) {
			t.Fatalf("fates %v: %v", fates, err)
		}
		if !slices.Equal(refused, []int{2}) || troubles < 700 || troubles > 3600 {
			t.Fatalf("refused %v, %d troubles in an hour", refused, troubles)
		}
	})
}

func TestDeliverEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &ingest{t: t, began: time.Now(), answer: func(int, request) (*http.Response, error) { return nil, nil }}
		p, err := NewPoster("http://ingest", time.Second, nil, g)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		begun := time.Now()
		fates, err := p.Deliver(ctx, clicksOf(t, "a", "b"), Delivery{})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "2 are not settled") {
			t.Fatalf("Deliver = %v", err)
		}
		if !slices.Equal(fates, []Fate{FateUnknown, FateUnknown}) || time.Since(begun) != 90*time.Second {
			t.Fatalf("fates %v after %v", fates, time.Since(begun))
		}
	})
}

func TestDeliverTakesMoreThanARequestDoes(t *testing.T) {
	t.Parallel()
	g := &ingest{t: t, began: time.Now()}
	p, err := NewPoster("http://ingest", time.Second, nil, g)
	if err != nil {
		t.Fatal(err)
	}
	clicks := clicksOf(t, numbered(2500)...)
	fates, err := p.Deliver(t.Context(), clicks, Delivery{})
	if err != nil || slices.ContainsFunc(fates, func(f Fate) bool { return f != FateDelivered }) {
		t.Fatalf("fates %v: %v", fates, err)
	}
	n := 0
	for _, r := range g.seen() {
		for i, id := range r.ids {
			if id != clicks[n+i].ID.String() {
				t.Fatalf("click %d was sent with another id", n+i)
			}
		}
		n += len(r.ids)
	}
	if n != len(clicks) {
		t.Fatalf("%d clicks were sent", n)
	}
}
