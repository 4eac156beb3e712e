package ws

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/wire"
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
		{"other origin", http.Header{"Origin": {"https://evil.test"}}, nil, 403, `"code":"origin"`},
		{"null origin", http.Header{"Origin": {"null"}}, nil, 403, `"code":"origin"`},
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
		{"null origin and no host", http.Header{"Origin": {"null"}, "Host": {"-"}}, nil, 403, `"code":"origin"`},
		{"origin without a host", http.Header{"Origin": {"https://"}}, nil, 403, `"code":"origin"`},
		{"an opaque origin", http.Header{"Origin": {"gateway.test"}}, nil, 403, `"code":"origin"`},
		{"two origins", http.Header{"Origin": {"http://gateway.test", "https://evil.test"}}, nil, 403, `"code":"origin"`},
		{"a user that looks like our host", http.Header{"Origin": {"http://gateway.test@evil.test"}}, nil, 403, `"code":"origin"`},
		{"our own host with another port", http.Header{"Origin": {"http://gateway.test:8443"}}, nil, 403, ""},
		{
			"listed origin with another port",
			http.Header{"Origin": {"https://dash.example.com:8443"}},
			func(c *Config) { c.Origins = []string{"https://dash.example.com"} }, 403, "",
		},
		{
			"listed origin in another case",
			http.Header{"Origin": {"HTTPS://Dash.Example.com"}},
			func(c *Config) { c.Origins = []string{"https://dash.example.com"} }, 101, "",
		},
		{
			"prefix of a listed origin",
			http.Header{"Origin": {"https://dash.example.com.evil.test"}},
			func(c *Config) { c.Origins = []string{"https://dash.example.com"} }, 403, "",
		},
		{
			"name below a pattern",
			http.Header{"Origin": {"https://a.example.com"}},
			func(c *Config) { c.Origins = []string{"https://*.example.com"} }, 101, "",
		},
		{
			"a pattern's own name",
			http.Header{"Origin": {"https://example.com"}},
			func(c *Config) { c.Origins = []string{"https://*.example.com"} }, 403, "",
		},
		{
			"a name that ends like a pattern",
			http.Header{"Origin": {"https://evil-example.com"}},
			func(c *Config) { c.Origins = []string{"https://*.example.com"} }, 403, "",
		},
		{
			"a pattern with another scheme",
			http.Header{"Origin": {"http://a.example.com"}},
			func(c *Config) { c.Origins = []string{"https://*.example.com"} }, 403, "",
		},
		{
			"a file or an extension",
			http.Header{"Origin": {"chrome-extension://abcdefgh"}},
			func(c *Config) { c.Origins = []string{"https://*.example.com"} }, 403, "",
		},
		{
			"rebound name that ends like ours",
			http.Header{"Host": {"localhost.evil.test"}},
			func(c *Config) { c.Hosts = []string{"localhost"} }, 403, `"code":"host"`,
		},
		{
			"rebound name that begins like ours",
			http.Header{"Host": {"evil.test:localhost"}},
			func(c *Config) { c.Hosts = []string{"localhost"} }, 403, `"code":"host"`,
		},
		{
			"our address with a dot behind it",
			http.Header{"Host": {"localhost."}},
			func(c *Config) { c.Hosts = []string{"localhost"} }, 403, `"code":"host"`,
		},
		{
			"IPv6 address with a port",
			http.Header{"Host": {"[::1]:8081"}},
			func(c *Config) { c.Hosts = []string{"::1"} }, 101, "",
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
		{"full", nil, func(c *Config) { c.Limits.Connections = 0 }, 503, `"code":"full"`},
		{"draining", nil, func(c *Config) {
			c.Accepting = func() error { return fmt.Errorf("no: %w", ErrUnavailable) }
		}, 503, `"code":"unavailable"`},
		{"draining meanwhile", nil, func(c *Config) {
			c.Join = func(*Conn, *auth.Identity) (Session, error) { return nil, ErrUnavailable }
		}, 101, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, overTCP, tc.change)
			_, resp, body := s.try("/ws", tc.header)
			if resp.StatusCode != tc.status || !strings.Contains(body, tc.body) {
				t.Fatalf("%s %s, want %d with %q", resp.Status, body, tc.status, tc.body)
			}
			if retry := resp.Header.Get("Retry-After"); (tc.status == 503) != (retry != "") {
				t.Fatalf("Retry-After %q with %d", retry, tc.status)
			}
		})
	}
}

