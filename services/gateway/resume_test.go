package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
)

// addrB is where the second gateway listens.
const addrB = "127.0.0.1:8082"

// gate is a way through the network that can be shut.
type gate struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex // guards what follows
	shut  bool
	conns map[net.Conn]struct{}
}

func newGate(dial func(context.Context, string, string) (net.Conn, error)) *gate {
	return &gate{dial: dial, conns: make(map[net.Conn]struct{})}
}

func (g *gate) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut {
		return nil, errors.New("the gate is shut")
	}
	conn, err := g.dial(ctx, network, address)
	if err == nil {
		g.mu.Lock()
		g.conns[conn] = struct{}{}
		g.mu.Unlock()
	}
	return conn, err
}

// set shuts the gate, which breaks every connection through it, or opens it.
func (g *gate) set(shut bool) {
	g.mu.Lock()
	g.shut = shut
	var broken map[net.Conn]struct{}
	if shut {
		broken, g.conns = g.conns, make(map[net.Conn]struct{})
	}
	g.mu.Unlock()
	for conn := range broken {
		_ = conn.Close()
	}
}

// fleet is two gateways on one log and one Redis, and a viewer that reaches either or both.
type fleet struct {
	*world
	kafkaB *gate // of the second gateway
	reach  map[string]*gate
	viewer *client.Watcher
	sums   *totals.Store

	mu   sync.Mutex // guards seen
	seen []client.Update
}

// link is what all traces are about.
const link = "x7Kp2"

func inFleet(t *testing.T, test func(f *fleet)) {
	t.Helper()
	f := &fleet{}
	prepare := func(w *world) {
		w.redis = totalstest.New(w.t)
		f.world, f.sums = w, w.redis.Open(w.t)
		w.init(record)
		f.tally(-1)
	}
	inWorldWith(t, prepare, func(*world) {
		defer f.startB()()
		f.awaitReady()
		f.startViewer()
		defer f.viewer.Close()
		test(f)
	})
}

// startB starts the second gateway and returns how to stop it.
func (f *fleet) startB() (stop func()) {
	f.t.Helper()
	listener, err := f.network.Listen("tcp", addrB)
	if err != nil {
		f.t.Fatal(err)
	}
	f.kafkaB = newGate(f.network.DialContext)
	b, err := New(f.config("gw-b"), Deps{
		Log: zap.NewNop(), Registry: prometheus.NewRegistry(), Listener: listener,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == totalstest.Addr {
				return f.redis.Dial(ctx, network, address)
			}
			return f.kafkaB.Dial(ctx, network, address)
		},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	for _, ready := b.health.Check(); !ready; _, ready = b.health.Check() {
		time.Sleep(50 * time.Millisecond)
	}
	return func() {
		f.kafkaB.set(false)
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	}
}

// startViewer watches the link at the first gateway.
func (f *fleet) startViewer() {
	f.t.Helper()
	f.reach = map[string]*gate{addr: newGate(f.network.DialContext), addrB: newGate(f.network.DialContext)}
	f.reach[addrB].set(true)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return f.reach[address].Dial(ctx, network, address)
	}}
	var err error
	f.viewer, err = client.NewWatcher([]string{"http://" + addr, "http://" + addrB},
		client.WatchOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		f.t.Fatal(err)
	}
	go func() {
		for u, err := range f.viewer.Updates(f.t.Context()) {
			if err != nil {
				f.t.Errorf("the viewer was stopped: %v", err)
				return
			}
			f.mu.Lock()
			f.seen = append(f.seen, u)
			f.mu.Unlock()
		}
	}()
	if err := f.viewer.Add(link); err != nil {
		f.t.Fatal(err)
	}
}

// moveTo sends the viewer to the gateway at an address.
func (f *fleet) moveTo(address string) {
	for a, g := range f.reach {
		g.set(a != address)
	}
	for range 300 {
		time.Sleep(100 * time.Millisecond)
		if s := f.viewer.State(); (s.Phase == client.PhaseLive || s.Phase == client.PhaseStale) && s.URL == "http://"+address+"/ws" {
			time.Sleep(200 * time.Millisecond) // `subscribed`
			return
		}
	}
	f.t.Fatalf("the viewer did not reach %s: %+v", address, f.viewer.State())
}

// tally brings the totals on to offset to of each partition, or to the end.
func (f *fleet) tally(to int64) {
	f.t.Helper()
	f.tallyEpoch(record, to)
}

