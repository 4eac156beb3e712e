package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// pair returns a Conn and the peer's end, on a transport; TCP with receive buffers so small that writes do not fit.
func pair(t *testing.T, tr transport) (*Conn, net.Conn) {
	t.Helper()
	var client, server net.Conn
	switch tr {
	case overPipe:
		client, server = net.Pipe()
	case overTCP:
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if client, err = net.Dial("tcp4", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if err = client.(*net.TCPConn).SetReadBuffer(2 << 10); err != nil {
			t.Fatal(err)
		}
		if server, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
	}
	c := &Conn{h: &Handler{cfg: Config{Patience: 10 * time.Second}}}
	c.init(server, nil)
	t.Cleanup(func() {
		_ = client.Close()
		c.settle()
	})
	return c, client
}

// Both writers at once, against a peer that reads a byte at a time: no frame is cut by another, none is lost, each
// writer's frames keep their order, and there is one close frame with nothing behind it although both writers close.
func TestWritersNeverInterleaveInsideAFrame(t *testing.T) {
	t.Parallel()
	for _, tr := range []transport{overTCP, overPipe} {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rng := rand.New(rand.NewPCG(seed, 0))
			const texts, pongs = 120, 60
			c, client := pair(t, tr)
			ses := &session{conn: c, drained: make(chan struct{}, 1), gone: make(chan string, 1)}
			c.session = ses
			sizes := make([]int, texts)
			for i := range sizes {
				sizes[i] = 8 + rng.IntN(900)
			}
			var writers sync.WaitGroup
			writers.Go(func() { // the hub: a few frames per write, the last write ends with a close frame
				for i := 0; i < texts; i++ {
					var b []byte
					for range 1 + i%4 {
						b = wire.AppendTextFrame(b, numbered(i, sizes[i]))
						if i++; i == texts {
							break
						}
					}
					i--
					if !ses.write(b, false) {
						t.Error("the hub's write failed")
						return
					}
				}
			})
			answered := make(chan struct{}, pongs) // the peer has taken a pong: a peer that reads is no flooder
			writers.Go(func() {                    // the library
				for i := range pongs {
					pong := append([]byte{0x8a, 125}, numbered(i, 125)...)
					if n, err := c.Write(pong); n != len(pong) || err != nil {
						t.Errorf("the library's write: %d, %v", n, err)
						return
					}
					<-answered
				}
			})
			go func() {
				writers.Wait()
				var closers sync.WaitGroup
				closers.Go(func() { _, _ = c.Write([]byte{0x88, 2, 0x03, 0xe8}) })
				closers.Go(func() { ses.write(wire.AppendCloseFrame(nil, 1012, ""), true) })
				closers.Wait()
				_, _ = c.Write([]byte{0x8a, 0})
				ses.write(wire.AppendTextFrame(nil, []byte("behind")), false)
				c.settle()
			}()
			p := &byteReader{r: client}
			next := map[byte]int{}
			for {
				f, err := p.frame()
				if err != nil {
					t.Fatalf("the stream breaks: %v, after %v", err, next)
				}
				if f.first == 0x88 {
					break
				}
				i := int(binary.BigEndian.Uint64(f.payload))
				if i != next[f.first] || !bytes.Equal(f.payload, numbered(i, len(f.payload))) {
					t.Fatalf("frame %x: number %d, want %d, or its bytes are wrong", f.first, i, next[f.first])
				}
				next[f.first]++
				if f.first == 0x8a {
					answered <- struct{}{}
				}
			}
			if next[0x81] != texts || next[0x8a] != pongs {
				t.Fatalf("%v frames, want %d texts and %d pongs", next, texts, pongs)
			}
			if f, err := p.frame(); !errors.Is(err, io.EOF) {
				t.Fatalf("behind the close frame: %+v, %v", f, err)
			}
		})
	}
}

// A descriptor is used again as soon as its socket is closed: connections that are closed while both writers are at it
// never write to those that come after them.
func TestNoWriteLandsOnAnotherSocket(t *testing.T) {
	t.Parallel()
	const chains, lives = 8, 25
	for chain := range chains {
		t.Run(strconv.Itoa(chain), func(t *testing.T) {
			t.Parallel()
			for life := range lives {
				pong := []byte{0x8a, 2, byte(chain), byte(life)}
				c, client := pair(t, overTCP)
				_ = client.(*net.TCPConn).SetReadBuffer(1 << 20) // the test is of writes that go out
				c.session = &session{conn: c, drained: make(chan struct{}, 1)}
				var writers sync.WaitGroup
				var hubErr, libraryErr error
				writers.Go(func() {
					for blocked := false; !blocked && hubErr == nil; {
						blocked, hubErr = c.TryWrite(pong, false)
					}
				})
				writers.Go(func() {
					for libraryErr == nil {
						_, libraryErr = c.Write(pong)
					}
				})
				p := &byteReader{r: client}
				for range 3 + life%5 {
					if f, err := p.frame(); err != nil || !bytes.Equal(f.payload, pong[2:]) {
						t.Fatalf("connection %d reads % x, %v", life, f.payload, err)
					}
				}
				c.CloseNow()
				rest, _ := io.ReadAll(client) // the close may reset it
				if n := len(rest) / len(pong); !bytes.HasPrefix(rest, bytes.Repeat(pong, n)) {
					t.Fatalf("connection %d reads what is not its own in %d frames", life, n)
				}
				writers.Wait()
				if hubErr != nil && !errors.Is(hubErr, net.ErrClosed) || !errors.Is(libraryErr, net.ErrClosed) {
					t.Fatalf("the writers end with %v and %v, want %v", hubErr, libraryErr, net.ErrClosed)
				}
			}
		})
	}
}

