package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/clickpb"
	"github.com/linkpulse/linkpulse/pkg/contract"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(dashboardsEnv); spec != "" {
		if err := runDashboards(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// world is a broker and a gateway on a network in memory, in virtual time.
type world struct {
	t        *testing.T
	network  *kfake.VirtualNetwork
	fake     *kfake.Cluster
	cluster  *kafkalog.Cluster
	registry *prometheus.Registry
	service  *Service
	web      *http.Client
	contract *contract.HTTP
	redis    *totalstest.Redis // nil: totals come from the log
	log      *zap.Logger       // nil: silence
	change   func(*Config)     // of the gateway's configuration; nil: none

	stop context.CancelFunc
	done chan error
}

// addr is where the gateway listens.
const addr = "127.0.0.1:8081"

var record = deployment.Record{
	Topic: "clicks", Partitions: 3, Window: 1000, Within: time.Hour, FoldVersion: fold.Version, Epoch: 1,
}

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	inWorldWith(t, nil, test)
}

// inWorldWith lets prepare change the world before the gateway starts.
func inWorldWith(t *testing.T, prepare, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, network: &kfake.VirtualNetwork{}, registry: prometheus.NewRegistry(), done: make(chan error, 1)}
		fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(w.network.Listen))
		if err != nil {
			t.Fatal(err)
		}
		w.fake = fake
		w.cluster, err = kafkalog.Open(kafkalog.Config{Brokers: fake.ListenAddrs()}, kafkalog.WithDialer(w.network.DialContext))
		if err != nil {
			t.Fatal(err)
		}
		defer fake.Close()
		defer w.cluster.Close()
		defer w.end()
		if prepare != nil {
			prepare(w)
		}
		w.start()
		test(w)
	})
}

func (w *world) start() {
	w.t.Helper()
	listener, err := w.network.Listen("tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.log == nil {
		w.log = zap.NewNop()
	}
	w.service, err = New(w.config("gw-test"), Deps{Log: w.log, Registry: w.registry, Listener: listener, Dial: w.dial})
	if err != nil {
		w.t.Fatal(err)
	}
	w.web = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return w.network.DialContext(ctx, "tcp", addr)
	}}}
	w.contract = contract.OpenAPI(w.t)
	var ctx context.Context
	ctx, w.stop = context.WithCancel(w.t.Context())
	go func() { w.done <- w.service.Run(ctx) }()
}

func (w *world) config(name string) Config {
	cfg := Config{
		Name: name, Kafka: kafkalog.Config{Brokers: w.fake.ListenAddrs()},
		Heartbeat: 15 * time.Second, Drain: 5 * time.Second, Access: AccessConfig{Auth: authOff, MaxConnections: 100},
		Totals: totalsReplay, RestLinger: 10 * time.Second, RestLinks: 100, RestRequests: 10,
	}
	if w.redis != nil {
		cfg.Totals, cfg.Redis = totalsRedis, totalstest.Config()
	}
	if w.change != nil {
		w.change(&cfg)
	}
	return cfg
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if address == totalstest.Addr {
		return w.redis.Dial(ctx, network, address)
	}
	return w.network.DialContext(ctx, network, address)
}

// end stops the gateway and waits for it.
func (w *world) end() {
	w.t.Helper()
	if w.stop == nil {
		return
	}
	w.web.CloseIdleConnections()
	w.stop()
	w.stop = nil
	if err := <-w.done; err != nil {
		w.t.Error(err)
	}
}

// init writes the deployment record.
func (w *world) init(r deployment.Record) {
	w.t.Helper()
	topics := deployment.Topics{Replicas: 1, MinInsync: 1, Retention: 7 * 24 * time.Hour}
	if _, err := deployment.Init(w.t.Context(), w.cluster, r, topics); err != nil {
		w.t.Fatal(err)
	}
}

