package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/broker"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/simnet"
	"github.com/linkpulse/linkpulse/services/linkpulse/stack"
)

// The lives that are simulated: a while of load during which things break, then a time to heal, in virtual time.
const (
	simLoad  = 40 * time.Second
	simQuiet = 60 * time.Second
	// simRecovery is how soon after the last fault clicks must be taken again: a request that went into a black hole is
	// given up after five seconds.
	simRecovery = 8 * time.Second
	// simHealed is how soon after that every dashboard must be right.
	simHealed = 2 * time.Second
	// simRepeat is how often a seed that failed is run again to meet the same order of events. A life takes about a second.
	simRepeat = 50
	// simHeartbeat is short, so that a dead connection is found in the quiet time, twice over.
	simHeartbeat = 5 * time.Second
)

func TestSimulation(t *testing.T) {
	t.Parallel()
	first, last := uint64(1), uint64(*seedCount)
	if testing.Short() {
		last = min(last, 10)
	}
	if *onlySeed != 0 {
		first, last = *onlySeed, *onlySeed
	}
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

// world is the system under simulation and everybody around it.
type world struct {
	t        *testing.T
	rng      *rand.Rand
	net      *simnet.Network
	stack    *stack.Stack
	log      *lines
	recorder history.Recorder

	gatewayArgs []string // more of them

	epoch      atomic.Int64 // that stands
	links      []string     // watched by dashboards
	quiet      []string     // watched by passers-by only
	strange    []string     // that nobody ever clicks
	issuer     *issuer
	operator   *kafkalog.Cluster // of whoever revokes tokens; nil where nobody does
	dead       graveyard
	started    chan string // gateways that are about to start, by their URL; bound 8, those beyond are left in peace
	dashboards []*dashboard
	people     sync.WaitGroup // dashboards
	stopPeople context.CancelFunc

	faults     sync.WaitGroup // faults that take a while
	restarting chan struct{}  // holds one while a part is being restarted
	mu         sync.Mutex     // guards heals
	heals      []func()       // end what would otherwise go on

	slowed map[string]bool // dashboards that stopped reading at some time
	calm   atomic.Bool     // set once everything is healed: nobody changes their mind any more
	healed []history.Event // until shortly after that
}

// record is the deployment of the simulation. The window is small enough to move on while a run lasts, and wide enough
// for the visitors' retries.
func record() deployment.Record {
	return deployment.Record{
		Topic: "clicks", Partitions: 3, Window: 500, Within: time.Hour, FoldVersion: fold.Version, Epoch: 1,
	}
}

func simulate(t *testing.T, seed uint64) {
	w := newWorld(t, seed)
	defer func() {
		if t.Failed() {
			w.explain(seed)
		}
	}()
	w.start()
	w.watch()
	w.observe()
	w.intrude()
	w.breakThings(w.visit())
	w.heal()
	log := w.stop()
	violations, err := history.Check(w.recorder.Events(), log)
	if err != nil {
		t.Error(err)
	}
	if err := history.Error(violations); err != nil {
		t.Error(err)
	}
	w.judgeHealed(log)
	w.notVacuous()
}

// judgeHealed holds that the dashboards were right soon after the last fault, and not only in the end. Passers-by have
// just come or are leaving, and one that does not read for a while may do so still.
func (w *world) judgeHealed(log history.Log) {
	staying := slices.DeleteFunc(w.healed, func(e history.Event) bool {
		return strings.HasPrefix(e.Client, "passer-by") || w.slowed[e.Client]
	})
	violations, err := history.Check(staying, log)
	if err != nil {
		w.t.Error(err)
	}
	if err := history.Error(violations); err != nil {
		w.t.Errorf("%v after the last click: %v", simHealed, err)
	}
}

// start brings the system up on the network in memory.
func (w *world) start() {
	host := w.net.Host("stack")
	cfg := stack.Config{
		Log: zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), w.log, zap.DebugLevel)),
		Net: stack.Network{Listen: host.Listen, Dial: host.Dial, DialAs: func(part string) stack.Dialer {
			return w.net.Host(part).Dial
		}},
		Broker:       broker.Config{Nodes: 3},
		Deployment:   record(),
		RedisAddr:    "127.0.0.1:6379",
		IngestAddr:   "127.0.0.1:8080",
		TallyAddrs:   []string{"127.0.0.1:8079"},
		GatewayAddrs: []string{"127.0.0.1:8081", "127.0.0.1:8082"},
		Heartbeat:    simHeartbeat,
		Drain:        2 * time.Second,
		GatewayArgs:  slices.Concat(w.issuer.settings, w.gatewayArgs),
	}
	s, err := stack.Start(w.t.Context(), cfg)
	if err != nil {
		w.t.Fatalf("starting the system: %v", err)
	}
	w.stack = s
	// From here on nothing takes no time at all, so that what can happen between two steps of a part does.
	w.net.Inject(simnet.Fault{Delay: w.seconds(0.002), Jitter: time.Millisecond + w.seconds(0.01)})
}

// watch opens dashboards, some of them on slow lines, and lets passers-by in.
func (w *world) watch() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.stopPeople = cancel
	for i := range 4 {
		d := w.newDashboard(fmt.Sprint("dashboard-", i), w.rng)
		w.dashboards = append(w.dashboards, d)
		later := time.Duration(w.rng.Int64N(int64(simLoad / 2)))
		w.people.Go(func() {
			pause(ctx, later)
			d.run(ctx)
		})
	}
	for i := range 2 {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
		w.people.Go(func() { w.passBy(ctx, fmt.Sprint("passer-by-", i), rng) })
	}
}

