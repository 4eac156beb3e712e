package ingest

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// The benchmark's clients and its broker are processes of their own, so that the CPU time of this process is that of the
// server alone: user and system time as getrusage(2) tells it. They are this test binary, told by a variable what to be.
const childEnv = "LINKPULSE_INGEST_BENCH_CHILD"

// runChild is what a child process does until its standard input ends.
func runChild(kind string) int {
	var err error
	switch kind {
	case "broker":
		err = childBroker()
	case "client":
		err = childClient()
	default:
		err = fmt.Errorf("no such child: %q", kind)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// childBroker prints its address.
func childBroker() error {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return err
	}
	defer broker.Close()
	fmt.Println(broker.ListenAddrs()[0])
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// load is an order to the client: send the request n times over all connections together.
type load struct {
	Addr        string
	Connections int
	Count       int
	Requests    []string // as they go over the wire, in turns
	Status      string   // expected
}

// childClient runs loads and answers each with a line when it is through. Connections are kept between loads.
func childClient() error {
	conns := map[string][]net.Conn{}
	in := json.NewDecoder(os.Stdin)
	for {
		var l load
		if err := in.Decode(&l); err != nil {
			return nil //nolint:nilerr // the parent is through
		}
		for len(conns[l.Addr]) < l.Connections {
			c, err := net.Dial("tcp", l.Addr)
			if err != nil {
				return err
			}
			conns[l.Addr] = append(conns[l.Addr], c)
		}
		if err := l.run(conns[l.Addr][:l.Connections]); err != nil {
			return err
		}
		fmt.Println("done")
	}
}

func (l *load) run(conns []net.Conn) error {
	var wg sync.WaitGroup
	failed := make(chan error, len(conns))
	for i, c := range conns {
		n := l.Count / len(conns)
		if i < l.Count%len(conns) {
			n++
		}
		wg.Go(func() { failed <- l.drive(c, i, n) })
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}

// drive sends n requests, from the first-th of the load's on.
func (l *load) drive(c net.Conn, first, n int) error {
	r := bufio.NewReader(c)
	status := "HTTP/1.1 " + l.Status
	for i := range n {
		if _, err := io.WriteString(c, l.Requests[(first+i)%len(l.Requests)]); err != nil {
			return err
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, status) {
			return fmt.Errorf("answer %q, want %s", line, status)
		}
		if err := discardRest(r); err != nil {
			return err
		}
	}
	return nil
}

func discardRest(r *bufio.Reader) error {
	length := 0
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			_, err := r.Discard(length)
			return err
		}
		if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			if _, err := fmt.Sscan(value, &length); err != nil {
				return err
			}
		}
	}
}

// ownCore gives this process the first core of the machine for itself until the benchmark ends, and leaves the others to
// its children.
func ownCore(b *testing.B) (forChildren []string) {
	b.Helper()
	cores := runtime.NumCPU()
	tool, err := exec.LookPath("taskset") // of util-linux
	if err != nil || cores < 2 {
		b.Skip("this takes two cores, and taskset to tell who gets which")
	}
	move := func(to string) {
		if out, err := exec.Command(tool, "-acp", to, strconv.Itoa(os.Getpid())).CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
	}
	move("0")
	procs := runtime.GOMAXPROCS(1)
	b.Cleanup(func() {
		runtime.GOMAXPROCS(procs)
		move(fmt.Sprintf("0-%d", cores-1))
	})
	return []string{tool, "-c", fmt.Sprintf("1-%d", cores-1)}
}

// child starts a child process, which ends with the benchmark. prefix is a command that starts commands.
func child(b *testing.B, kind string, prefix []string) (in io.Writer, out *bufio.Reader) {
	b.Helper()
	args := append(slices.Clone(prefix), os.Args[0])
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"="+kind)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	return stdin, bufio.NewReader(stdout)
}

// cpu is the CPU time of this process.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serveBench starts a server on a port of its own until the benchmark ends.
func serveBench(b *testing.B, h http.Handler, listener func(net.Listener) net.Listener) (addr string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := httpserver.New(h, zap.NewNop())
	srv.ReadTimeout = 10 * time.Second
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(listener(l)) // ends by Close
	}()
	b.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return l.Addr().String()
}

