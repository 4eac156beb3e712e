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

// benchConfig is the service's configuration as it comes.
func benchConfig(b *testing.B, broker string) Config {
	b.Helper()
	cfg, err := LoadConfig([]string{"--kafka-brokers", broker, "--addr", "127.0.0.1:0", "--admin-addr=", "--auth=off"}, nil, io.Discard)
	if err != nil {
		b.Fatal(err)
	}
	return cfg
}

// serveBench starts a server like that of ingest on a port of its own until the benchmark ends.
func serveBench(b *testing.B, h http.Handler, listener func(net.Listener) net.Listener) (addr string) {
	b.Helper()
	l, err := httpserver.Listen("127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := newServer(benchConfig(b, "127.0.0.1:9"), h, zap.NewNop())
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
func ingestBench(b *testing.B, prefix []string) (addr string, metrics *prometheus.Registry) {
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
	metrics = prometheus.NewRegistry()
	svc, err := New(benchConfig(b, broker), Deps{Registry: metrics})
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
			return svc.Addr().String(), metrics
		}
		time.Sleep(10 * time.Millisecond) // a real broker in another process: there is nothing to synchronise on
	}
	b.Fatal("not ready")
	return "", nil
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
	h, err := newHandler(benchConfig(b, "127.0.0.1:9"), everybody{keyring.Anybody()}, prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	h.Open(instantLog{}, 12)
	router := chi.NewRouter()
	h.Routes(router)
	return router
}
