package client

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"
)

// BenchmarkSend is what a redirect pays.
func BenchmarkSend(b *testing.B) {
	s, err := NewSender("http://ingest", SenderOptions{Queue: 1 << 30, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	})})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		_ = s.Close(ctx) // what waits is not to be delivered
	}()
	c := Click{Link: "x7Kp2", Referrer: "https://news.example/story", UserAgent: "Mozilla/5.0 (X11; Linux x86_64)"}
	b.ReportAllocs()
	for b.Loop() {
		s.Send(c)
	}
}

// BenchmarkPost is what a click costs in the background, without the network, by how many a request carries.
func BenchmarkPost(b *testing.B) {
	p, err := NewPoster("http://ingest", time.Second, nil, roundTrip(func(*http.Request) (*http.Response, error) { return accepted(), nil }))
	if err != nil {
		b.Fatal(err)
	}
	id, err := NewID()
	if err != nil {
		b.Fatal(err)
	}
	c := Click{Link: "x7Kp2", ID: id, At: time.Now(), Referrer: "https://news.example/story", UserAgent: "Mozilla/5.0 (X11; Linux x86_64)"}
	for _, n := range []int{1, 100, 500} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			clicks := slices.Repeat([]Click{c}, n)
			b.ReportAllocs()
			for b.Loop() {
				if out := p.Post(b.Context(), clicks); out.Err != nil {
					b.Fatal(out.Err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/click")
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
