package httpserver

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What the server refuses before any handler is counted, by reason; what a handler answers, and who says nothing, is not.
func TestRequestsThatAreNotRead(t *testing.T) {
	t.Parallel()
	const get = "GET / HTTP/1.1\r\nHost: here\r\n"
	for name, tc := range map[string]struct {
		before    bool // a good request comes first
		text      string
		wait      time.Duration
		answer    string
		slow, bad float64
	}{
		"good":                      {text: get + "\r\n", answer: "200"},
		"nothing":                   {wait: time.Minute},
		"headers that trickle in":   {text: get, wait: readHeaderTimeout, slow: 1},
		"headers that are too long": {text: get + "X: " + strings.Repeat("x", maxHeaderBytes+8<<10) + "\r\n\r\n", answer: "431", bad: 1},
		"no HTTP":                   {text: "hello\r\n\r\n", answer: "400", bad: 1},
		"no Host":                   {text: "GET / HTTP/1.1\r\n\r\n", answer: "400", bad: 1},
		"gone, behind a good one":   {before: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBounds(t, Bounds{}, func(b *bounded) {
				c := b.call("192.0.2.1:1")
				if tc.before && !c.ask("/") {
					b.t.Fatal("the first request was not answered")
				}
				go func() { _, _ = io.WriteString(c, tc.text) }() // the server may stop reading
				if tc.answer != "" {
					resp, err := http.ReadResponse(c.r, nil)
					if err != nil || strconv.Itoa(resp.StatusCode) != tc.answer {
						b.t.Fatalf("%+v, %v, want %s", resp, err, tc.answer)
					}
					_ = resp.Body.Close()
				}
				time.Sleep(tc.wait)
				_ = c.Close()
				time.Sleep(time.Second) // net/http lingers behind an error
				synctest.Wait()
				if slow, bad := b.count("requests_unread_total", "slow"), b.count("requests_unread_total", "bad"); slow != tc.slow || bad != tc.bad {
					b.t.Errorf("%v were slow and %v bad, want %v and %v", slow, bad, tc.slow, tc.bad)
				}
			})
		})
	}
}
