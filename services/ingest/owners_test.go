package ingest

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
)

// helper is one more ingest that tallies and takes no clicks.
type helper struct {
	w    *world
	end  context.CancelFunc
	done chan struct{}
	err  error // of Run; read after done

	mu    sync.Mutex // guards what follows
	dead  bool
	conns []net.Conn
}

func (w *world) helper(addr string) *helper {
	w.t.Helper()
	cfg, err := LoadConfig([]string{"--kafka-brokers", w.broker.ListenAddrs()[0], "--addr", addr, "--admin-addr=", "--api=off"}, nil, io.Discard)
	if err != nil {
		w.t.Fatal(err)
	}
	tallying(&cfg)
	listener, err := w.network.Listen("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	h := &helper{w: w, done: make(chan struct{})}
	s, err := New(cfg, Deps{Listener: listener, Dial: h.dial})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	h.end = cancel
	go func() {
		defer close(h.done)
		h.err = s.Run(ctx)
	}()
	w.t.Cleanup(h.stop)
	return h
}

// stop ends it as SIGTERM does.
func (h *helper) stop() {
	h.end()
	<-h.done
	if h.err != nil {
		h.w.t.Errorf("the helper ended with %v", h.err)
	}
}

// crash ends it as SIGKILL does: nothing that it still wants to say gets out.
func (h *helper) crash() {
	h.mu.Lock()
	h.dead = true
	for _, c := range h.conns {
		_ = c.Close()
	}
	h.mu.Unlock()
	h.stop()
}

func (h *helper) dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errAway}
	}
	if address == totalstest.Addr {
		conn, err = h.w.redis.Dial(ctx, network, address)
	} else {
		conn, err = h.w.network.DialContext(ctx, network, address)
	}
	if err == nil {
		h.conns = append(h.conns, conn)
	}
	return conn, err
}

// spread is a link in each partition.
func spread() []string {
	links := make([]string, partitions)
	for i, missing := 0, partitions; missing > 0; i++ {
		link := fmt.Sprint("link-", i)
		if p := click.Partition(link, partitions); links[p] == "" {
			links[p] = link
			missing--
		}
	}
	return links
}

// allWithin waits for totals that must be there soon.
func (w *world) allWithin(d time.Duration, record deployment.Record, links []string, want int64) {
	w.t.Helper()
	time.Sleep(d)
	for _, link := range links {
		w.within(0, record, link, want)
	}
}

// Several ingests share the partitions: whoever comes, goes or dies, every click is counted once, and soon.
func TestTallyIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tallying)
		record := w.init()
		w.awaitReady()
		links, want := spread(), int64(0)
		click := func() {
			want += 2
			for _, link := range links {
				w.clicks(2, link)
			}
		}
		click()
		w.allWithin(join, record, links, want)
		for i := range 3 {
			h := w.helper(fmt.Sprintf("127.0.0.1:%d", 8090+i))
			click() // into the middle of its arrival
			w.allWithin(join, record, links, want)
			click()
			w.allWithin(heal, record, links, want)
			switch i {
			case 0:
				click()
				h.stop()
				w.allWithin(heal, record, links, want)
			case 1:
				click()
				h.crash()
				click()
				// What the dead one owned waits for its session to end.
				w.allWithin(10*time.Second+join, record, links, want)
			default: // it stays until the end
			}
		}
		click()
		w.allWithin(heal, record, links, want)
	})
}

// What was folded when the service is told to end is in Redis when it has ended.
func TestTallyDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tallying)
		record := w.init()
		w.awaitReady()
		w.clicks(1, "x7Kp2")
		w.within(join, record, "x7Kp2", 1)
		for range 3 { // the first of them is applied at once, the others must wait a moment
			w.clicks(5, "x7Kp2")
			time.Sleep(10 * time.Millisecond)
		}
		w.stop()
		if err := <-w.ended; err != nil {
			t.Fatal(err)
		}
		w.within(0, record, "x7Kp2", 16)
	})
}

// A Redis that hangs keeps nobody from ending in time.
func TestTallyDrainsWithoutRedis(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tallying)
		record := w.init()
		w.awaitReady()
		w.clicks(1, "x7Kp2")
		w.within(join, record, "x7Kp2", 1)
		w.redis.Mute(true)
		w.clicks(1, "x7Kp2")
		time.Sleep(time.Second)
		began := time.Now()
		w.stop()
		if err := <-w.ended; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("it took %v to end", took)
		}
		w.redis.Mute(false)
	})
}

// Where nothing is tallied Redis is nobody's concern.
func TestTallyIsOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := ready(t, nil)
		w.clicks(3, "x7Kp2")
		time.Sleep(time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, address := range w.dialled {
			if strings.HasPrefix(address, totalstest.Addr) {
				t.Fatal("an ingest that does not tally has asked for Redis")
			}
		}
	})
}
