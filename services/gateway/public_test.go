package gateway

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A path says which methods it has, and each of those that it names is there.
func TestMethods(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init(record)
		w.awaitReady()
		for path, allowed := range map[string]string{
			"/":                       "GET, HEAD",
			"/assets/page.js":         "GET, HEAD",
			"/livez":                  "GET",
			"/ws":                     "GET",
			"/links/acme:x/clicks":    "GET, HEAD, OPTIONS",
			"/links/acme%3Ax/clicks":  "GET, HEAD, OPTIONS",
			"/v1/counts?links=acme:x": "GET, HEAD, OPTIONS",
			"/v1/tickets":             "POST, OPTIONS",
			"/nothing":                "",
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"} {
				req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+addr+path, http.NoBody)
				if err != nil {
					w.t.Fatal(err)
				}
				resp, err := w.web.Do(req)
				if err != nil {
					w.t.Fatal(err)
				}
				var p struct{ Code string }
				if resp.Header.Get("Content-Type") == "application/problem+json" && method != http.MethodHead {
					err = json.NewDecoder(resp.Body).Decode(&p)
				}
				_ = resp.Body.Close()
				there := strings.Contains(", "+allowed+", ", ", "+method+", ")
				switch {
				case err != nil:
					w.t.Errorf("%s %s: %v", method, path, err)
				case allowed == "":
					if resp.StatusCode != http.StatusNotFound || p.Code != "not_found" && method != http.MethodHead {
						w.t.Errorf("%s %s: %s %+v", method, path, resp.Status, p)
					}
				case there:
					if resp.StatusCode == http.StatusMethodNotAllowed || resp.StatusCode == http.StatusNotFound {
						w.t.Errorf("%s %s: %s", method, path, resp.Status)
					}
				case resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != allowed || p.Code != "method_not_allowed" && method != http.MethodHead:
					w.t.Errorf("%s %s: %s, Allow %q, %+v; want %q", method, path, resp.Status, resp.Header.Get("Allow"), p, allowed)
				}
			}
		}
	})
}

// raw connects to the gateway.
func (w *world) raw() net.Conn {
	w.t.Helper()
	c, err := w.network.DialContext(w.t.Context(), "tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// Plain requests that never come to an end, and answers that nobody takes, cost the gateway a connection for a while and not
// for ever.
func TestSlowRequests(t *testing.T) {
	t.Parallel()
	const ask = "GET /v1/counts?links=a HTTP/1.1\r\nHost: x\r\n"
	for name, tc := range map[string]struct {
		send    func(net.Conn)
		answers int // that come before the end
		longest time.Duration
	}{
		"silence":             {func(net.Conn) {}, 0, 5 * time.Second},
		"half a request":      {func(c net.Conn) { _, _ = io.WriteString(c, ask) }, 0, 5 * time.Second},
		"headers, one by one": {func(c net.Conn) { trickle(c, ask+strings.Repeat("X: y\r\n", 100)) }, 1, 5 * time.Second},
		"a body that does not come": {func(c net.Conn) {
			_, _ = io.WriteString(c, ask+"Content-Length: 1000\r\n\r\n")
		}, 1, readTimeout},
		"a body that trickles in": {func(c net.Conn) {
			_, _ = io.WriteString(c, ask+"Content-Length: 1000\r\n\r\n")
			trickle(c, strings.Repeat("x", 1000))
		}, 1, readTimeout},
		"chunks that trickle in": {func(c net.Conn) {
			_, _ = io.WriteString(c, ask+"Transfer-Encoding: chunked\r\n\r\n")
			trickle(c, strings.Repeat("1\r\nx\r\n", 1000))
		}, 1, readTimeout},
		"a ticket's body that trickles in": {func(c net.Conn) {
			_, _ = io.WriteString(c, "POST /v1/tickets HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
			trickle(c, strings.Repeat("x", 1000))
		}, 1, readTimeout},
		"nothing more": {func(c net.Conn) { _, _ = io.WriteString(c, ask+"\r\n") }, 1, 61 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				w.init(record)
				w.awaitReady()
				w.web.CloseIdleConnections()
				c := w.raw()
				_ = c.SetDeadline(time.Now().Add(10 * time.Minute)) // virtual: the test fails, and does not hang
				start := time.Now()
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					tc.send(c)
				}()
				r, answers := bufio.NewReader(c), 0
				for {
					resp, err := http.ReadResponse(r, nil)
					if err != nil {
						break
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					answers++
				}
				if took := time.Since(start); took > tc.longest+time.Second || answers > tc.answers {
					w.t.Errorf("it took %v, with %d answers; want at most %v and %d", took, answers, tc.longest, tc.answers)
				}
				_ = c.Close()
				<-sent
			})
		})
	}
}