// What is no handshake of RFC 6455 is told so, in words that say nothing of what was sent, and with what the client needs
// to do better. Extensions and subprotocols are not negotiated, whatever is offered.
func TestFormOfTheHandshake(t *testing.T) {
	t.Parallel()
	const (
		connection = "Connection: Upgrade"
		upgrade    = "Upgrade: websocket"
		version    = "Sec-WebSocket-Version: 13"
		key        = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
		required   = `"code":"upgrade_required"`
		wrong      = `"code":"websocket_version"`
		badKey     = `"code":"websocket_key"`
	)
	for _, tc := range []struct {
		name, line string // of the request; empty: that of a handshake
		header     []string
		status     int
		code       string
	}{
		{"good", "", []string{connection, upgrade, version, key}, 101, ""},
		{"lists, and another case", "", []string{"connection: keep-alive, upgrade", "UPGRADE: h2c, WebSocket", version, key}, 101, ""},
		{
			"offers", "", []string{
				connection, upgrade, version, key, "Sec-WebSocket-Protocol: graphql-ws, evil",
				"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "Sec-WebSocket-Extensions: x-webkit-deflate-frame",
			}, 101, "",
		},
		{"a plain request", "", nil, 426, required},
		{"another upgrade", "", []string{connection, "Upgrade: evil"}, 426, required},
		{"no Connection", "", []string{upgrade, version, key}, 426, required},
		{"a Connection that begins so", "", []string{"Connection: Upgrade-evil", upgrade, version, key}, 426, required},
		{"HTTP/1.0", "GET /ws HTTP/1.0", []string{connection, upgrade, version, key}, 426, required},
		{"version 8", "", []string{connection, upgrade, "Sec-WebSocket-Version: 8", key}, 426, wrong},
		{"no version", "", []string{connection, upgrade, key}, 426, wrong},
		{"a version that is none", "", []string{connection, upgrade, "Sec-WebSocket-Version: evil", key}, 426, wrong},
		{"no key", "", []string{connection, upgrade, version}, 400, badKey},
		{"two keys", "", []string{connection, upgrade, version, key, key}, 400, badKey},
		{"a short key", "", []string{connection, upgrade, version, "Sec-WebSocket-Key: ZXZpbA=="}, 400, badKey},
		{"a key that is none", "", []string{connection, upgrade, version, "Sec-WebSocket-Key: evil evil evil"}, 400, badKey},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, overTCP, nil)
			nc, err := s.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			p := &peer{t: t, Conn: nc}
			p.send([]byte(cmp.Or(tc.line, "GET /ws HTTP/1.1") + "\r\nHost: gateway.test\r\n" + strings.Join(append(tc.header, "\r\n"), "\r\n")))
			resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tc.status {
				t.Fatalf("%s, want %d", resp.Status, tc.status)
			}
			if tc.status == http.StatusSwitchingProtocols {
				for _, name := range []string{"Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
					if got := resp.Header.Get(name); got != "" {
						t.Fatalf("%s: %s", name, got)
					}
				}
				return
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(body), tc.code) || resp.Header.Get("Content-Type") != "application/problem+json" || strings.Contains(string(body), "evil") {
				t.Fatalf("%s %s, want %s", resp.Header.Get("Content-Type"), body, tc.code)
			}
			if asked := resp.Header.Get("Upgrade") + " " + resp.Header.Get("Sec-Websocket-Version"); (asked == "websocket 13") != (tc.status == 426) {
				t.Fatalf("%d asks for %q", tc.status, asked)
			}
			if n := s.metric("handshakes_refused_total", "handshake"); n != 1 {
				t.Fatalf("%v were refused as no handshake, want 1", n)
			}
		})
	}
}

// Where the drain begins during the handshake, the connection is sent elsewhere like any other.
func TestUnavailableAfterTheHandshake(t *testing.T) {
	t.Parallel()
	s := newServer(t, overTCP, func(c *Config) {
		c.Join = func(*Conn, *auth.Identity) (Session, error) { return nil, ErrUnavailable }
	})
	code, texts := s.open("/ws", nil).closeCode()
	if code != int(wire.CloseServiceRestart) || len(texts) != 1 || !strings.Contains(texts[0], `"goodbye"`) {
		t.Fatalf("close code %d, messages %q", code, texts)
	}
	s.handler.Wait()
}

// A place that a connection had is free again after it, however it ended.
func TestPlacesAreGivenBack(t *testing.T) {
	t.Parallel()
	s := newServer(t, overTCP, func(c *Config) { c.Limits.Connections = 1 })
	for range 3 {
		p, ses := s.connect()
		if _, resp, _ := s.try("/ws", nil); resp.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("second connection: %s, want 503", resp.Status)
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

// A gateway that is too busy to read for a moment, again and again, does not forget that a client floods it.
func TestMessageRateOfABusyGateway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, overPipe, nil)
		p, ses := s.connect()
		ses.asked = make(chan string) // a message is done when it is taken
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
		for i := 0; ; i++ {
			select {
			case <-ses.asked:
				if i%10 == 0 {
					time.Sleep(300 * time.Millisecond)
				}
				continue
			case ended := <-ses.gone:
				if took := time.Since(start); ended != "4429 " || took > 6*time.Second {
					t.Fatalf("ended %q after %v", ended, took)
				}
			}
			return
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
