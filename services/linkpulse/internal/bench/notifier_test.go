package bench

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// reader reads what comes, a byte at a time, as slowly as a handler may.
type reader struct {
	line line
	got  []byte
	err  error
}

func (r *reader) readable() error {
	var b [1]byte
	var n int
	n, r.err = r.line.Read(b[:])
	r.got = append(r.got, b[:n]...)
	return nil
}

// pair returns two ends of a TCP connection.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if near, err = (&net.Dialer{}).DialContext(t.Context(), "tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	return near, far
}

func TestNotifiers(t *testing.T) {
	t.Parallel()
	for name, create := range map[string]func() (notifier, error){
		"of this system": newNotifier,
		"of a simulation": func() (notifier, error) {
			return newWatchers(), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := create()
			if err != nil {
				t.Fatal(err)
			}
			defer p.close()
			testNotifier(t, p)
		})
	}
}

func testNotifier(t *testing.T, p notifier) {
	t.Helper()
	var readers [3]*reader
	var far [3]net.Conn
	for i := range readers {
		var near net.Conn
		near, far[i] = pair(t)
		readers[i] = &reader{}
		var err error
		if readers[i].line, err = p.add(near, readers[i]); err != nil {
			t.Fatal(err)
		}
	}
	p.begin()
	until := func(done func() bool) {
		t.Helper()
		for !done() {
			ready, err := p.wait(time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range ready {
				if err := h.readable(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if ready, err := p.wait(time.Now().Add(-time.Second)); err != nil || len(ready) > 0 {
		t.Fatalf("%d lines can be read where nothing was written: %v", len(ready), err)
	}
	if ready, err := p.wait(time.Now().Add(time.Millisecond)); err != nil || len(ready) > 0 {
		t.Fatalf("%d lines can be read after a while: %v", len(ready), err)
	}
	// What is not read at once is told of again.
	for i, text := range []string{"one", "two"} {
		if _, err := far[i].Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	until(func() bool { return string(readers[0].got) == "one" && string(readers[1].got) == "two" })
	// It is a connection still: what is written arrives, and its end is told.
	if _, err := readers[2].line.Write([]byte("three")); err != nil {
		t.Fatal(err)
	}
	var b [5]byte
	if _, err := io.ReadFull(far[2], b[:]); err != nil || string(b[:]) != "three" {
		t.Fatalf("%q arrived: %v", b, err)
	}
	_ = far[2].Close()
	until(func() bool { return readers[2].err != nil })
	if !errors.Is(readers[2].err, io.EOF) || len(readers[2].got) > 0 {
		t.Fatalf("the end is %v, after %q", readers[2].err, readers[2].got)
	}
	// A line that was closed is told of no more.
	_ = readers[2].line.Close()
	_ = readers[1].line.Close()
	if _, err := far[1].Read(b[:]); err == nil {
		t.Fatal("the peer of a closed line is not told")
	}
	_, _ = far[0].Write([]byte("!"))
	until(func() bool { return string(readers[0].got) == "one!" })
}

func TestOnlySocketsAreTakenOver(t *testing.T) {
	t.Parallel()
	p, err := newNotifier()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	if _, ok := p.(*watchers); ok {
		t.Skip("no epoll on this system: goroutines wait for any connection")
	}
	near, far := net.Pipe()
	defer far.Close()
	if _, err := p.add(near, &reader{}); err == nil {
		t.Fatal("a pipe in memory was taken for a socket")
	}
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
		t.Fatalf("the connection was left open: %v", err)
	}
}