func (f *fleet) tallyEpoch(r deployment.Record, to int64) {
	f.t.Helper()
	e := f.sums.Epoch(r.Epoch, totals.RuleOf(r.Fold()))
	for p := range r.Partitions {
		if err := totalstest.Tally(f.t.Context(), e, f.cluster.Source(r.Topic), r.Fold(), int32(p), to); err != nil {
			f.t.Fatal(err)
		}
	}
}

// shows waits for the viewer to show a count, two seconds at most, and checks that it never showed less than before.
func (f *fleet) shows(count, seq int64) {
	f.t.Helper()
	var u client.Update
	for range 200 {
		synctest.Wait()
		if u, _ = f.viewer.Get(link); u.Known && u.Count == count && u.Seq >= seq {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if u.Count != count || u.Seq < seq {
		f.t.Fatalf("the viewer shows %d@%d (known: %v, %v) after 2 s, want %d@%d", u.Count, u.Seq, u.Known, u.Status, count, seq)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var last client.Update
	for _, u := range f.seen {
		if u.Known && u.Epoch == last.Epoch && u.Count < last.Count {
			f.t.Fatalf("the viewer showed %d@%d and then %d@%d", last.Count, last.Seq, u.Count, u.Seq)
		}
		if u.Known {
			last = u
		}
	}
	if n := f.viewer.Stats().Violations; n != 0 {
		f.t.Fatalf("%d deltas did not add up", n)
	}
}

// ask asks the first gateway over HTTP.
func (f *fleet) ask(path string) (count, seq int64) {
	f.t.Helper()
	status, body := f.get(path)
	var a struct{ Count, Seq int64 }
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != http.StatusOK {
		f.t.Fatalf("%s: %d %s", path, status, body)
	}
	return a.Count, a.Seq
}

// Rule 22. A gateway that lags answers a resume with an older number, which is not shown; when it has caught up, what it
// says is.
func TestResumeOnAGatewayThatLags(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		f.clicks(link, 3)
		f.tally(-1)
		f.shows(3, 3)
		f.kafkaB.set(true)
		f.clicks(link, 2)
		f.shows(5, 5)
		f.moveTo(addrB)
		f.shows(5, 5)
		if n := f.viewer.Stats().Discarded; n == 0 {
			t.Fatal("nothing was discarded: the second gateway did not lag")
		}
		f.kafkaB.set(false)
		f.clicks(link, 1)
		f.shows(6, 6)
	})
}

// Rules 17 and 21. The totals are ahead of the gateway: the count is theirs and true at their place, and the records
// below it are not added again.
func TestResumeOnAGatewayBehindTheTotals(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		f.shows(0, 0)
		f.kafkaB.set(true)
		f.clicks(link, 2)
		f.tally(-1)
		f.shows(2, 2)
		f.moveTo(addrB) // at place 0, with totals of place 2
		f.shows(2, 2)
		if n := f.viewer.Stats().Discarded; n != 0 {
			t.Fatalf("%d numbers were discarded: the second gateway told the totals with a place of its own", n)
		}
		f.kafkaB.set(false)
		f.clicks(link, 2)
		f.shows(4, 4)
	})
}

// Rule 23. The totals roll back to before what the viewer shows, and it goes to a gateway that knows no better: 0@0 is
// not shown. Then three clicks come at once: count 3, delta 3, which is right on the wire and does not add up to the 1
// on the screen.
func TestDeltasAfterARollback(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		f.shows(0, 0)
		old := f.redis.Backup()
		f.kafkaB.set(true)
		f.clicks(link, 1)
		f.tally(-1)
		f.shows(1, 1)
		old()
		f.moveTo(addrB)
		f.shows(1, 1)
		if n := f.viewer.Stats().Discarded; n != 1 {
			t.Fatalf("%d numbers were discarded, want 0@0", n)
		}
		f.clicks(link, 2)
		f.kafkaB.set(false)
		f.shows(3, 3)
		f.tally(-1)
		f.moveTo(addr)
		f.shows(3, 3)
	})
}

