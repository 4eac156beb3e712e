package gateway

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
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/linkpulse/linkpulse/pkg/auth/mint"
	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/telemetry"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// hang is how long a client of the siege waits for what must come: much longer than anything here takes, on a machine that
// does other things too. What has a deadline has it in virtual time, in tests of its own.
const hang = 30 * time.Second

// TestSiege is every kind of hostile client at once, at one gateway and on real sockets. Each gets the answer that is
// documented for it, an honest dashboard beside them is told every click, nothing of what they say is in the log, and when
// they have gone, so has everything that they cost: goroutines, descriptors, memory.
func TestSiege(t *testing.T) { //nolint:paralleltest // it counts what there is in the process
	if testing.Short() {
		t.Skip("it takes twenty seconds of real time, and thousands of sockets")
	}
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: descriptors are counted in /proc, and clients come from many addresses of the loopback network: Linux alone has both")
	}
	var most syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &most); err != nil || most.Cur < 8192 {
		t.Skipf("SKIPPED: it needs 8,192 descriptors, and may have %d", most.Cur)
	}
	s := newSiege(t)
	s.honest()
	s.round(10) // what there is once for everybody is there before
	before := s.settle(nil)
	s.round(1)
	after := s.settle(&before)
	t.Logf("before %v, after %v", before, after)
	s.metricsTell()
	s.logIsClean()
}

// siege is a gateway, what signs tokens for it, and an honest dashboard.
type siege struct {
	t        *testing.T
	addr     string
	service  *Service
	registry *prometheus.Registry
	signer   *mint.Signer
	producer *kafkalog.Producer
	log      *logBuffer

	dashboard *dashboard
	told      map[string]int64 // clicks that were appended, by link
	probes    int
	slowest   time.Duration
}

// logBuffer takes a log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func newSiege(t *testing.T) *siege {
	t.Helper()
	s := &siege{t: t, registry: prometheus.NewRegistry(), log: &logBuffer{}, told: map[string]int64{}}
	network := &kfake.VirtualNetwork{} // its descriptors would be counted
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(network.Listen))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	cluster, err := kafkalog.Open(kafkalog.Config{Brokers: fake.ListenAddrs()}, kafkalog.WithDialer(network.DialContext))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	if _, err = deployment.Init(t.Context(), cluster, record, deployment.Topics{Replicas: 1, MinInsync: 1, Retention: 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	s.producer, err = cluster.NewProducer(t.Context(), kafkalog.ProducerConfig{Topic: record.Topic, Partitions: record.Partitions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.producer.Close(context.WithoutCancel(t.Context())) })
	private, public, err := mint.Create(t.TempDir(), "k1")
	if err != nil {
		t.Fatal(err)
	}
	if s.signer, err = mint.Load(private); err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig([]string{
		"--addr=127.0.0.1:0", "--admin-addr=", "--kafka-brokers=" + fake.ListenAddrs()[0], "--totals=replay", "--heartbeat=4s", "--drain=100ms",
		"--auth=jwt", "--auth-key-files=" + public, "--auth-audience=" + mint.DefaultAudience, "--auth-max-lifetime=1h",
		"--max-connections=2000", "--max-subject-connections=10", "--max-address-connections=150",
		"--max-address-handshakes=5",
	}, nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	log, err := telemetry.NewLogger(telemetry.LogConfig{Level: "debug"}, s.log)
	if err != nil {
		t.Fatal(err)
	}
	if s.service, err = New(cfg, Deps{Log: log, Registry: s.registry, Dial: network.DialContext}); err != nil {
		t.Fatal(err)
	}
	s.addr = s.service.Addr().String()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.service.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	s.eventually("the gateway is ready", func() bool { return httpserver.Probe(t.Context(), s.addr) == nil })
	return s
}

// eventually waits for something that must come.
func (s *siege) eventually(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(hang); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("it does not come that %s", what)
		}
	}
}

