package simnet

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Everything that the system is made of runs on the network in virtual time: an HTTP server and client, a WebSocket, a
// Kafka broker and its client.
func TestHTTPAndWebSocket(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.Inject(Fault{Delay: 5 * time.Millisecond, Chop: 3})
		mux := http.NewServeMux()
		mux.HandleFunc("GET /hello", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "hello "+strings.Split(r.RemoteAddr, ":")[0])
		})
		mux.HandleFunc("GET /ws", func(w http.ResponseWriter, r *http.Request) {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = c.CloseNow() }()
			kind, p, err := c.Read(r.Context())
			if err == nil {
				err = c.Write(r.Context(), kind, append(p, '!'))
			}
			if err != nil {
				t.Error(err)
			}
			<-c.CloseRead(r.Context()).Done()
		})
		srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
		l, err := n.Host("server").Listen("tcp", "server:80")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- srv.Serve(l) }()

		transport := &http.Transport{DialContext: n.Host("client").Dial}
		client := &http.Client{Transport: transport}
		for range 3 {
			if got := get(t, client, "http://server:80/hello"); got != "hello 10.0.0.2" {
				t.Fatalf("GET = %q", got)
			}
		}
		if n.Open(Path{}) != 1 {
			t.Fatalf("%d connections, want the one that is kept alive", n.Open(Path{}))
		}
		c, _, err := websocket.Dial(t.Context(), "ws://server:80/ws", &websocket.DialOptions{HTTPClient: client}) //nolint:bodyclose // Dial leaves no body to close
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Write(t.Context(), websocket.MessageText, []byte("over the wire")); err != nil {
			t.Fatal(err)
		}
		if _, p, err := c.Read(t.Context()); err != nil || string(p) != "over the wire!" {
			t.Fatalf("Read = %q, %v", p, err)
		}
		_ = c.CloseNow()
		transport.CloseIdleConnections()
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != http.ErrServerClosed { //nolint:errorlint // documented to be this very value
			t.Fatal(err)
		}
	})
}

func get(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestKafka(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		n.Inject(Fault{Jitter: 5 * time.Millisecond, Chop: 64})
		broker, err := kfake.NewCluster(kfake.NumBrokers(3), kfake.ListenFn(n.Host("kafka").Listen), kfake.SeedTopics(4, "t"))
		if err != nil {
			t.Fatal(err)
		}
		defer broker.Close()
		client, err := kgo.NewClient(
			kgo.SeedBrokers(broker.ListenAddrs()...),
			kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
				return n.Host("client").Dial(ctx, network, host)
			}),
			kgo.ConsumeTopics("t"),
			kgo.DefaultProduceTopic("t"),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		start := time.Now()
		lost := n.Inject(Fault{Path: Path{From: "client", To: "kafka"}, CutWay: ToDialer, CutAfter: 200, CutTimes: 2})
		for _, value := range []string{"a", "b", "c"} {
			if err := client.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		lost()
		var got []string
		for len(got) < 3 {
			fetches := client.PollFetches(t.Context())
			for _, r := range fetches.Records() {
				got = append(got, string(r.Value))
			}
		}
		if len(got) != 3 {
			t.Fatalf("consumed %q, want three records", got)
		}
		if took := time.Since(start); took == 0 {
			t.Fatal("no virtual time went by in spite of the jitter")
		}
	})
}
