package ws

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// The handshake's table: who gets in, and what the others are told.
func TestHandshake(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		header http.Header
		change func(*Config)
		status int
		body   string
	}{
		{"no origin: no browser", nil, nil, 101, ""},
		{"same origin", http.Header{"Origin": {"http://gateway.test"}}, nil, 101, ""},
		{"other origin", http.Header{"Origin": {"https://evil.test"}}, nil, 403, "evil.test"},
		{"null origin", http.Header{"Origin": {"null"}}, nil, 403, ""},
		{
			"listed origin",
			http.Header{"Origin": {"https://dash.example.com"}},
			func(c *Config) { c.Origins = []string{"https://dash.example.com"} }, 101, "",
		},
		{
			"listed origin with another scheme",
			http.Header{"Origin": {"http://dash.example.com"}},
			func(c *Config) { c.Origins = []string{"https://dash.example.com"} }, 403, "",
		},
		{
			"suffix of a listed origin",
			http.Header{"Origin": {"https://evildash.example.com"}},
			func(c *Config) { c.Origins = []string{"https://dash.example.com"} }, 403, "",
		},
		{
			"loopback origin with any port",
			http.Header{"Origin": {"http://localhost:5173"}},
			func(c *Config) { c.Origins = []string{"http://localhost:*"} }, 101, "",
		},
		{"listed host", nil, func(c *Config) { c.Hosts = []string{"gateway.test"} }, 101, ""},
		{
			"rebound name: same origin, but no name of ours",
			http.Header{"Host": {"evil.test:8081"}, "Origin": {"http://evil.test:8081"}},
			func(c *Config) { c.Hosts = []string{"localhost", "127.0.0.1"} }, 403, `"code":"host"`,
		},
		{
			"listed host with a port, and another case",
			http.Header{"Host": {"LocalHost:8081"}},
			func(c *Config) { c.Hosts = []string{"localhost"} }, 101, "",
		},
		{"full", nil, func(c *Config) { c.MaxConnections = 0 }, 503, `"code":"full"`},
		{"draining", nil, func(c *Config) {
			c.Accepting = func() error { return fmt.Errorf("no: %w", ErrUnavailable) }
		}, 503, `"code":"unavailable"`},
		{"draining meanwhile", nil, func(c *Config) {
			c.Join = func(*Conn) (Session, error) { return nil, ErrUnavailable }
		}, 101, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, overTCP, tc.change)
			nc, err := s.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			p := &peer{t: t, Conn: nc}
			resp := p.handshake(tc.header)
			defer resp.Body.Close()
			body := make([]byte, 1024)
			n := 0
			if tc.status != http.StatusSwitchingProtocols {
				n, _ = resp.Body.Read(body)
			}
			if resp.StatusCode != tc.status || !strings.Contains(string(body[:n]), tc.body) {
				t.Fatalf("%s %s, want %d with %q", resp.Status, body[:n], tc.status, tc.body)
			}
			if retry := resp.Header.Get("Retry-After"); (tc.status == 503) != (retry != "") {
				t.Fatalf("Retry-After %q with %d", retry, tc.status)
			}
		})
	}
}

// A place that a connection had is free again after it, however it ended.
func TestPlacesAreGivenBack(t *testing.T) {
	t.Parallel()
	s := newServer(t, overTCP, func(c *Config) { c.MaxConnections = 1 })
	for range 3 {
		p, ses := s.connect()
		p2 := func() int {
			nc, err := s.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			resp := (&peer{t: t, Conn: nc}).handshake(nil)
			defer resp.Body.Close()
			return resp.StatusCode
		}
		if got := p2(); got != http.StatusServiceUnavailable {
			t.Fatalf("second connection: %d, want 503", got)
		}
		_ = p.Close()
		ses.ended(t)
		for s.handler.Open() > 0 { // the place is given back right behind Gone
			time.Sleep(time.Millisecond)
		}
	}
}

// The message rate in virtual time: 20 at once, then the error once, then one per 100 ms, and 3 s of it end it.
func TestMessageRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, overPipe, nil)
		p, ses := s.connect()
		go func() {
			for {
				if _, err := p.Write(text(`{"type":"unsubscribe","links":["a"]}`)); err != nil {
					return
				}
			}
		}()
		go func() {
			for {
				if _, err := p.readFrame(); err != nil {
					_ = p.Close()
					return
				}
			}
		}()
		start := time.Now()
		done, failed := 0, 0
		var ended string
		for ended == "" {
			select {
			case a := <-ses.asked:
				switch {
				case strings.HasPrefix(a, "fail rate_limited"):
					failed++
					if done != 20 || time.Since(start) != 0 {
						t.Fatalf("limited after %d messages and %v", done, time.Since(start))
					}
				default:
					done++
				}
			case ended = <-ses.gone:
			}
		}
		if ended != "4429 " || failed != 1 || done != 20+30 {
			t.Fatalf("ended %q, %d errors, %d messages done; want 4429, 1 error, 50 messages", ended, failed, done)
		}
	})
}

// A client at its rate is never limited.
func TestMessageRateIsForFloods(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, overPipe, nil)
		p, ses := s.connect()
		for range 200 {
			p.send(text(`{"type":"unsubscribe","links":["a"]}`))
			if a := <-ses.asked; a != "unsubscribe [a]" {
				t.Fatalf("asked %s", a)
			}
			time.Sleep(100 * time.Millisecond)
		}
		for range 15 { // pings at their rate, and a burst
			p.send(masked(0x89, nil))
			if f, err := p.readFrame(); err != nil || f.first != 0x8a {
				t.Fatalf("%x %v, want a pong", f.first, err)
			}
			time.Sleep(time.Second)
		}
		_ = p.Close()
		<-ses.gone
	})
}

// FuzzFrames feeds any bytes to a connection: it must end or go on, never hang, and what it sends are whole frames.
func FuzzFrames(f *testing.F) {
	for _, seed := range [][]byte{text("{}"), masked(0x89, []byte("x")), {0x81, 0x02, '{', '}'}, masked(0x88, []byte{3, 0xe8}), {0xff}} {
		f.Add(seed)
	}
	log := zap.NewNop()
	f.Fuzz(func(t *testing.T, b []byte) {
		s := newServer(t, overPipe, func(c *Config) { c.Log, c.Metrics = log, NewMetrics(prometheus.NewRegistry()) })
		p, ses := s.connect()
		ses.asked = make(chan string, 1<<10)
		go func() {
			p.send(b)
			_ = p.Close()
		}()
		for {
			if _, err := p.readFrame(); err != nil {
				break
			}
		}
		ses.ended(t)
	})
}