// awaitReady waits until /readyz says yes.
func (w *world) awaitReady() {
	w.t.Helper()
	for range 200 {
		if status, _ := w.get("/readyz"); status == http.StatusOK {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	_, body := w.get("/readyz")
	w.t.Fatalf("not ready after 10 s: %s", body)
}

func (w *world) get(path string) (status int, body string) {
	w.t.Helper()
	resp, err := w.web.Get("http://" + addr + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	w.contract.ValidateResponse(w.t, resp.Request, resp)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// clicks appends n clicks of a link, each with an id of its own, as ingest does.
func (w *world) clicks(link string, n int) {
	w.t.Helper()
	p, err := w.cluster.NewProducer(w.t.Context(), kafkalog.ProducerConfig{Topic: record.Topic, Partitions: record.Partitions})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if err := p.Close(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}()
	var msgs []kafkalog.Message
	for range n {
		id, err := click.NewID()
		if err != nil {
			w.t.Fatal(err)
		}
		r := click.Record{ID: id}
		msgs = append(msgs, kafkalog.Message{
			Partition: click.Partition(link, record.Partitions), TimeMs: time.Now().UnixMilli(),
			Key: []byte(link), Value: r.Append(nil),
		})
	}
	if err := p.Append(msgs); err != nil {
		w.t.Fatal(err)
	}
}

// dashboard is a client with an inbox.
type dashboard struct {
	t    *testing.T
	conn *websocket.Conn

	mu       sync.Mutex
	messages []wire.ServerMessage
	counts   map[string]int64
	err      error
	done     chan struct{}
}

func (w *world) connect() *dashboard {
	w.t.Helper()
	conn, resp, err := websocket.Dial(w.t.Context(), "ws://"+addr+"/ws", &websocket.DialOptions{HTTPClient: w.web})
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
	conn.SetReadLimit(wire.MaxServerMessage)
	d := &dashboard{t: w.t, conn: conn, counts: map[string]int64{}, done: make(chan struct{})}
	go d.read(context.WithoutCancel(w.t.Context()))
	synctest.Wait()
	return d
}

// refused tries to connect and returns how that was refused.
func (w *world) refused() (status int, detail string) {
	w.t.Helper()
	conn, resp, err := websocket.Dial(w.t.Context(), "ws://"+addr+"/ws", &websocket.DialOptions{HTTPClient: w.web})
	if err == nil {
		_ = conn.CloseNow()
		w.t.Fatal("the gateway lets a dashboard in")
	}
	if resp == nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	w.contract.ValidateResponse(w.t, resp.Request, resp)
	var p struct{ Code, Detail string }
	if err := json.NewDecoder(resp.Body).Decode(&p); err != nil {
		w.t.Fatal(err)
	}
	if p.Code != "unavailable" || resp.Header.Get("Retry-After") != "1" {
		w.t.Fatalf("problem %+v, Retry-After %q", p, resp.Header.Get("Retry-After"))
	}
	return resp.StatusCode, p.Detail
}

func (d *dashboard) read(ctx context.Context) {
	defer close(d.done)
	for {
		_, b, err := d.conn.Read(ctx)
		if err != nil {
			d.mu.Lock()
			d.err = err
			d.mu.Unlock()
			_ = d.conn.CloseNow()
			return
		}
		m, err := wire.DecodeServer(b)
		if err != nil {
			d.t.Errorf("%v: %s", err, b)
		}
		d.mu.Lock()
		d.messages = append(d.messages, m)
		switch m := m.(type) {
		case wire.Subscribed:
			for _, l := range m.Links {
				d.counts[l.Link] = l.Count
			}
		case wire.Update:
			if d.counts[m.Link]+m.Delta != m.Count {
				d.t.Errorf("%s: had %d, %+v", m.Link, d.counts[m.Link], m)
			}
			d.counts[m.Link] = m.Count
		}
		d.mu.Unlock()
	}
}

func (d *dashboard) subscribe(links ...string) {
	d.t.Helper()
	m := wire.ClientMessage{Type: wire.TypeSubscribe, Links: links, IntervalMs: wire.KeepInterval}
	if err := d.conn.Write(d.t.Context(), websocket.MessageText, wire.AppendClient(nil, m)); err != nil {
		d.t.Fatal(err)
	}
}

// await waits until a link has a count, for a second at most.
func (d *dashboard) await(link string, want int64) {
	d.t.Helper()
	var got int64
	var known bool
	for range 100 {
		synctest.Wait()
		d.mu.Lock()
		got, known = d.counts[link]
		d.mu.Unlock()
		if known && got == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.t.Fatalf("%s: %d (known: %v) after a second, want %d", link, got, known, want)
}

func first[M wire.ServerMessage](d *dashboard) (m M, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, message := range d.messages {
		if m, ok = message.(M); ok {
			return m, true
		}
	}
	return m, false
}

// The path of a click: a record in the log becomes an update, and a second gateway's view is the same as the first's.
func TestClickToDashboard(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init(record)
		w.awaitReady()
		w.clicks("x7Kp2", 5)
		d := w.connect()
		ready, ok := first[wire.Ready](d)
		if !ok || ready.Gateway != "gw-test" || ready.Epoch != 1 || ready.HeartbeatMs != 15_000 || ready.Protocol != wire.Protocol {
			w.t.Fatalf("ready %+v", ready)
		}
		d.subscribe("x7Kp2", "a3bZ9")
		d.await("x7Kp2", 5)
		d.await("a3bZ9", 0)
		w.clicks("a3bZ9", 2)
		d.await("a3bZ9", 2)
		w.clicks("x7Kp2", 1)
		d.await("x7Kp2", 6)
		time.Sleep(15 * time.Second)
		beat, ok := first[wire.Heartbeat](d)
		if !ok || beat.CompleteTo == 0 || beat.LagMs > 2000 {
			w.t.Fatalf("heartbeat %+v", beat)
		}
	})
}

// Until there is a deployment record the gateway says that it waits for it, and lets nobody in.
func TestWaitsForTheDeployment(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		time.Sleep(2 * time.Second)
		if status, body := w.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "deployment") {
			w.t.Fatalf("/readyz %d %s", status, body)
		}
		if status, _ := w.get("/livez"); status != http.StatusOK {
			w.t.Fatalf("/livez %d", status)
		}
		if status, detail := w.refused(); status != http.StatusServiceUnavailable || !strings.Contains(detail, deployment.ControlTopic) {
			w.t.Fatalf("connecting: %d %s", status, detail)
		}
		w.init(record)
		w.awaitReady()
	})
}