// trickle writes a byte every 100 ms until nobody takes them.
func trickle(c net.Conn, s string) {
	for _, b := range []byte(s) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Who asks without end and reads nothing is cut off, and nobody waits for that.
func TestAnswersThatNobodyReads(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init(record)
		w.awaitReady()
		c := w.raw()
		_ = c.SetDeadline(time.Now().Add(10 * time.Minute)) // see above
		start := time.Now()
		asked := make(chan int)
		go func() {
			for n := 0; ; n++ {
				if _, err := fmt.Fprint(c, "GET /v1/counts?links=a HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					asked <- n
					return
				}
			}
		}()
		if status, _ := w.get("/readyz"); status != http.StatusOK {
			w.t.Fatalf("/readyz: %d", status)
		}
		n := <-asked
		if took := time.Since(start); took > readTimeout+writeTimeout+time.Second {
			w.t.Fatalf("%d requests were taken for %v", n, took)
		}
		_ = c.Close()
		synctest.Wait()
	})
}

// Sockets that ask for nothing make room: however many there are, whoever asks is answered.
func TestSocketsWithoutARequest(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		w.change = func(cfg *Config) { cfg.Access.MaxPlainConnections, cfg.Access.MaxAddressConnections = 50, 0 }
	}, func(w *world) {
		w.init(record)
		w.awaitReady()
		var silent []net.Conn
		for range 500 {
			silent = append(silent, w.raw())
		}
		d := w.connect()
		d.subscribe("x7Kp2")
		d.await("x7Kp2", 0)
		w.web.CloseIdleConnections()
		if status, _ := w.get("/links/x7Kp2/clicks"); status != http.StatusOK {
			w.t.Fatalf("a request beside them: %d", status)
		}
		gone := 0
		for _, c := range silent {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) || strings.Contains(err.Error(), "closed") {
				gone++
			}
			_ = c.Close()
		}
		if gone < 450 || gone > 455 {
			w.t.Fatalf("%d of 500 made room for 50", gone)
		}
		_ = d.conn.CloseNow()
		<-d.done
	})
}

// A peer that is not there any more is dropped after two heartbeats without a sign of life, and half a frame is none. One
// that still takes bytes is for TestSiege: here, where no socket has a buffer, that is a sign of life.
func TestHalfOpenPeers(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]func(net.Conn){
		"takes none":                func(net.Conn) {},
		"a pong that trickles in":   func(c net.Conn) { trickleSlowly(c, "\x8a\xfd"+strings.Repeat("x", 100)) },
		"a message that never ends": func(c net.Conn) { trickleSlowly(c, "\x01\xfe\x40\x00"+strings.Repeat("x", 1000)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(w *world) {
				w.init(record)
				w.awaitReady()
				c := w.raw()
				_ = c.SetDeadline(time.Now().Add(time.Hour))
				_, _ = fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: %s\r\n%s\r\n", addr, goodHandshake)
				if resp, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
					w.t.Fatalf("%v, %v", resp, err)
				}
				start := time.Now()
				done := make(chan struct{})
				go func() {
					defer close(done)
					after(c)
				}()
				w.service.ws.Wait()
				if took := time.Since(start); took > 31*time.Second || took < 29*time.Second {
					w.t.Errorf("it was dropped after %v, want 30 s", took)
				}
				_ = c.Close()
				<-done
			})
		})
	}
}

// trickleSlowly writes a byte each second until nobody takes them.
func trickleSlowly(c net.Conn, s string) {
	for _, b := range []byte(s) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}
