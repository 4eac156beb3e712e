package httpserver_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/httpserver"
)

// pipes is a listener of connections in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.done); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// frugal serves h on a connection in memory, with the time limits of the package, 10 s for a request's body and 20 s
// from there to the end of the answer. It returns the client's end.
func frugal(t *testing.T, h http.HandlerFunc) net.Conn {
	t.Helper()
	l := pipes{conns: make(chan net.Conn, 1), done: make(chan struct{})}
	srv := httpserver.New(h, zap.NewNop())
	srv.ReadTimeout, srv.WriteTimeout = 10*time.Second, 20*time.Second
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(httpserver.Frugal(l)) // ends by Close
	}()
	client, server := net.Pipe()
	l.conns <- server
	t.Cleanup(func() {
		_ = client.Close()
		_ = srv.Close()
		<-served
	})
	return client
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	time.Sleep(time.Second) // as long as a log takes to answer
	_, _ = w.Write(body)    // the client checks it
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func post(body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// expect reads an answer.
func expect(t *testing.T, r *bufio.Reader, status int, body string) {
	t.Helper()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || !strings.Contains(string(got), body) {
		t.Fatalf("answer %d %q, %v; want %d %q", resp.StatusCode, got, err, status, body)
	}
}

// expectEnd reads until the connection ends and tells how long that took.
func expectEnd(t *testing.T, r io.Reader) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// Requests over hours, with pauses that are longer than some deadlines and shorter than others: deadlines that the
// socket still has from earlier requests break nothing.
func TestFrugalKeepsConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := frugal(t, echo)
		r := bufio.NewReader(c)
		for i := range 200 {
			body := fmt.Sprint("request ", i)
			text := post(body)
			send(t, c, text[:20])
			time.Sleep(time.Duration(i%5) * time.Second) // headers have 5
			send(t, c, text[20:])
			expect(t, r, http.StatusOK, body)
			time.Sleep(time.Duration(i*7%60) * time.Second) // idle connections have 60
		}
	})
}

// Every limit of the server holds, on the first request and on later ones.
func TestFrugalKeepsLimits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		sends string
		want  time.Duration
	}{
		"headers": {"POST / HTTP/1.1\r\nHost", 5 * time.Second},
		"body":    {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf", 10 * time.Second},
		"idle":    {"", 60 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := frugal(t, echo)
				r := bufio.NewReader(c)
				for range 3 {
					send(t, c, post("a"))
					expect(t, r, http.StatusOK, "a")
					time.Sleep(3 * time.Second)
				}
				before := 3 * time.Second // of the idle time
				if tc.sends != "" {
					before = 0
					send(t, c, tc.sends)
				}
				// A body that ends early is answered before the connection is closed, after half a second at most.
				if took := expectEnd(t, r); took < tc.want-before || took > tc.want-before+time.Second {
					t.Fatalf("the connection ended after %v, want %v", took, tc.want-before)
				}
			})
		})
	}
}

// A client that does not read its answer holds the connection for as long as it may, and not longer.
func TestFrugalEndsAnswersThatNobodyReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var wrote error
		done := make(chan struct{})
		calls := 0
		c := frugal(t, func(w http.ResponseWriter, r *http.Request) {
			if calls++; calls == 1 {
				echo(w, r)
				return
			}
			defer close(done)
			for wrote == nil {
				_, wrote = w.Write(make([]byte, 1<<10))
			}
		})
		send(t, c, post("a"))
		expect(t, bufio.NewReader(c), http.StatusOK, "a")
		time.Sleep(15 * time.Second) // the socket's deadline is the first request's
		began := time.Now()
		send(t, c, post("b"))
		<-done
		if took := time.Since(began); !errors.Is(wrote, os.ErrDeadlineExceeded) || took != 20*time.Second {
			t.Fatalf("writing ended with %v after %v", wrote, took)
		}
	})
}

// What a client sends while it waits for an answer is the next request.
func TestFrugalPipelines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := frugal(t, echo)
		go func() {
			for _, body := range []string{"a", "b", "c"} {
				_, _ = io.WriteString(c, post(body)) // the answers tell
			}
		}()
		r := bufio.NewReader(c)
		for _, body := range []string{"a", "b", "c"} {
			expect(t, r, http.StatusOK, body)
		}
	})
}

// A handler that sets a deadline of its own gets it, at once where it is early.
func TestFrugalHandlersDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := frugal(t, func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Error(err)
			}
			began := time.Now()
			_, err := io.ReadAll(r.Body)
			if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != time.Second {
				t.Errorf("reading ended with %v after %v", err, took)
			}
			w.WriteHeader(http.StatusRequestTimeout)
		})
		send(t, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
		expect(t, bufio.NewReader(c), http.StatusRequestTimeout, "")
	})
}