// Rules 20, 22 and 25. A new epoch has totals of its own: everybody is sent away and starts afresh, a zombie that writes
// to the totals of the old epoch is read by nobody, and a gateway that has not heard of the new epoch is not believed.
func TestNewEpochOfTheTotals(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		f.clicks(link, 3)
		f.tally(-1)
		f.shows(3, 3)
		f.kafkaB.set(true) // it will not hear of the new epoch
		next := record
		next.Epoch = 2
		f.tallyEpoch(next, -1)
		f.rewrite(next)
		time.Sleep(5 * time.Second)
		f.awaitReady()
		f.shows(3, 3)
		if u, _ := f.viewer.Get(link); u.Epoch != 2 {
			t.Fatalf("the viewer shows epoch %d, want 2", u.Epoch)
		}
		f.clicks(link, 1)
		f.tally(-1) // of epoch 1
		f.shows(4, 4)
		f.reach[addr].set(true)
		f.reach[addrB].set(false)
		time.Sleep(20 * time.Second)
		if u, _ := f.viewer.Get(link); u.Epoch != 2 || u.Count != 4 || f.viewer.Stats().OldEpochs == 0 {
			t.Fatalf("shows %d of epoch %d, refused %d times: want what epoch 2 says", u.Count, u.Epoch, f.viewer.Stats().OldEpochs)
		}
		f.kafkaB.set(false)
		time.Sleep(30 * time.Second)
		f.shows(4, 4)
		if s := f.viewer.State(); s.URL != "http://"+addrB+"/ws" || s.Epoch != 2 {
			t.Fatalf("state %+v, want the second gateway in epoch 2", s)
		}
	})
}

// A link whose life is longer than the ring: its count comes from Redis, and the page, the REST interface and its history
// say the same.
func TestTotalsFromRedis(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		for range 4 {
			f.clicks(link, 900)
		}
		f.tally(-1)
		f.clicks(link, 7) // these are in the ring alone
		f.shows(3607, 3607)
		if count, seq := f.ask("/links/" + link + "/clicks"); count != 3607 || seq != 3607 {
			t.Fatalf("REST says %d@%d", count, seq)
		}
		_, body := f.get("/links/" + link + "/clicks?history=5m&step=5m")
		var a struct {
			Seq     int64
			History struct {
				Seq    int64
				Counts []int64
			}
		}
		if err := json.Unmarshal([]byte(body), &a); err != nil || a.History.Seq != a.Seq || fmt.Sprint(a.History.Counts) != "[3607]" {
			t.Fatalf("history %s, %v", body, err)
		}
		var batch struct {
			Links []struct {
				Link       string
				Count, Seq int64
			}
		}
		_, body = f.get("/v1/counts?links=" + link + ",nobody")
		if err := json.Unmarshal([]byte(body), &batch); err != nil || len(batch.Links) != 2 || batch.Links[0].Link != link ||
			batch.Links[0].Count != 3607 || batch.Links[0].Seq != 3607 || batch.Links[1].Count != 0 {
			t.Fatalf("batch %s, %v", body, err)
		}
	})
}

// Redis is away when a gateway starts: it is ready all the same, says of links that they are syncing, and has every count
// within two seconds of the return.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	prepare := func(w *world) {
		w.redis = totalstest.New(w.t)
		w.init(record)
		w.redis.Away(true)
	}
	inWorldWith(t, prepare, func(w *world) {
		w.awaitReady()
		w.clicks(link, 3)
		d := w.connect()
		d.subscribe(link)
		time.Sleep(5 * time.Second)
		if status, body := w.get("/links/" + link + "/clicks"); status != http.StatusServiceUnavailable {
			t.Fatalf("REST answers %d %s", status, body)
		}
		if status, body := w.get("/v1/counts?links=" + link); status != http.StatusOK || body != `{"epoch":1,"links":[],"denied":[],"syncing":["`+link+`"]}`+"\n" {
			t.Fatalf("REST answers %d %s", status, body)
		}
		if status, body := w.get("/readyz"); status != http.StatusOK {
			t.Fatalf("unready for Redis: %s", body)
		}
		w.redis.Away(false)
		f := &fleet{world: w, sums: w.redis.Open(w.t)}
		f.tally(-1)
		time.Sleep(time.Second) // await has the other one
		d.await(link, 3)
		if count, _ := f.ask("/links/" + link + "/clicks"); count != 3 {
			t.Fatalf("REST says %d", count)
		}
	})
}

// What is at no path is a problem that names those that there are.
func TestNoSuchPath(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		for path, want := range map[string]int{"/links/a": http.StatusNotFound, "/v1/clicks": http.StatusNotFound} {
			resp, err := w.web.Get("http://" + addr + path)
			if err != nil {
				t.Fatal(err)
			}
			var p struct{ Code string }
			if err := errors.Join(json.NewDecoder(resp.Body).Decode(&p), resp.Body.Close()); err != nil || resp.StatusCode != want || p.Code != "not_found" {
				t.Fatalf("%s: %d %+v, %v", path, resp.StatusCode, p, err)
			}
		}
		resp, err := w.web.Post("http://"+addr+"/v1/counts", "application/json", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
			t.Fatalf("POST: %d, %v", resp.StatusCode, err)
		}
	})
}
