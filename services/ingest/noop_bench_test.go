package ingest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/httpserver"
)

// BenchmarkAgainstNoop compares what a request costs the server: ingest with acks=all, from the socket to the answer,
// with the producer and its connection to Kafka (single, hot, lines), against chi handlers that do nothing. The one to
// compare with (noop) takes the body and gives the same answer as ingest, in a server with the same settings on the same
// kind of connections, so that the rest is what ingest itself costs. It stands also on connections as net/http makes them
// (plain), and there is one that has neither a body nor an answer (empty). In between stands the API with a log that
// acknowledges at once (api): the difference to the whole is the price of waiting and of the producer.
//
// All are loaded in turns by the same clients over 256 connections, each of which sends its next request when it has the
// answer. Requests are of one click, on many links or on one (hot), or of 100 clicks in NDJSON over 32 connections (lines).
// Figures are medians of the turns, and all but ns/op and those of the producer's requests are CPU time of this process.
//
// With a core of its own the server is what limits the load. Where it shares the cores with the clients and the broker,
// they do: it is idle now and then, so its batches are small, and it pays for falling asleep and being woken.
func BenchmarkAgainstNoop(b *testing.B) {
	b.Run("own-core", func(b *testing.B) { againstNoop(b, ownCore(b)) })
	b.Run("shared-cores", func(b *testing.B) { againstNoop(b, nil) })
}

const (
	benchConnections = 256
	// turnRequests are few, and an operation has several turns: what else goes on in the machine is then the same for
	// those that are compared.
	turnRequests = 5000
	turns        = 4
)

// contender is one of those that are compared.
type contender struct {
	name string
	load
	clicks int       // of a request
	share  int       // of a turn's requests: one in so many
	cpu    []float64 // of a click, by turn, ns

	sent produced // what it had the producer send
}

func contenders(b *testing.B, ingest string) []*contender {
	b.Helper()
	noop, empty := noopBench(noopAnswer), noopBench(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	plain := func(l net.Listener) net.Listener { return l }
	singles := benchSingles()
	all := []*contender{
		{name: "noop", load: load{Addr: serveBench(b, noop, httpserver.Frugal), Requests: singles}},
		{name: "plain", load: load{Addr: serveBench(b, noop, plain), Requests: singles}},
		{name: "empty", load: load{Addr: serveBench(b, empty, plain), Requests: singles, Status: "204"}},
		{name: "api", load: load{Addr: serveBench(b, apiBench(b), httpserver.Frugal), Requests: singles}},
		{name: "single", load: load{Addr: ingest, Requests: singles}},
		{name: "hot", load: load{Addr: ingest, Requests: singles[:1]}},
		{name: "lines", load: load{Addr: ingest, Requests: benchLines(), Connections: benchConnections / 8}, clicks: 100, share: 20},
	}
	for _, c := range all {
		c.clicks, c.share = cmp.Or(c.clicks, 1), cmp.Or(c.share, 1)
		c.Status, c.Connections = cmp.Or(c.Status, "202"), cmp.Or(c.Connections, benchConnections)
		c.Count = turnRequests / c.share
	}
	return all
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

// clients are the child process that sends requests.
type clients struct {
	in  io.Writer
	out *bufio.Reader
}

// turn has a contender's requests sent and answered, and notes what they cost.
func (s clients) turn(b *testing.B, c *contender, metrics *prometheus.Registry) {
	b.Helper()
	var order bytes.Buffer
	if err := json.NewEncoder(&order).Encode(c.load); err != nil {
		b.Fatal(err)
	}
	sent, before := gather(b, metrics), cpu(b)
	if _, err := s.in.Write(order.Bytes()); err != nil {
		b.Fatal(err)
	}
	if answer, err := s.out.ReadString('\n'); err != nil || answer != "done\n" {
		b.Fatalf("the clients said %q, %v", answer, err)
	}
	c.cpu = append(c.cpu, float64(cpu(b)-before)/float64(c.Count*c.clicks))
	now := gather(b, metrics)
	c.sent.records += now.records - sent.records
	c.sent.batches += now.batches - sent.batches
	c.sent.requests += now.requests - sent.requests
}

func againstNoop(b *testing.B, prefix []string) {
	b.Helper()
	addr, metrics := ingestBench(b, prefix)
	all := contenders(b, addr)
	in, out := child(b, "client", prefix)
	s := clients{in, out}
	for _, c := range all { // connections are made, and memory is warm
		s.turn(b, c, metrics)
		c.cpu, c.sent = nil, produced{}
	}
	order := slices.Clone(all)
	for b.Loop() {
		for range turns {
			for _, c := range order {
				s.turn(b, c, metrics)
			}
			slices.Reverse(order) // what drifts meets the first and the last alike
		}
	}
	for _, c := range all {
		b.ReportMetric(median(c.cpu, nil), c.name+"-cpu-ns/click")
		if c.clicks == 1 && c != all[0] {
			for _, to := range all[:3] {
				b.ReportMetric(median(c.cpu, to.cpu), c.name+"/"+to.name)
			}
		}
		if c.sent.requests > 0 {
			b.ReportMetric(c.sent.records/c.sent.requests, c.name+"-records/request")
			b.ReportMetric(c.sent.batches/c.sent.requests, c.name+"-batches/request")
		}
	}
}

// produced is what a producer has sent.
type produced struct{ records, batches, requests float64 }

func gather(b *testing.B, metrics *prometheus.Registry) (p produced) {
	b.Helper()
	families, err := metrics.Gather()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range families {
		switch m := f.GetMetric(); f.GetName() {
		case "linkpulse_producer_records_total":
			p.records = m[0].GetCounter().GetValue()
		case "linkpulse_producer_request_batches":
			p.batches, p.requests = m[0].GetHistogram().GetSampleSum(), float64(m[0].GetHistogram().GetSampleCount())
		default:
		}
	}
	return p
}

// median is that of the turns or, where there is something to compare them with, of the ratios, turn by turn: what else
// goes on in the machine meets both.
func median(costs, to []float64) float64 {
	v := slices.Clone(costs)
	for i := range to {
		v[i] /= to[i]
	}
	slices.Sort(v)
	return v[len(v)/2]
}
