package httpserver

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.Handler, log *zap.Logger) (addr string, stop func() error) {
	t.Helper()
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, New(h, log), l, 5*time.Second) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return l.Addr().String(), stop
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestReadinessNamesWhatFails(t *testing.T) {
	t.Parallel()
	var h Health
	ready := false
	h.Add("kafka", func() error {
		if ready {
			return nil
		}
		return errors.New("no leader for partition 3")
	})
	h.Add("drain", func() error { return nil })
	mux := http.NewServeMux()
	mux.HandleFunc("/livez", h.Livez)
	mux.HandleFunc("/readyz", h.Readyz)
	addr, _ := serve(t, mux, zap.NewNop())

	if status, _ := get(t, "http://"+addr+"/livez"); status != http.StatusOK {
		t.Fatalf("/livez = %d", status)
	}
	status, body := get(t, "http://"+addr+"/readyz")
	var r Report
	if err := json.Unmarshal([]byte(body), &r); err != nil || status != http.StatusServiceUnavailable ||
		r.Status != "unready" || len(r.Checks) != 2 || r.Checks[0].Reason != "no leader for partition 3" || !r.Checks[1].OK {
		t.Fatalf("/readyz = %d %s", status, body)
	}
	if err := Probe(t.Context(), addr); err == nil || !strings.Contains(err.Error(), "no leader for partition 3") {
		t.Fatalf("Probe = %v", err)
	}
	ready = true
	if status, body := get(t, "http://"+addr+"/readyz"); status != http.StatusOK {
		t.Fatalf("/readyz = %d %s", status, body)
	}
	_, port, _ := strings.Cut(addr, ":")
	if err := Probe(t.Context(), "0.0.0.0:"+port); err != nil {
		t.Fatalf("Probe = %v", err)
	}
}

func TestPanicBecomesAnAnswer(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.InfoLevel)
	addr, _ := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }), zap.New(core))
	status, body := get(t, "http://"+addr)
	if status != http.StatusInternalServerError || !strings.Contains(body, `"code":"internal"`) || strings.Contains(body, "boom") {
		t.Fatalf("answer %d %s", status, body)
	}
	if n := logs.FilterMessageSnippet("panic").Len(); n != 1 {
		t.Fatalf("%d log lines, want 1", n)
	}
}

func TestStopWaitsForRequests(t *testing.T) {
	t.Parallel()
	began, finish := make(chan struct{}), make(chan struct{})
	addr, stop := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(began)
		<-finish
		_, _ = io.WriteString(w, "done")
	}), zap.NewNop())
	answer := make(chan string, 1)
	go func() {
		_, body := get(t, "http://"+addr)
		answer <- body
	}()
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(finish)
	if body := <-answer; body != "done" {
		t.Fatalf("answer %q", body)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

// A browser opens connections before it knows what to ask for. Such a one is no reason to call a stop a failure, and a
// request that is not answered in time is.
func TestStopDoesNotMindTheSilent(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, sends string
		fails       bool
	}{
		{name: "nothing"},
		{name: "half a request", sends: "GET / HTTP/1.1\r\nHost: a"},
		{name: "a request", sends: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var l pipeListener
				l.conns, l.closed = make(chan net.Conn, 1), make(chan struct{})
				client, server := net.Pipe()
				defer client.Close()
				l.conns <- server
				hang := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- Serve(ctx, New(hang, zap.NewNop()), &l, time.Second) }()
				if _, err := io.WriteString(client, tt.sends); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				cancel()
				if err := <-done; (err != nil) != tt.fails {
					t.Errorf("the stop ended in %v", err)
				}
			})
		})
	}
}

// pipeListener accepts connections in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	select {
	case <-l.closed:
	default:
		close(l.closed)
	}
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	addr, _ := serve(t, http.NotFoundHandler(), zap.NewNop())
	req := httptest.NewRequest(http.MethodGet, "http://"+addr, http.NoBody)
	req.RequestURI = ""
	req.Header.Set("X-Long", strings.Repeat("x", 32<<10))
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatalf("status %d", resp.StatusCode)
	}
}