// token returns a token of a subject.
func (s *siege) token(subject string, links ...string) string {
	token, _, err := s.signer.Sign(mint.Claims{Subject: subject, Links: links, Lifetime: 10 * time.Minute})
	if err != nil {
		s.t.Error(err)
	}
	return token
}

// Addresses of the loopback network that clients come from: the honest one has its own.
const honestAddress = "127.0.0.2"

func dialFrom(ctx context.Context, from, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	return d.DialContext(ctx, "tcp4", to)
}

// What clicks are of: what the honest dashboard and many others watch, what nobody else watches, and what is somebody
// else's.
var (
	busyLinks    = []string{"acme:busy-0", "acme:busy-1", "acme:busy-2", "acme:busy-3"}
	foreignLinks = []string{"acme2:x", "acme", "ACME:x", "other:acme:x", "acm"}
)

const probeLink = "acme:probe"

// honest connects the honest dashboard.
func (s *siege) honest() {
	s.t.Helper()
	ctx := context.WithoutCancel(s.t.Context())
	transport := &http.Transport{DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return dialFrom(ctx, honestAddress, addr)
	}}
	conn, _, err := websocket.Dial(ctx, "ws://"+s.addr+"/ws", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: http.Header{"Authorization": {"Bearer " + s.token("anna", "acme:*")}},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	conn.SetReadLimit(wire.MaxServerMessage)
	s.dashboard = &dashboard{t: s.t, conn: conn, counts: map[string]int64{}, done: make(chan struct{})}
	go s.dashboard.read(ctx)
	s.t.Cleanup(func() {
		_ = conn.CloseNow()
		<-s.dashboard.done
	})
	s.dashboard.subscribe(append([]string{probeLink}, busyLinks...)...)
	s.probe()
}

// probe clicks on every link, and waits until the honest dashboard shows it.
func (s *siege) probe() {
	s.t.Helper()
	var messages []kafkalog.Message
	for _, link := range append(append([]string{probeLink}, busyLinks...), foreignLinks...) {
		id, err := click.NewID()
		if err != nil {
			s.t.Fatal(err)
		}
		r := click.Record{ID: id}
		s.told[link]++
		messages = append(messages, kafkalog.Message{
			Partition: click.Partition(link, record.Partitions), TimeMs: time.Now().UnixMilli(), Key: []byte(link), Value: r.Append(nil),
		})
	}
	start := time.Now()
	if err := s.producer.Append(messages); err != nil {
		s.t.Fatal(err)
	}
	s.eventually("the honest dashboard is told", func() bool {
		s.dashboard.mu.Lock()
		defer s.dashboard.mu.Unlock()
		if s.dashboard.err != nil {
			s.t.Fatalf("the honest dashboard lost its connection: %v", s.dashboard.err)
		}
		for _, link := range append([]string{probeLink}, busyLinks...) {
			if s.dashboard.counts[link] != s.told[link] {
				return false
			}
		}
		return true
	})
	s.probes++
	s.slowest = max(s.slowest, time.Since(start))
}

// round has every kind of attacker at work, a part of each where part is more than 1, and probes until they are through.
func (s *siege) round(part int) {
	s.t.Helper()
	s.probes, s.slowest = 0, 0
	through := make(chan struct{}) // the others
	var short, long sync.WaitGroup
	for i, kind := range attacks() {
		a := &attacker{siege: s, n: max(1, kind.n/part), from: fmt.Sprintf("127.0.%d.1", i+1), through: through}
		run := func() {
			if err := kind.attack(a); err != nil {
				s.t.Errorf("%s: %v", kind.name, err)
			}
		}
		if kind.holds {
			long.Go(run)
		} else {
			short.Go(run)
		}
	}
	over := make(chan struct{})
	go func() {
		short.Wait()
		close(through)
		long.Wait()
		close(over)
	}()
	for {
		select {
		case <-over:
			s.t.Logf("the honest dashboard was told %d times meanwhile, after %v at most", s.probes, s.slowest.Round(time.Millisecond))
			return
		case <-time.After(20 * time.Millisecond):
			s.probe()
		}
	}
}