// A stop sends dashboards away with goodbye and 1012, within the drain, and refuses new ones meanwhile.
func TestDrain(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init(record)
		w.awaitReady()
		var all []*dashboard
		for range 20 {
			d := w.connect()
			d.subscribe("x7Kp2")
			all = append(all, d)
		}
		for _, d := range all {
			d.await("x7Kp2", 0)
		}
		start := time.Now()
		w.stop()
		synctest.Wait()
		if status, body := w.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "stopping") {
			w.t.Fatalf("/readyz while draining: %d %s", status, body)
		}
		if status, detail := w.refused(); status != http.StatusServiceUnavailable || !strings.Contains(detail, "stopping") {
			w.t.Fatalf("connecting while draining: %d %s", status, detail)
		}
		for _, d := range all {
			<-d.done
			bye, ok := first[wire.Goodbye](d)
			if !ok || bye.Reason != wire.ReasonDrain || websocket.CloseStatus(d.err) != websocket.StatusServiceRestart {
				w.t.Fatalf("goodbye %+v, end %v", bye, d.err)
			}
		}
		w.end()
		if took := time.Since(start); took > 6*time.Second {
			w.t.Fatalf("stopping took %v", took)
		}
	})
}

// A new epoch sends everybody away and forgets every count; whoever comes back is told those of the new epoch.
func TestNewEpoch(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init(record)
		w.awaitReady()
		w.clicks("x7Kp2", 3)
		d := w.connect()
		d.subscribe("x7Kp2")
		d.await("x7Kp2", 3)
		next := record
		next.Epoch = 2
		w.rewrite(next)
		<-d.done
		bye, ok := first[wire.Goodbye](d)
		if !ok || bye.Reason != wire.ReasonEpoch || websocket.CloseStatus(d.err) != websocket.StatusServiceRestart {
			w.t.Fatalf("goodbye %+v, end %v", bye, d.err)
		}
		time.Sleep(3 * time.Second)
		w.awaitReady()
		d = w.connect()
		if ready, _ := first[wire.Ready](d); ready.Epoch != 2 {
			w.t.Fatalf("ready %+v, want epoch 2", ready)
		}
		d.subscribe("x7Kp2")
		d.await("x7Kp2", 3)
		w.clicks("x7Kp2", 1)
		d.await("x7Kp2", 4)
	})
}

// A record that contradicts the one that is counted by ends the service: it would count something else than others.
func TestContradictionEndsTheService(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init(record)
		w.awaitReady()
		changed := record
		changed.Window = 2000
		w.rewrite(changed)
		if err := <-w.done; !errors.Is(err, deployment.ErrContradiction) {
			w.t.Fatalf("Run: %v", err)
		}
		w.done <- nil
		w.web.CloseIdleConnections()
	})
}

// rewrite writes a deployment record whatever stands, as an operator's tool of a later version might.
func (w *world) rewrite(r deployment.Record) {
	w.t.Helper()
	value, err := proto.Marshal(&clickpb.Deployment{
		Topic: r.Topic, Partitions: uint32(r.Partitions), Window: r.Window, WithinMs: r.Within.Milliseconds(),
		FoldVersion: uint32(r.FoldVersion), Epoch: r.Epoch, CreatedAtMs: time.Now().UnixMilli(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := w.cluster.NewProducer(w.t.Context(), kafkalog.ProducerConfig{Topic: deployment.ControlTopic, Partitions: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	msgs := []kafkalog.Message{{TimeMs: time.Now().UnixMilli(), Key: []byte(deployment.Key), Value: value}}
	if err := errors.Join(p.Append(msgs), p.Close(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}
