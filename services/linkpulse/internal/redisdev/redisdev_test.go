package redisdev

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// It speaks well enough for everything that the product asks of a Redis, and leaves nothing behind.
func TestServes(t *testing.T) {
	t.Parallel()
	r, err := Start(Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	store, err := totals.Open(totals.Config{Addrs: []string{r.Addr()}, Prefix: "linkpulse", Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	epoch := store.Epoch(1, totals.Rule{Window: 1, Within: time.Hour, FoldVersion: 1})
	minute := time.Now().Unix() / 60
	batch := &totals.Batch{
		From: totals.None, To: 1, Links: []totals.LinkDelta{{Link: "a", Count: 1}},
		Minutes: []totals.MinuteDelta{{Minute: minute, Links: []totals.LinkDelta{{Link: "a", Count: 1}}}},
	}
	if err := epoch.Apply(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	h, err := epoch.History(t.Context(), 0, "a", minute, minute+1)
	if err != nil || h.Minutes[0].Count != 1 {
		t.Fatalf("%+v, %v", h, err)
	}
	d, err := epoch.Dump(t.Context(), 0)
	if err != nil || d.Links["a"].Total.Count != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	r, err := Start(Config{Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if other, err := Start(Config{Addr: r.Addr()}); err == nil {
		other.Close()
		t.Fatal("two at one address")
	}
}

// Minutes expire while it runs.
func TestExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := Start(Config{Listen: func(string, string) (net.Listener, error) { return silent{make(chan struct{})}, nil }})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		r.Server().HSet("minute", "c:a", "1")
		r.Server().SetTTL("minute", 10*time.Second)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if !r.Server().Exists("minute") {
			t.Fatal("gone before its time")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if r.Server().Exists("minute") {
			t.Fatal("still there")
		}
	})
}

// silent is a listener to which nobody connects.
type silent struct{ closed chan struct{} }

func (s silent) Accept() (net.Conn, error) {
	<-s.closed
	return nil, net.ErrClosed
}

func (s silent) Close() error {
	close(s.closed)
	return nil
}

func (silent) Addr() net.Addr { return &net.TCPAddr{} }
