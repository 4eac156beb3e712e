package simnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// connect returns both ends of a connection from host "a" to host "b", which end with the test.
func connect(t *testing.T, n *Network, buffer int) (dialled, accepted net.Conn) {
	t.Helper()
	b, err := n.Host("b").Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a := n.Host("a")
	a.Buffer = buffer
	if dialled, err = a.Dial(t.Context(), "tcp", b.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = b.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = dialled.Close()
		_ = accepted.Close()
	})
	return dialled, accepted
}

// The conformance suite of the Go project for net.Conn.
func TestConformance(t *testing.T) {
	t.Parallel()
	for name, buffer := range map[string]int{"usual buffer": 0, "tiny buffer": 7} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
				c1, c2 = connect(t, New(1), buffer)
				return c1, c2, func() {
					_ = c1.Close()
					_ = c2.Close()
				}, nil
			})
		})
	}
}

func TestASlowReaderMakesTheWriterBlock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, r := connect(t, New(1), 1000)
		written := make(chan int, 1)
		go func() {
			n, err := w.Write(make([]byte, 2500))
			if err != nil {
				t.Error(err)
			}
			written <- n
		}()
		for _, read := range []int{999, 500} {
			synctest.Wait()
			select {
			case <-written:
				t.Fatal("the write did not wait for the reader")
			default:
			}
			if _, err := io.ReadFull(r, make([]byte, read)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(r, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if n := <-written; n != 2500 {
			t.Fatalf("Write = %d, want 2500", n)
		}
	})
}

func TestTryWriteNeverWaits(t *testing.T) {
	t.Parallel()
	w, r := connect(t, New(1), 10)
	try := w.(interface {
		TryWrite(p []byte) (int, error)
	})
	for _, want := range []int{10, 0} {
		if n, err := try.TryWrite(make([]byte, 15)); n != want || err != nil {
			t.Fatalf("TryWrite = %d, %v; want %d", n, err, want)
		}
	}
	if _, err := io.ReadFull(r, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if n, err := try.TryWrite(make([]byte, 15)); n != 4 || err != nil {
		t.Fatalf("TryWrite = %d, %v; want the 4 bytes that were read", n, err)
	}
	_ = r.Close()
	if _, err := try.TryWrite([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("TryWrite to a closed end = %v, want EPIPE", err)
	}
}

func TestDeadlineInVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := connect(t, New(1), 100)
		for name, call := range map[string]func() error{
			"read":  func() error { _, err := c.Read(make([]byte, 1)); return err },
			"write": func() error { _, err := c.Write(make([]byte, 101)); return err },
		} {
			start := time.Now()
			if err := c.SetDeadline(start.Add(90 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if err := call(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 90*time.Second {
				t.Errorf("%s: %v after %v, want a timeout after 90 s", name, err, time.Since(start))
			}
			var timeout net.Error
			if err := call(); !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("%s after the deadline: %v, want a timeout", name, err)
			}
		}
	})
}

func TestHalfClose(t *testing.T) {
	t.Parallel()
	a, b := connect(t, New(1), 0)
	if _, err := a.Write([]byte("question")); err != nil {
		t.Fatal(err)
	}
	if err := a.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b); string(got) != "question" || err != nil {
		t.Fatalf("ReadAll = %q, %v", got, err)
	}
	if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("a write after CloseWrite: %v, want EPIPE", err)
	}
	if _, err := b.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	if got, err := io.ReadAll(a); string(got) != "answer" || err != nil {
		t.Fatalf("ReadAll = %q, %v", got, err)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	n := New(1)
	a, b := n.Host("a"), n.Host("b")
	l, err := b.Listen("tcp", "localhost:9092")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Listen("tcp", ":9092"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("a second listener: %v, want EADDRINUSE", err)
	}
	if _, err := a.Dial(t.Context(), "tcp", "127.0.0.1:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("a dial to nobody: %v, want ECONNREFUSED", err)
	}
	c, err := a.Dial(t.Context(), "tcp", "127.0.0.1:9092")
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if c.RemoteAddr().String() != "127.0.0.1:9092" || s.LocalAddr().String() != "127.0.0.1:9092" ||
		c.LocalAddr().String() != s.RemoteAddr().String() || c.LocalAddr().(*net.TCPAddr).IP.String() != "10.0.0.1" {
		t.Fatalf("dialled: %v to %v; accepted: %v from %v", c.LocalAddr(), c.RemoteAddr(), s.LocalAddr(), s.RemoteAddr())
	}
	if n.Open(Path{From: "a", To: "b"}) != 1 || n.Open(Path{From: "b"}) != 0 {
		t.Fatalf("open connections: %d from a, %d from b", n.Open(Path{From: "a"}), n.Open(Path{From: "b"}))
	}
	_ = c.Close()
	_ = s.Close()
	_ = l.Close()
	if n.Open(Path{}) != 0 {
		t.Fatal("a connection that both ends closed is still open")
	}
	named, err := b.Listen("tcp", "broker:0")
	if err != nil || named.Addr().String() != "broker:20000" || named.Addr().Network() != "tcp" {
		t.Fatalf("Listen = %v, %v", named, err)
	}
	for _, bad := range []string{"", "no port"} {
		if _, err := a.Listen("tcp", bad); err == nil {
			t.Errorf("Listen(%q) succeeded", bad)
		}
		if _, err := a.Dial(t.Context(), "tcp", bad); err == nil {
			t.Errorf("Dial(%q) succeeded", bad)
		}
	}
}

func TestAClosedListenerResetsWhatNobodyAccepted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		l, err := n.Host("b").Listen("tcp", "b:1")
		if err != nil {
			t.Fatal(err)
		}
		var waiting []net.Conn
		for range backlog {
			c, err := n.Host("a").Dial(t.Context(), "tcp", "b:1")
			if err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, c)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.Host("a").Dial(ctx, "tcp", "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("a dial beyond the backlog: %v, want to wait", err)
		}
		_ = l.Close()
		for _, c := range waiting {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("read: %v, want ECONNRESET", err)
			}
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Accept: %v, want net.ErrClosed", err)
		}
	})
}

// write fails the test unless all of p goes into the buffer.
func write(t *testing.T, c net.Conn, p string) {
	t.Helper()
	if _, err := io.Copy(c, bytes.NewBufferString(p)); err != nil {
		t.Fatal(err)
	}
}

// read returns the next n bytes.
func read(t *testing.T, c net.Conn, n int) string {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		t.Fatal(err)
	}
	return string(p)
}
