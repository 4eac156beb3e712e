package api

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// instantLog acknowledges everything at once.
type instantLog struct{}

func (instantLog) Append([]kafkalog.Message) error { return nil }
func (instantLog) Ready() error                    { return nil }

// sink is an http.ResponseWriter that costs nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

// body is a request's body that can be sent again.
type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

func handle(tb testing.TB, contentType, text string) (send func(), clicks int) {
	tb.Helper()
	return handleBy(tb, &testKeys{anybody: keyring.Anybody()}, nil, contentType, text)
}

// handleBy is handle with authentication: header makes a header for the body.
func handleBy(tb testing.TB, keys Keys, header func(body []byte) (name, value string), contentType, text string) (send func(), clicks int) {
	tb.Helper()
	h, err := New(defaultLimits(), keys, curlBots{}, prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	h.Open(instantLog{}, testPartitions)
	w := &sink{header: http.Header{}}
	r := httptest.NewRequest(http.MethodPost, "/v1/clicks", http.NoBody)
	r.Header.Set("Content-Type", contentType)
	if header != nil {
		r.Header.Set(header([]byte(text)))
	}
	b := body{bytes.NewReader([]byte(text))}
	r.Body, r.ContentLength = b, b.Size()
	return func() {
		_, _ = b.Seek(0, io.SeekStart)
		h.postClicks(w, r)
		if w.status != http.StatusAccepted {
			tb.Fatalf("answer %d", w.status)
		}
	}, strings.Count(text, "{")
}

const benchClick = `{"link":"x7Kp2","id":"0198c0de-1234-7abc-8def-000102030405","referrer":"https://www.example.com/","country":"DE"}`

// A click allocates nothing: a request's memory is used again.
func TestHandlerAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	for _, tc := range []struct {
		name, contentType, text string
		most                    float64
	}{
		{"single", typeJSON, benchClick, 0},
		{"without id", typeJSON, `{"link":"x7Kp2"}`, 0},
		{"lines", typeLines, strings.Repeat(benchClick+"\n", 100), 2}, // the length of a large answer, as a header
	} {
		send, clicks := handle(t, tc.contentType, tc.text)
		if n := testing.AllocsPerRun(200, send); n > tc.most {
			t.Errorf("%s: %v allocations for %d clicks", tc.name, n, clicks)
		}
	}
}

// BenchmarkHandler is the API alone: no socket, no HTTP server, and a log that acknowledges at once.
func BenchmarkHandler(b *testing.B) {
	for _, bc := range []struct{ name, contentType, text string }{
		{"single", typeJSON, benchClick},
		{"without-id", typeJSON, `{"link":"x7Kp2"}`},
		{"lines-100", typeLines, strings.Repeat(benchClick+"\n", 100)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			send, clicks := handle(b, bc.contentType, bc.text)
			b.ReportAllocs()
			for b.Loop() {
				send()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*clicks), "ns/click")
		})
	}
}