// ingestBench starts the whole service against a broker in a child process.
func ingestBench(b *testing.B, prefix []string) (addr string) {
	b.Helper()
	_, out := child(b, "broker", prefix)
	broker, err := out.ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	broker = strings.TrimSpace(broker)
	cluster, err := kafkalog.Open(kafkalog.Config{Brokers: []string{broker}})
	if err != nil {
		b.Fatal(err)
	}
	defer cluster.Close()
	if _, err := deployment.Init(b.Context(), cluster, deployment.Default(), deployment.Topics{Replicas: 1, MinInsync: 1, Retention: 24 * time.Hour}); err != nil {
		b.Fatal(err)
	}
	cfg, err := LoadConfig([]string{"--kafka-brokers", broker, "--addr", "127.0.0.1:0", "--admin-addr=", "--auth=off"}, nil, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	svc, err := New(cfg, Deps{Registry: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	})
	for range 1000 {
		if svc.checkDeployment() == nil && svc.checkProducer() == nil {
			return svc.Addr().String()
		}
		time.Sleep(10 * time.Millisecond) // a real broker in another process: there is nothing to synchronise on
	}
	b.Fatal("not ready")
	return ""
}

func request(contentType, body string) string {
	return fmt.Sprintf("POST /v1/clicks HTTP/1.1\r\nHost: ingest\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", contentType, len(body), body)
}

// benchClick is a click on one of many links: they spread over all partitions.
func benchClick(link int) string {
	return fmt.Sprintf(`{"link":"x7K%02d","id":"0198c0de-1234-7abc-8def-000102030405","referrer":"https://www.example.com/","country":"DE"}`, link)
}

const benchLinks = 97

// benchSingles are requests of one click each.
func benchSingles() []string {
	var requests []string
	for link := range benchLinks {
		requests = append(requests, request("application/json", benchClick(link)))
	}
	return requests
}

// benchLines is a request of 100 clicks.
func benchLines() []string {
	var lines strings.Builder
	for i := range 100 {
		lines.WriteString(benchClick(i%benchLinks) + "\n")
	}
	return []string{request("application/x-ndjson", lines.String())}
}

// instantLog acknowledges everything at once.
type instantLog struct{}

func (instantLog) Append([]kafkalog.Message) error { return nil }
func (instantLog) Ready() error                    { return nil }

// apiBench is the API alone, with a log that acknowledges at once.
func apiBench(b *testing.B) http.Handler {
	b.Helper()
	cfg, err := LoadConfig([]string{"--kafka-brokers", "127.0.0.1:9", "--auth=off"}, nil, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	h, err := newHandler(cfg, everybody{keyring.Anybody()}, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	h.Open(instantLog{}, 12)
	router := chi.NewRouter()
	h.Routes(router)
	return router
}

// BenchmarkAgainstNoop compares what a request costs the server: ingest with acks=all, from the socket to the answer,
// with the producer and its connection to Kafka, against chi handlers that do nothing in the same hardened server. One
// takes the body and gives the same answer as ingest, so that the rest is what ingest itself costs (noop); the other has
// neither (empty). All are loaded in turns by the same clients over 256 connections, with clicks on many links, or on one
// (hot). In between stand the handler that does nothing on connections like those of ingest (frugal), and there the API
// with a log that acknowledges at once (api): the difference to the whole is the price of waiting and of the producer. All
// figures but ns/op are CPU time, and medians of the rounds.
//
// With a core of its own the server is what limits the load. Where it shares the cores with the clients and the broker,
// they do: it is idle now and then, so its batches are small, and it pays for falling asleep and being woken.
func BenchmarkAgainstNoop(b *testing.B) {
	b.Run("own-core", func(b *testing.B) { againstNoop(b, ownCore(b)) })
	b.Run("shared-cores", func(b *testing.B) { againstNoop(b, nil) })
}

// noopAnswer takes the body and answers as ingest does.
func noopAnswer(w http.ResponseWriter, r *http.Request) {
	var body [1024]byte
	for {
		if _, err := r.Body.Read(body[:]); err != nil {
			break
		}
	}
	w.Header()["Content-Type"] = []string{"application/json"}
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"accepted":1,"ids":["0198c0de-1234-7abc-8def-000102030405"]}`+"\n")
}

func noopBench(h http.HandlerFunc) http.Handler {
	router := chi.NewRouter()
	router.Post("/v1/clicks", h)
	return router
}

func againstNoop(b *testing.B, prefix []string) {
	b.Helper()
	const connections, round = 256, 20_000
	noop, empty := noopBench(noopAnswer), noopBench(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	plain := func(l net.Listener) net.Listener { return l }
	ingest := ingestBench(b, prefix)
	singles := benchSingles()
	loads := []struct {
		name string
		load
		per    int       // clicks of a request
		share  int       // of a round: one in so many
		rounds []float64 // CPU time for a click, ns
	}{
		{"noop", load{Addr: serveBench(b, noop, plain), Requests: singles, Status: "202"}, 1, 1, nil},
		{"empty", load{Addr: serveBench(b, empty, plain), Requests: singles, Status: "204"}, 1, 1, nil},
		{"frugal", load{Addr: serveBench(b, noop, httpserver.Frugal), Requests: singles, Status: "202"}, 1, 1, nil},
		{"api", load{Addr: serveBench(b, apiBench(b), httpserver.Frugal), Requests: singles, Status: "202"}, 1, 1, nil},
		{"single", load{Addr: ingest, Requests: singles, Status: "202"}, 1, 1, nil},
		{"hot", load{Addr: ingest, Requests: singles[:1], Status: "202"}, 1, 1, nil},
		{"lines", load{Addr: ingest, Requests: benchLines(), Status: "202", Connections: connections / 8}, 100, 20, nil},
	}
	in, out := child(b, "client", prefix)
	orders := json.NewEncoder(in)
	run := func(l load, n int) time.Duration {
		l.Count, l.Connections = n, cmp.Or(l.Connections, connections)
		before := cpu(b)
		if err := orders.Encode(l); err != nil {
			b.Fatal(err)
		}
		if answer, err := out.ReadString('\n'); err != nil || answer != "done\n" {
			b.Fatalf("the client said %q, %v", answer, err)
		}
		return cpu(b) - before
	}
	for _, l := range loads { // warm up
		run(l.load, 2000)
	}
	for b.Loop() {
		for i := range loads {
			l := &loads[i]
			n := round / l.share
			l.rounds = append(l.rounds, float64(run(l.load, n))/float64(n*l.per))
		}
	}
	for _, l := range loads {
		if l.per == 1 {
			b.ReportMetric(median(l.rounds, loads[0].rounds), l.name+"/noop")
			b.ReportMetric(median(l.rounds, loads[1].rounds), l.name+"/empty")
		}
		b.ReportMetric(median(l.rounds, nil), l.name+"-cpu-ns/click")
	}
}

// median is that of the rounds or, where there is something to compare them with, of the ratios, round by round: what
// else goes on in the machine meets both.
func median(rounds, to []float64) float64 {
	v := slices.Clone(rounds)
	for i := range to {
		v[i] /= to[i]
	}
	slices.Sort(v)
	return v[len(v)/2]
}