// numbered is a payload that shows which one it is, and whether all of it is there.
func numbered(i, size int) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(i))
	for len(b) < size {
		b = append(b, byte(i+len(b)))
	}
	return b
}

// byteReader reads frames a byte at a time.
type byteReader struct{ r net.Conn }

func (p *byteReader) read(n int) ([]byte, error) {
	_ = p.r.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, n)
	for i := range b {
		if _, err := p.r.Read(b[i : i+1]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (p *byteReader) frame() (frame, error) {
	head, err := p.read(2)
	if err != nil {
		return frame{}, err
	}
	n := int(head[1])
	if n == 126 {
		ext, err := p.read(2)
		if err != nil {
			return frame{}, err
		}
		n = int(binary.BigEndian.Uint16(ext))
	}
	payload, err := p.read(n)
	return frame{first: head[0], payload: payload}, err
}

// A peer that makes the server answer and does not read the answers is dropped once 4 KiB of them wait.
func TestFloodOfUnreadPongs(t *testing.T) {
	t.Parallel()
	for _, tr := range []transport{overTCP, overPipe} {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			c, _ := pair(t, tr)
			pong := append([]byte{0x8a, 125}, make([]byte, 125)...)
			var written int
			for range 1 << 20 {
				if _, err := c.Write(pong); err != nil {
					break
				}
				written += len(pong)
			}
			if _, cause := c.status(); cause != causeFlood {
				t.Fatalf("dropped for %q after %d bytes, want flood", cause, written)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.tail != nil && len(c.tail.bytes) > 2*controlLimit {
				t.Fatalf("%d bytes wait", len(c.tail.bytes))
			}
		})
	}
}

// A peer that takes nothing for as long as patience is dropped; the hub hears of it by the end of the reader.
func TestStalledPeerIsDropped(t *testing.T) {
	t.Parallel()
	c, _ := pair(t, overPipe)
	c.h.cfg.Patience = 20 * time.Millisecond
	blocked, err := c.TryWrite(wire.AppendTextFrame(nil, []byte("{}")), false)
	if !blocked || err != nil {
		t.Fatalf("TryWrite: %v, %v", blocked, err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatal("the reader is not told")
	}
	if _, cause := c.status(); cause != causeStalled {
		t.Fatalf("dropped for %q, want stalled", cause)
	}
	if _, err := c.TryWrite([]byte{0x89, 0}, false); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("TryWrite on a dropped connection: %v", err)
	}
}

// What a peer that is dropped has not taken is gone from the kernel at once, and is not offered to it for minutes. A close
// frame is, as long as there is somebody.
func TestDroppedPeerCostsTheKernelNothing(t *testing.T) {
	t.Parallel()
	for _, last := range []bool{false, true} {
		c, client := pair(t, overTCP)
		c.session = &session{conn: c, drained: make(chan struct{}, 1)}
		update := wire.AppendTextFrame(nil, make([]byte, 1000))
		for blocked := false; !blocked; {
			var err error
			if blocked, err = c.TryWrite(update, false); err != nil {
				t.Fatal(err)
			}
		}
		if last {
			if _, err := c.TryWrite(wire.AppendCloseFrame(nil, wire.CloseTooMany, ""), true); err != nil {
				t.Fatal(err)
			}
		}
		c.CloseNow()
		_ = client.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, err := io.Copy(io.Discard, client)
		if reset := errors.Is(err, syscall.ECONNRESET); reset == last {
			t.Fatalf("behind a close frame: %v; reading ends with %v", last, err)
		}
	}
}

// A write to a peer that reads is one system call, and no allocation.
func TestTryWriteDoesNotAllocate(t *testing.T) {
	c, client := pair(t, overTCP)
	go io.Copy(io.Discard, client) //nolint:errcheck // ends with the connection
	b := wire.AppendTextFrame(nil, make([]byte, 60))
	if n := testing.AllocsPerRun(200, func() {
		if blocked, err := c.TryWrite(b, false); blocked || err != nil {
			t.Fatalf("TryWrite: %v, %v", blocked, err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations per write", n)
	}
}
