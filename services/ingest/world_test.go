package ingest

import (
	"bytes"
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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/linkpulse/linkpulse/pkg/contract"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/problem"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(childEnv); kind != "" {
		os.Exit(runChild(kind))
	}
	goleak.VerifyTestMain(m)
}

const (
	kafkaPort   = 9092
	serviceAddr = "127.0.0.1:8080"
	partitions  = 3
)

// world is a broker, an ingest and its clients on a network in memory. It lives in the synctest bubble of its test.
type world struct {
	t         *testing.T
	network   *kfake.VirtualNetwork
	broker    *kfake.Cluster
	redis     *totalstest.Redis
	cluster   *kafkalog.Cluster // of the test itself
	service   *Service
	registry  *prometheus.Registry
	logs      *observer.ObservedLogs
	client    *http.Client // every exchange is held against the contract
	closeIdle func()
	stop      context.CancelFunc
	ended     chan error // what Run returned

	mu      sync.Mutex // guards what follows
	away    bool       // nobody can connect to the broker
	conns   []net.Conn // to the broker
	dialled []string   // addresses that the ingest has asked for
}

// newWorld starts a broker and an ingest. The deployment record is not there yet.
func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := &world{t: t, network: &kfake.VirtualNetwork{}, ended: make(chan error, 1)}
	var err error
	if w.broker, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(kafkaPort), kfake.ListenFn(w.network.Listen)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.broker.Close)
	if w.cluster, err = kafkalog.Open(kafkalog.Config{Brokers: w.broker.ListenAddrs()}, kafkalog.WithDialer(w.network.DialContext)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.cluster.Close)
	transport := &http.Transport{DialContext: w.network.DialContext, ExpectContinueTimeout: time.Second}
	w.client = &http.Client{Transport: contract.OpenAPI(t).Transport(t, transport)}
	w.closeIdle = transport.CloseIdleConnections
	w.redis = totalstest.New(t)
	w.start(change)
	return w
}

// ready is newWorld with a deployment, once ingest is ready.
func ready(t *testing.T, change func(*Config)) *world {
	t.Helper()
	w := newWorld(t, change)
	w.init()
	w.awaitReady()
	return w
}

func (w *world) start(change func(*Config)) {
	w.t.Helper()
	cfg, err := LoadConfig([]string{"--kafka-brokers", w.broker.ListenAddrs()[0], "--addr", serviceAddr, "--admin-addr=", "--tally=off", "--auth=off"}, nil, io.Discard)
	if err != nil {
		w.t.Fatal(err)
	}
	if change != nil {
		change(&cfg)
	}
	listener, err := w.network.Listen("tcp", serviceAddr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.registry = prometheus.NewRegistry()
	core, logs := observer.New(zap.DebugLevel)
	w.logs = logs
	if w.service, err = New(cfg, Deps{Log: zap.New(core), Registry: w.registry, Listener: listener, Dial: w.dial}); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	w.stop = cancel
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		w.ended <- w.service.Run(ctx)
	}()
	w.t.Cleanup(func() {
		cancel()
		<-gone
		w.closeIdle()
		synctest.Wait()
	})
}

var errAway = errors.New("the broker is away")

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dialled = append(w.dialled, address)
	w.mu.Unlock()
	if address == totalstest.Addr {
		return w.redis.Dial(ctx, network, address)
	}
	w.mu.Lock()
	away := w.away
	w.mu.Unlock()
	if away {
		return nil, &net.OpError{Op: "dial", Net: network, Err: errAway}
	}
	conn, err := w.network.DialContext(ctx, network, address)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns = append(w.conns, conn)
	return conn, err
}

// setAway cuts ingest off from the broker, or lets it connect again.
func (w *world) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// init writes the deployment record, as `linkpulse init` does.
func (w *world) init() deployment.Record {
	w.t.Helper()
	want := deployment.Default()
	want.Partitions = partitions
	record, err := deployment.Init(w.t.Context(), w.cluster, want, deployment.Topics{Replicas: 1, MinInsync: 1, Retention: 7 * 24 * time.Hour})
	if err != nil {
		w.t.Fatal(err)
	}
	return record
}

func (w *world) awaitReady() {
	w.t.Helper()
	for range 600 {
		if status, _ := w.get("/readyz"); status == http.StatusOK {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	_, body := w.get("/readyz")
	w.t.Fatalf("not ready after a minute: %s", body)
}

func (w *world) get(path string) (status int, body string) {
	w.t.Helper()
	resp, err := w.client.Get("http://" + serviceAddr + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// answer is any answer to POST /v1/clicks.
type answer struct {
	status     int
	retryAfter string
	took       time.Duration

	Accepted int
	IDs      []string
	Code     string
	Index    *int
	Rule     string
	Results  []problem.Result
}

// String leaves out what a large batch would fill the page with.
func (a answer) String() string {
	return fmt.Sprintf("%d %s after %v: accepted %d, %v, %v", a.status, a.Code, a.took, a.Accepted, a.IDs[:min(3, len(a.IDs))], a.Results[:min(3, len(a.Results))])
}

// post sends clicks. It may be called from goroutines of the bubble.
func (w *world) post(body string, header ...string) (a answer, err error) {
	begun := time.Now()
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, "http://"+serviceAddr+"/v1/clicks", strings.NewReader(body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	a.status, a.retryAfter, a.took = resp.StatusCode, resp.Header.Get("Retry-After"), time.Since(begun)
	return a, json.NewDecoder(bytes.NewReader(content)).Decode(&a)
}

func (w *world) mustPost(status int, body string, header ...string) answer {
	w.t.Helper()
	a, err := w.post(body, header...)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.status != status {
		w.t.Fatalf("answer %v, want %d", a, status)
	}
	return a
}

// records returns what lies in the topic, read by a client that shares no code with ours.
func (w *world) records(topic string) []*kgo.Record {
	w.t.Helper()
	want := 0
	for p := range int32(partitions) {
		bounds, err := w.cluster.Bounds(w.t.Context(), topic, p)
		if err != nil {
			w.t.Fatal(err)
		}
		want += int(bounds.End - bounds.Start)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(w.broker.ListenAddrs()...), kgo.Dialer(w.network.DialContext), kgo.ConsumeTopics(topic))
	if err != nil {
		w.t.Fatal(err)
	}
	defer client.Close()
	var all []*kgo.Record
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for len(all) < want {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			w.t.Fatalf("%d of %d records: %v", len(all), want, err)
		}
		all = append(all, fetches.Records()...)
	}
	return all
}
