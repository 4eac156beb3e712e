package revocation_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/clickpb"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/revocation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a cluster in memory, and a client of it, in the synctest bubble of its test.
type world struct {
	t       *testing.T
	fake    *kfake.Cluster
	network *kfake.VirtualNetwork
	cluster *kafkalog.Cluster
}

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, network: &kfake.VirtualNetwork{}}
		var err error
		if w.fake, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9000), kfake.ListenFn(w.network.Listen)); err != nil {
			t.Fatal(err)
		}
		defer w.fake.Close()
		w.cluster = w.open()
		defer func() { w.cluster.Close() }()
		test(w)
	})
}

// open returns another client.
func (w *world) open() *kafkalog.Cluster {
	w.t.Helper()
	c, err := kafkalog.Open(kafkalog.Config{Brokers: w.fake.ListenAddrs()}, kafkalog.WithDialer(w.network.DialContext))
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// init creates the topics.
func (w *world) init() {
	w.t.Helper()
	topics := deployment.Topics{Replicas: 1, MinInsync: 1, Retention: deployment.DefaultRetention}
	if _, err := deployment.Init(w.t.Context(), w.cluster, deployment.Default(), topics); err != nil {
		w.t.Fatal(err)
	}
}

// put writes whatever to the control topic; nil is a tombstone.
func (w *world) put(key string, value []byte) {
	w.t.Helper()
	p, err := w.cluster.NewProducer(w.t.Context(), kafkalog.ProducerConfig{Topic: deployment.ControlTopic, Partitions: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	err = p.Append([]kafkalog.Message{{TimeMs: time.Now().UnixMilli(), Key: []byte(key), Value: value}})
	if err = errors.Join(err, p.Close(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// value is that of a record.
func value(before, until time.Time) []byte {
	m := &clickpb.Revocation{UntilMs: until.UnixMilli()}
	if !before.IsZero() {
		m.IssuedBeforeMs = before.UnixMilli()
	}
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

func (w *world) revoke(r revocation.Revocation) revocation.Revocation {
	w.t.Helper()
	r, err := revocation.Revoke(w.t.Context(), w.cluster, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) standing() []revocation.Revocation {
	w.t.Helper()
	all, err := revocation.Standing(w.t.Context(), w.cluster)
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// records is how many records the control topic was given.
func (w *world) records() int64 {
	return w.fake.PartitionInfo(deployment.ControlTopic, 0).HighWatermark
}

// gateway follows the revocations, and has sessions.
type gateway struct {
	w    *world
	list *revocation.List
	stop func()

	mu       sync.Mutex // guards what follows
	sessions map[string]*auth.Identity
	closed   map[string]time.Time
	calls    int
}

func (w *world) gateway(opts ...revocation.Option) *gateway {
	w.t.Helper()
	list, err := revocation.NewList(opts...)
	if err != nil {
		w.t.Fatal(err)
	}
	g := &gateway{w: w, list: list, sessions: map[string]*auth.Identity{}, closed: map[string]time.Time{}}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	cluster := w.open()
	go func() { done <- revocation.Follow(ctx, cluster, list, g.changed) }()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			w.t.Errorf("Follow = %v", err)
		}
		cluster.Close()
	})
	return g
}

func (g *gateway) changed(match func(*auth.Identity) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls++
	for name, id := range g.sessions {
		if match(id) {
			if !g.list.Revoked(id) {
				g.w.t.Errorf("%s is told of before the list has it", name)
			}
			delete(g.sessions, name)
			g.closed[name] = time.Now()
		}
	}
}

// join lets somebody in, under the name of the token.
func (g *gateway) join(ids ...*auth.Identity) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, id := range ids {
		g.sessions[id.TokenID] = id
	}
}

func (g *gateway) isClosed(id *auth.Identity) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, closed := g.closed[id.TokenID]
	return closed
}

// ready waits until the list is.
func (g *gateway) ready() {
	g.w.t.Helper()
	for range 1000 {
		if g.list.Ready() == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	g.w.t.Fatalf("not ready: %v", g.list.Ready())
}

// identity is of a token that is issued now, to the second.
func identity(token, subject string) *auth.Identity {
	now := time.Now().Truncate(time.Second)
	return &auth.Identity{TokenID: token, Subject: subject, IssuedAt: now, ExpiresAt: now.Add(time.Hour)}
}

func withRegistry(r prometheus.Registerer) revocation.Option { return revocation.WithMetrics(r) }

// live returns the keys that compaction would leave, in their order.
func (w *world) live() string {
	w.t.Helper()
	keys := map[string]bool{}
	_, err := w.cluster.ReadAll(w.t.Context(), deployment.ControlTopic, 0, func(b feed.Batch) error {
		var r fold.Record
		for b.Next(&r) {
			keys[string(r.Key)] = len(r.Value) > 0
		}
		return b.Err()
	})
	if err != nil {
		w.t.Fatal(err)
	}
	maps.DeleteFunc(keys, func(_ string, live bool) bool { return !live })
	return strings.Join(slices.Sorted(maps.Keys(keys)), " ")
}
