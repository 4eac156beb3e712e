package rest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
)

// polled is a handler whose links linger, and what a client that polls asks for.
func polled(b *testing.B, who Authenticator) (h http.Handler, questions map[string]*http.Request) {
	b.Helper()
	ledger := newLedger()
	handler, err := New(Config{
		Linger: time.Hour, MaxLinks: 1000, MaxRequests: 1000, Registry: prometheus.NewRegistry(),
		HostAllowed: func(string) bool { return true }, Auth: who,
	})
	if err != nil {
		b.Fatal(err)
	}
	handler.Open(Source{Epoch: 3, Counts: ledger, History: ledger})
	b.Cleanup(handler.Close)
	router := chi.NewRouter()
	handler.Routes(router)
	var ten []string
	for i := range 10 {
		link := fmt.Sprintf("x7Kp2%d", i)
		ten = append(ten, link)
		ledger.click(link, false)
	}
	questions = make(map[string]*http.Request)
	for name, path := range map[string]string{
		"link": "/links/" + ten[0] + "/clicks",
		"ten":  "/v1/counts?links=" + strings.Join(ten, ","),
		"hour": "/links/" + ten[0] + "/clicks?history=1h",
	} {
		r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
		if who != nil {
			r.Header.Set("Authorization", "Bearer "+strings.Repeat("a", 600))
		}
		questions[name+"/200"] = r
		w := httptest.NewRecorder()
		router.ServeHTTP(w, r)
		again := r.Clone(b.Context())
		again.Header.Set("If-None-Match", w.Header().Get("Etag"))
		questions[name+"/304"] = again
	}
	return router, questions
}

// sink is an http.ResponseWriter that costs nothing.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(status int)      { s.status = status }

// BenchmarkHandler is what a poll costs without sockets and without the HTTP server: router, memory, answer.
func BenchmarkHandler(b *testing.B) {
	benchmarkHandler(b, "", nil)
	benchmarkHandler(b, "/token", knower{&auth.Identity{Subject: "anna", Grants: auth.Anybody().Grants}})
}

// knower knows whose a token is without looking at it: what that costs is measured where it is done.
type knower struct{ id *auth.Identity }

func (k knower) Token(context.Context, string) (*auth.Identity, error) { return k.id, nil }

func (knower) Issue(context.Context, *auth.Identity, string) (string, time.Duration, error) {
	return "", 0, nil
}

func benchmarkHandler(b *testing.B, suffix string, who Authenticator) {
	b.Helper()
	h, questions := polled(b, who)
	for _, name := range []string{"link/200", "link/304", "ten/200", "ten/304", "hour/200"} { // the tag of a history lasts a minute at most
		b.Run(name+suffix, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := &sink{header: make(http.Header)}
				h.ServeHTTP(w, questions[name])
				if w.status != 200 && w.status != 304 {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// BenchmarkServer is what a poll costs with the HTTP server and a socket, at both ends of it: the client writes requests
// that are ready made and reads past the answers, so nearly all of it is the server and the kernel. Each client has a
// connection of its own and asks again when it has the answer.
func BenchmarkServer(b *testing.B) {
	h, questions := polled(b, nil)
	l, err := httpserver.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- httpserver.Serve(ctx, httpserver.New(h, zap.NewNop()), l, time.Second) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	for _, name := range []string{"link/200", "link/304", "ten/200", "ten/304"} {
		b.Run(name, func(b *testing.B) {
			before := cpuTime()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) { poll(b, pb, l.Addr().String(), questions[name]) })
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/request")
		})
	}
}

// poll asks the same again and again on a connection.
func poll(b *testing.B, pb *testing.PB, addr string, r *http.Request) {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Error(err)
		return
	}
	defer conn.Close()
	var text strings.Builder
	fmt.Fprintf(&text, "GET %s HTTP/1.1\r\nHost: gw\r\n", r.URL.RequestURI())
	if tag := r.Header.Get("If-None-Match"); tag != "" {
		fmt.Fprintf(&text, "If-None-Match: %s\r\n", tag)
	}
	text.WriteString("\r\n")
	answer := make([]byte, 4<<10) // all answers fit, and come in one segment
	for pb.Next() {
		if _, err := io.WriteString(conn, text.String()); err != nil {
			b.Error(err)
			return
		}
		if n, err := conn.Read(answer); err != nil || !strings.HasPrefix(string(answer[:n]), "HTTP/1.1 ") {
			b.Errorf("%v: %s", err, answer[:n])
			return
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