// footprint is what a process has.
type footprint struct{ goroutines, descriptors, heap, clicks int }

func (f footprint) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d KiB", f.goroutines, f.descriptors, f.heap>>10)
}

// goroutines returns how many there are that have nothing to do with Kafka, whose client opens connections as it likes.
func goroutines() (n int) {
	buf := make([]byte, 8<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if !strings.Contains(stack, "kfake") && !strings.Contains(stack, "kafka-go") {
			n++
		}
	}
	return n
}

// What of the heap may be there that was not: maps that had many entries keep their tables, and the log, which is in this
// process too, keeps every click.
const heapMargin, heapPerClick = 2 << 20, 1 << 10

// settle waits until only the honest dashboard is connected, and what there is is as before.
func (s *siege) settle(before *footprint) (now footprint) {
	s.t.Helper()
	for end := time.Now().Add(hang); ; time.Sleep(50 * time.Millisecond) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			s.t.Fatal(err)
		}
		runtime.GC()
		runtime.GC() // finalizers and pools take two
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		now = footprint{goroutines: goroutines(), descriptors: len(entries), heap: int(m.HeapAlloc)}
		for _, n := range s.told {
			now.clicks += int(n)
		}
		open, plain := s.service.ws.Open(), s.metric("linkpulse_http_connections", "")
		calm := open == 1 && plain == 0
		if before != nil {
			calm = calm && now.goroutines <= before.goroutines && now.descriptors <= before.descriptors &&
				now.heap <= before.heap+heapMargin+(now.clicks-before.clicks)*heapPerClick
		}
		if calm {
			return now
		}
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			s.t.Fatalf("%d connections and %v plain ones, %v; before: %v\n%s", open, plain, now, before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// metric returns the sum of a metric, of the series that have a label value if one is given.
func (s *siege) metric(name, label string) (sum float64) {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// metricsTell checks that the operator sees what happened, by reason.
func (s *siege) metricsTell() {
	s.t.Helper()
	for name, labels := range map[string][]string{
		"linkpulse_http_connections_evicted_total":       {"address"},
		"linkpulse_gateway_handshakes_refused_total":     {"handshake", "host", "address_rate", "subject", "address_unauthenticated", "token_in_query", "credential"},
		"linkpulse_gateway_unauthenticated_closed_total": {"deadline", "no_auth", "bad_token"},
		"linkpulse_gateway_sessions_dropped_total":       {"silent"},
		"linkpulse_gateway_sessions_closed_total":        {"1002", "1003", "1007", "1008", "1009", "4429"},
		"linkpulse_gateway_messages_received_total":      {"invalid", "ping"},
		"linkpulse_gateway_throttled_total":              {""},
	} {
		for _, label := range labels {
			if s.metric(name, label) == 0 {
				s.t.Errorf("nothing is told by %s of %q", name, label)
			}
		}
	}
}

// mark is in everything that a client says for the log, and in no line of ours.
const mark = "INJECTED"

// clients is what clients are, show and say.
var clients = regexp.MustCompile(mark + `|127\.0\.0\.2\b|127\.0\.[1-9]|eyJ|acme|mallory|anna`)

// logIsClean checks that every line of the log is one of ours, and none has anything of a client's.
func (s *siege) logIsClean() {
	s.t.Helper()
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	lines := strings.Split(strings.TrimSuffix(s.log.b.String(), "\n"), "\n")
	for _, line := range lines {
		var fields map[string]any
		err := json.Unmarshal([]byte(line), &fields)
		if err != nil || fields["msg"] == nil || len(line) > 4<<10 || strings.Contains(line, "\\u001b") || strings.IndexFunc(line, unicode.IsControl) >= 0 {
			s.t.Errorf("a line of the log: %v: %.500q", errors.Join(err), line)
		}
		if what := clients.FindString(line); what != "" {
			s.t.Errorf("%q is in the log: %.500q", what, line)
		}
	}
	s.t.Logf("%d lines of log", len(lines))
}
