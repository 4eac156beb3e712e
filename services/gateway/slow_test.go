package gateway

import (
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// Five hundred dashboards that never read cost what they cost when their sockets were full, however much changes: nothing
// queues for them, none is cut for being slow, one that reads at last is told what is so now, and one that reads all the
// time beside them is told every change. When they have gone, so have their goroutines and descriptors.
func TestNeverReading(t *testing.T) { //nolint:paralleltest // it counts what there is in the process
	if testing.Short() {
		t.Skip("it takes twenty seconds of real time")
	}
	const (
		slow = 500
		most = 1000    // rounds until a socket is full, on any kernel
		more = 100     // rounds after that
		each = 6 << 10 // bytes: a goroutine that waits, and the frames that it waits with
	)
	b := newBench(t, time.Hour) // silence is not what this is about
	reader := b.joined(t, 0)
	before, descriptors := goroutines(), descriptors(t)
	conns := make([]*rawClient, slow)
	for i := range conns {
		conns[i] = b.joined(t, 16<<10)
	}
	rounds, full := 0, func() float64 { return b.metric("linkpulse_gateway_sessions_blocked") }
	round := func() {
		rounds++
		b.counts.addAll()
		reader.until(t, int64(rounds))
	}
	idle := inUse()
	for full() < slow {
		if round(); rounds == most {
			t.Fatalf("%v of %d sockets are full after %d rounds", full(), slow, rounds)
		}
	}
	stuck, at := inUse(), rounds
	for range more {
		round()
	}
	cost, growth := (stuck-idle)/slow, (inUse()-stuck)/slow
	t.Logf("full after %d rounds of %d updates, which cost %d bytes each; %d more rounds cost %d", at, benchSubscriptions, cost, more, growth)
	if !raceEnabled && (cost > each || growth > each/16) {
		t.Errorf("one that never reads costs more than %d bytes, or what it costs grows", each)
	}
	if n := b.ws.Open(); n != slow+1 {
		t.Fatalf("%d connections, want %d: somebody was cut for being slow", n, slow+1)
	}
	if n := conns[0].until(t, int64(rounds)); n > (at+5)*benchSubscriptions {
		t.Errorf("one that reads at last is told %d updates, although its socket was full after %d", n, at*benchSubscriptions)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	for range 1000 {
		if b.ws.Open() == 1 && goroutines() <= before && descriptorsNow(t) <= descriptors {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if n, d := goroutines(), descriptorsNow(t); n > before || d > descriptors {
		t.Errorf("%d goroutines and %d descriptors, before %d and %d", n, d, before, descriptors)
	}
	_ = reader.Close()
}

// descriptors returns how many there are, and skips the test where that cannot be told.
func descriptors(t *testing.T) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: descriptors are counted in /proc, which there is on Linux alone")
	}
	return descriptorsNow(t)
}

func descriptorsNow(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// joined connects a dashboard that is subscribed to the links of the first group; its receive buffer is as small as it may
// be if a size is given.
func (b *bench) joined(t *testing.T, receive int) *rawClient {
	t.Helper()
	c, err := dialRaw(b.addr, "", wayNone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if receive > 0 {
		if err := c.Conn.(*net.TCPConn).SetReadBuffer(receive); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.subscribe(benchLinks[:benchSubscriptions]); err != nil {
		t.Fatal(err)
	}
	return c
}

// until reads until every link has a count, and returns how many updates that took. Each must follow the one before.
func (c *rawClient) until(t *testing.T, count int64) (updates int) {
	t.Helper()
	if c.told == nil {
		c.told = map[string]int64{}
	}
	left := 0
	for _, link := range benchLinks[:benchSubscriptions] {
		if c.told[link] < count {
			left++
		}
	}
	_ = c.SetReadDeadline(time.Now().Add(hang))
	for left > 0 {
		op, payload, err := c.frame()
		if err != nil {
			t.Fatalf("waiting for a count of %d: %v", count, err)
		}
		if op != 1 {
			continue
		}
		m, err := wire.DecodeServer(payload)
		if err != nil {
			t.Fatal(err)
		}
		u, ok := m.(wire.Update)
		if !ok {
			continue
		}
		updates++
		if c.told[u.Link]+u.Delta != u.Count {
			t.Fatalf("had %d, told %+v", c.told[u.Link], u)
		}
		if c.told[u.Link] < count && u.Count >= count {
			left--
		}
		c.told[u.Link] = u.Count
	}
	return updates
}
