package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"

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

// child starts a child process, which ends with the benchmark.
func child(b *testing.B, kind string) (in io.Writer, out *bufio.Reader) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
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
func serveBench(b *testing.B, h http.Handler) (addr string) {
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
		_ = srv.Serve(l) // ends by Close
	}()
	b.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return l.Addr().String()
}

// ingestBench starts the whole service against a broker in a child process.
func ingestBench(b *testing.B) (addr string) {
	b.Helper()
	_, out := child(b, "broker")
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
	cfg, err := LoadConfig([]string{"--kafka-brokers", broker, "--addr", "127.0.0.1:0", "--admin-addr="}, nil, io.Discard)
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
	cfg, err := LoadConfig([]string{"--kafka-brokers", "127.0.0.1:9"}, nil, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	h, err := newHandler(cfg, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	h.Open(instantLog{}, 12)
	router := chi.NewRouter()
	h.Routes(router)
	return router
}

// BenchmarkAgainstNoop compares what a request costs the server: ingest with acks=all, from the socket to the answer,
// with the producer and its connection to Kafka, against a chi handler that does nothing in the same hardened server. Both are loaded in turns by the
// same clients over 256 connections. In between stands the API with a log that acknowledges at once: the difference to
// the whole is the price of waiting and of the producer. All figures but ns/op are CPU time.
func BenchmarkAgainstNoop(b *testing.B) {
	const connections, round = 256, 20_000
	router := chi.NewRouter()
	router.Post("/v1/clicks", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	singles := benchSingles()
	noop := load{Addr: serveBench(b, router), Connections: connections, Requests: singles, Status: "204"}
	instant := load{Addr: serveBench(b, apiBench(b)), Connections: connections, Requests: singles, Status: "202"}
	addr := ingestBench(b)
	single := load{Addr: addr, Connections: connections, Requests: singles, Status: "202"}
	hot := load{Addr: addr, Connections: connections, Requests: singles[:1], Status: "202"}
	lines := load{Addr: addr, Connections: connections / 8, Requests: benchLines(), Status: "202"}

	in, out := child(b, "client")
	orders := json.NewEncoder(in)
	run := func(l load, n int) time.Duration {
		l.Count = n
		before := cpu(b)
		if err := orders.Encode(l); err != nil {
			b.Fatal(err)
		}
		if answer, err := out.ReadString('\n'); err != nil || answer != "done\n" {
			b.Fatalf("the client said %q, %v", answer, err)
		}
		return cpu(b) - before
	}
	for _, l := range []load{noop, instant, single, hot, lines} { // warm up
		run(l, 2000)
	}
	var noopCPU, instantCPU, singleCPU, hotCPU, linesCPU time.Duration
	for b.Loop() {
		noopCPU += run(noop, round)
		instantCPU += run(instant, round)
		singleCPU += run(single, round)
		hotCPU += run(hot, round)
		linesCPU += run(lines, round/20)
	}
	n := float64(b.N * round)
	b.ReportMetric(float64(noopCPU)/n, "noop-cpu-ns/req")
	b.ReportMetric(float64(singleCPU)/n, "single-cpu-ns/req")
	b.ReportMetric(float64(instantCPU)/float64(noopCPU), "api/noop")
	b.ReportMetric(float64(singleCPU)/float64(noopCPU), "single/noop")
	b.ReportMetric(float64(hotCPU)/float64(noopCPU), "hot/noop")
	b.ReportMetric(float64(linesCPU)/(n/20*100), "lines-cpu-ns/click")
}
