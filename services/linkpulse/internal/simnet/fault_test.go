package simnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestCut(t *testing.T) {
	t.Parallel()
	n := New(1)
	a, b := connect(t, n, 0)
	write(t, a, "arrived")
	if got := n.Cut(Path{From: "nobody"}); got != 0 {
		t.Fatalf("Cut = %d, want 0", got)
	}
	if got := n.Cut(Path{From: "a", To: "b"}); got != 1 || n.Open(Path{}) != 0 {
		t.Fatalf("Cut = %d with %d still open, want 1 and 0", got, n.Open(Path{}))
	}
	if got := read(t, b, 7); got != "arrived" {
		t.Fatalf("read %q", got)
	}
	for _, c := range []net.Conn{a, b} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v, want ECONNRESET", err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("write: %v, want ECONNRESET", err)
		}
	}
}

func TestCutAfterLosesTheResponse(t *testing.T) {
	t.Parallel()
	n := New(1)
	a, b := connect(t, n, 0)
	other, _ := connect(t, n, 0)
	write(t, b, "before")
	n.Inject(Fault{Path: Path{From: "a"}, CutWay: ToDialer, CutAfter: 3})
	write(t, a, "request")
	if got := read(t, b, 7); got != "request" {
		t.Fatalf("read %q", got)
	}
	if sent, err := b.Write([]byte("response")); sent != 3 || !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("Write = %d, %v; want a reset after 3 bytes", sent, err)
	}
	if got := read(t, a, 9); got != "beforeres" {
		t.Fatalf("read %q, want what was sent before the cut", got)
	}
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read: %v, want ECONNRESET", err)
	}
	if n.Open(Path{From: "a"}) != 1 {
		t.Fatal("one cut was asked for; the other connection must live")
	}
	write(t, other, "still here")
}

func TestCutAfterCountsOverOtherFaults(t *testing.T) {
	t.Parallel()
	n := New(1)
	a, _ := connect(t, n, 0)
	heal := n.Inject(Fault{CutWay: ToListener, CutAfter: 5})
	write(t, a, "1234")
	n.Inject(Fault{Chop: 3}) // another rule must not start the count afresh
	if sent, err := a.Write([]byte("56")); sent != 1 || !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("Write = %d, %v; want a reset at the sixth byte", sent, err)
	}
	heal()
	c, _ := connect(t, n, 0)
	write(t, c, "a healed network cuts no more")
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	n := New(1)
	a, b := connect(t, n, 0)
	l, err := n.Host("b").Listen("tcp", "b:1")
	if err != nil {
		t.Fatal(err)
	}
	heal := n.Inject(Fault{Path: Path{To: "b:1"}, Refuse: true})
	if _, err := n.Host("a").Dial(t.Context(), "tcp", "b:1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("Dial: %v, want ECONNREFUSED", err)
	}
	write(t, a, "x") // an open connection lives on
	_ = read(t, b, 1)
	heal()
	heal() // twice is once
	if _, err := n.Host("a").Dial(t.Context(), "tcp", "b:1"); err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

func TestBlackHole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := connect(t, n, 10)
		heal := n.Inject(Fault{BlackHole: ToListener})
		write(t, b, "other way")
		_ = read(t, a, 9)

		write(t, a, "1234567890") // fits in the buffer
		deadline := func(c net.Conn) { _ = c.SetDeadline(time.Now().Add(time.Hour)) }
		deadline(a)
		deadline(b)
		if sent, err := a.Write([]byte("+")); sent != 0 || err == nil {
			t.Fatalf("Write = %d, %v; want to wait for room", sent, err)
		}
		if _, err := b.Read(make([]byte, 1)); err == nil {
			t.Fatal("something came through the hole")
		}
		_ = a.Close()
		deadline(b)
		if _, err := b.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			t.Fatal("the end of the stream came through the hole")
		}
		deadline(b)
		write(t, b, "no answer") // the reset that says so cannot come back
		dialled := make(chan error, 1)
		l, err := n.Host("b").Listen("tcp", "b:1")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, err := n.Host("a").Dial(t.Context(), "tcp", "b:1")
			dialled <- err
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Host("a").Dial(ctx, "tcp", "b:1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("Dial: %v, want to hang", err)
		}

		heal()
		_ = b.SetDeadline(time.Time{})
		if got, err := io.ReadAll(b); string(got) != "1234567890" || err != nil {
			t.Fatalf("after heal: %q, %v; TCP leaves no gap", got, err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Fatalf("write after heal: %v, want EPIPE", err)
		}
		if err := <-dialled; err != nil {
			t.Fatalf("the dial that waited: %v", err)
		}
		_ = l.Close()
	})
}

func TestACutLosesWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]Fault{"black hole": {BlackHole: Both}, "delay": {Delay: time.Hour}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := New(1)
			a, b := connect(t, n, 0)
			write(t, a, "arrived")
			heal := n.Inject(f)
			if name == "delay" {
				write(t, a, "under way")
			}
			n.Cut(Path{})
			heal()
			got, err := io.ReadAll(b)
			want := map[string]string{"black hole": "", "delay": "arrived"}[name] // a held stream is held whole
			if string(got) != want || !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("read %q, %v; want %q and ECONNRESET", got, err, want)
			}
		})
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		a, b := connect(t, n, 0)
		n.Inject(Fault{Path: Path{To: "b"}, Delay: 40 * time.Millisecond})
		start := time.Now()
		write(t, a, "1")
		time.Sleep(10 * time.Millisecond)
		write(t, a, "2")
		_ = a.(interface{ CloseWrite() error }).CloseWrite()
		for _, want := range []time.Duration{40 * time.Millisecond, 50 * time.Millisecond} {
			_ = read(t, b, 1)
			if took := time.Since(start); took != want {
				t.Fatalf("arrived after %v, want %v", took, want)
			}
		}
		l, err := n.Host("b").Listen("tcp", "b:1")
		if err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		if _, err := n.Host("a").Dial(t.Context(), "tcp", "b:1"); err != nil || time.Since(start) != 80*time.Millisecond {
			t.Fatalf("Dial took %v (%v), want one round trip", time.Since(start), err)
		}
		_ = l.Close()
	})
}

// arrivals writes 30 bytes one by one over each of two connections and returns when each arrived, and in which pieces.
func arrivals(t *testing.T, seed uint64) (times []time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := New(seed)
		n.Inject(Fault{Jitter: 50 * time.Millisecond, Chop: 5})
		for range 2 {
			a, b := connect(t, n, 0)
			start := time.Now()
			for range 30 {
				write(t, a, "x")
			}
			_ = a.Close()
			for p := make([]byte, 10); ; {
				k, err := b.Read(p)
				if err != nil {
					break
				}
				times = append(times, time.Since(start)*10+time.Duration(k))
			}
		}
	})
	return times
}

func TestChancesFollowFromTheSeed(t *testing.T) {
	t.Parallel()
	first := arrivals(t, 1)
	if !slices.Equal(first, arrivals(t, 1)) {
		t.Fatal("one seed gave two runs")
	}
	if slices.Equal(first, arrivals(t, 2)) {
		t.Fatal("two seeds gave one run")
	}
	if slices.Equal(first[:30], first[30:]) {
		t.Fatal("two connections have the same chances")
	}
}

func TestChop(t *testing.T) {
	t.Parallel()
	n := New(1)
	n.Inject(Fault{Chop: 4})
	a, b := connect(t, n, 0)
	want := fmt.Sprintf("%0100d", 7)
	write(t, a, want)
	_ = a.Close()
	var got []byte
	sizes := make(map[int]bool)
	for {
		p := make([]byte, 50)
		k, err := b.Read(p)
		if err != nil {
			break
		}
		got = append(got, p[:k]...)
		sizes[k] = true
	}
	if string(got) != want || len(sizes) != 4 || sizes[0] || sizes[5] {
		t.Fatalf("read %q in pieces of %v, want 1 to 4 bytes each", got, sizes)
	}
}