func (w *world) newDashboard(name string, rng *rand.Rand) *dashboard {
	host := w.net.Host(name)
	host.Buffer = 512 << rng.IntN(6)
	links := append([]string(nil), w.links...)
	rng.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
	d := newDashboard(name, links[:1+rng.IntN(len(links))], w.stack.Gateways(), host.Dial, &w.recorder)
	d.first = rng.IntN(2)
	d.papers = w.newPapers(name, d.links, rng)
	own := rand.New(rand.NewPCG(rng.Uint64(), 0))
	d.backOff = func(n int) time.Duration {
		return time.Duration(own.Int64N(int64(100*time.Millisecond) << min(n, 5)))
	}
	d.fickle = func() bool { return !w.calm.Load() && own.IntN(40) == 0 }
	return d
}

// passBy is one look at the counts after the other, each a few seconds long: links come to be watched by somebody and by
// nobody again, and their totals are read while clicks go on.
func (w *world) passBy(ctx context.Context, name string, rng *rand.Rand) {
	for n := 0; ctx.Err() == nil; n++ {
		d := w.newDashboard(fmt.Sprint(name, ".", n), rng)
		d.links = append(d.links, w.quiet[rng.IntN(len(w.quiet))])
		d.papers.links = d.links
		look, stop := context.WithTimeout(ctx, time.Duration(rng.Int64N(int64(5*time.Second))))
		d.run(look)
		stop()
		d.leave()
		pause(ctx, time.Duration(rng.Int64N(int64(3*time.Second))))
	}
}

// visit lets visitors loose and returns what waits for them to be done, after the time of load.
func (w *world) visit() (wait func()) {
	ctx, cancel := context.WithTimeout(w.t.Context(), simLoad)
	var visitors sync.WaitGroup
	for range 3 {
		v := newVisitor(w.stack.Ingest, w.net.Host("visitor").Dial, &w.recorder, w.rng.Uint64())
		rate := 1 + w.rng.Float64()*10
		visitors.Go(func() {
			defer v.close()
			v.keepVisiting(ctx, rate, slices.Concat(w.links, w.quiet))
		})
	}
	return func() {
		visitors.Wait()
		cancel()
	}
}

// heal ends every fault, expects clicks to be taken again soon, and gives the system time to tell everybody.
func (w *world) heal() {
	w.net.Heal()
	w.mu.Lock()
	heals := w.heals
	w.mu.Unlock()
	for _, heal := range heals {
		heal()
	}
	w.faults.Wait()
	pause(w.t.Context(), simRecovery)
	w.calm.Store(true)
	v := newVisitor(w.stack.Ingest, w.net.Host("visitor").Dial, &w.recorder, w.rng.Uint64())
	defer v.close()
	for _, link := range slices.Concat(w.links, w.quiet) {
		if err := v.visit(w.t.Context(), 1, link); err != nil {
			w.t.Errorf("%v after everything was healed, a click on %s is not taken: %v", simRecovery, link, err)
		}
	}
	pause(w.t.Context(), simHealed)
	w.healed = w.recorder.Events()
	pause(w.t.Context(), simQuiet)
}

// stop ends everybody and returns what the log holds.
func (w *world) stop() history.Log {
	w.stopPeople()
	w.people.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 2*time.Minute)
	defer cancel()
	if w.operator != nil {
		w.operator.Close()
	}
	ends := w.storedEnds(ctx)
	if err := w.stack.StopIngest(ctx); err != nil { // it alone writes
		w.t.Errorf("stopping ingest: %v", err)
	}
	reader := w.net.Host("reader")
	log, err := readLog(ctx, record(), kgo.SeedBrokers(w.stack.Kafka()...),
		kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			return reader.Dial(ctx, network, address)
		}))
	if err != nil {
		w.t.Errorf("reading the log: %v", err)
	}
	for p, end := range ends {
		if n := log.Partitions[p].End; n != end {
			w.t.Errorf("the totals of partition %d are those at %d in the end, its log ends at %d", p, end, n)
		}
	}
	if err := w.stack.Stop(ctx); err != nil {
		w.t.Errorf("stopping the system: %v", err)
	}
	select {
	case err := <-w.stack.Failures():
		w.t.Errorf("a part ended by itself: %v", err)
	default:
	}
	synctest.Wait()
	if n := w.net.Open(simnet.Path{}); n > 0 {
		w.t.Errorf("%d connections are left open", n)
	}
	return log
}

// notVacuous makes sure that the run said something.
func (w *world) notVacuous() {
	seen := make(map[history.Kind]int)
	for _, e := range w.recorder.Events() {
		seen[e.Kind]++
	}
	for _, kind := range []history.Kind{
		history.Acked, history.Subscribed, history.Update, history.Heartbeat, history.Shown, history.Read,
		history.Admitted, history.Asked, history.Denied, history.Revoked,
	} {
		if seen[kind] == 0 {
			w.t.Errorf("the history has no %q: %v", kind, seen)
		}
	}
	w.t.Logf("history: %v", seen)
}

// explain says how to repeat a run that failed and leaves its history and log, with -artifacts for good.
func (w *world) explain(seed uint64) {
	w.t.Logf("replay: make sim SEED=%d, which is go test ./e2e -run TestSimulation -seed %d -count %d -failfast -v -artifacts",
		seed, seed, simRepeat)
	dir := w.t.ArtifactDir()
	var events bytes.Buffer
	if err := history.WriteEvents(&events, w.recorder.Events()); err != nil {
		w.t.Log(err)
	}
	for name, content := range map[string][]byte{"history.jsonl": events.Bytes(), "log.jsonl": w.log.bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			w.t.Log(err)
		}
	}
}

// hostOf returns host:port of a base URL.
func hostOf(url string) string { return strings.TrimPrefix(url, "http://") }

// pause lets time go by.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) Sync() error { return nil }

func (l *lines) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.buf.Bytes())
}
