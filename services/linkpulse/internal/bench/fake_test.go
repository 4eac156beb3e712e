package bench

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/simnet"
)

// system is a Linkpulse of thirty lines, with faults. It is ideal otherwise: a click is told to every dashboard that
// watches its link before it is acknowledged.
type system struct {
	net    *simnet.Network
	behave func(n int) answer // what becomes of the n-th request; nil: all is well
	token  string             // that dashboards must show; empty: any or none
	denied string             // the beginning of links that nobody may see; empty: there are none

	mu       sync.Mutex
	requests int
	seen     map[string]bool
	count    map[string]int64
	watching map[string][]*websocket.Conn
}

type answer struct {
	wait   time.Duration // before anything happens
	status int           // 0 is 202
	lose   bool          // the clicks count, and the answer is an error
	hangUp bool          // the clicks count, and the connection ends without an answer
	mute   bool          // nobody is told
	delta  int64         // added to the delta that is told
}

func newSystem(behave func(n int) answer) *system {
	return &system{
		behave: behave,
		seen:   make(map[string]bool), count: make(map[string]int64), watching: make(map[string][]*websocket.Conn),
	}
}

func (s *system) handler() http.Handler {
	mux := http.NewServeMux()
	known := func(next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if s.token != "" && r.Header.Get("Authorization") != "Bearer "+s.token {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			next(w, r)
		}
	}
	mux.HandleFunc("POST /v1/clicks", s.clicks)
	mux.HandleFunc("GET /ws", known(s.watch))
	mux.HandleFunc("GET /v1/counts", known(s.counts))
	return mux
}

// counts answers a poll.
func (s *system) counts(w http.ResponseWriter, r *http.Request) {
	type link struct {
		Link  string `json:"link"`
		Count int64  `json:"count"`
	}
	var links []link
	s.mu.Lock()
	for name := range strings.SplitSeq(r.URL.Query().Get("links"), ",") {
		links = append(links, link{name, s.count[name]})
	}
	s.mu.Unlock()
	body, err := json.Marshal(map[string]any{"links": links})
	if err != nil {
		panic(err)
	}
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256(body))
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("ETag", etag)
	_, _ = w.Write(body) // the poller says what it missed
}

// startSystem starts one on a network in memory.
func startSystem(t *testing.T, behave func(n int) answer, options ...func(*http.Server)) (*system, Target) {
	t.Helper()
	s := newSystem(behave)
	s.net = simnet.New(1)
	l, err := s.net.Host("server").Listen("tcp", "server:80")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: time.Minute}
	for _, option := range options {
		option(srv)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return s, Target{
		Ingest: "http://server:80", Gateways: []string{"http://server:80"}, Dial: s.net.Host("bench").Dial,
	}
}

// dev is what this test binary does when the benchmark starts it as its server: one fake system on a free port, until
// it is told to end. With --auth jwt it wants a token, and says which.
func dev(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 1
	}
	s := newSystem(nil)
	switch at := slices.Index(args, "--auth"); {
	case at < 0:
		return 1
	case args[at+1] == "jwt":
		s.token = "a.b.c"
	}
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	url := "http://" + l.Addr().String()
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"ingest": url, "gateways": []string{url}, "token": s.token})
	<-ctx.Done()
	_ = srv.Close()
	<-done
	return 0
}

func (s *system) clicks(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	type posted struct{ Link, ID string }
	var clicks []posted
	if !strings.HasPrefix(string(body), "[") {
		body = []byte("[" + string(body) + "]")
	}
	if err := json.Unmarshal(body, &clicks); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.requests++
	var a answer
	if s.behave != nil {
		a = s.behave(s.requests)
	}
	s.mu.Unlock()
	time.Sleep(a.wait)
	if a.status == 0 {
		for _, c := range clicks {
			s.tell(r.Context(), c.Link, c.ID, a)
		}
		a.status = http.StatusAccepted
	}
	if a.hangUp {
		panic(http.ErrAbortHandler)
	}
	if a.lose {
		a.status = http.StatusServiceUnavailable
	}
	w.WriteHeader(a.status)
}

func (s *system) tell(ctx context.Context, link, id string, a answer) {
	s.mu.Lock()
	if s.seen[id] {
		s.mu.Unlock()
		return
	}
	s.seen[id] = true
	s.count[link]++
	count, watching := s.count[link], s.watching[link]
	s.mu.Unlock()
	if a.mute {
		return
	}
	message, _ := json.Marshal(struct {
		Type  string `json:"type"`
		Link  string `json:"link"`
		Count int64  `json:"count"`
		Delta int64  `json:"delta"`
	}{"click_update", link, count, 1 + a.delta})
	for _, c := range watching {
		_ = c.Write(ctx, websocket.MessageText, message)
	}
}

func (s *system) watch(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	ctx := context.WithoutCancel(r.Context()) // a hijacked connection outlives its request
	_ = c.Write(ctx, websocket.MessageText, []byte(`{"type":"ready","protocol":1}`))
	for {
		_, message, err := c.Read(ctx)
		if err != nil {
			return
		}
		var asked struct {
			Type  string
			Links []string
		}
		if err := json.Unmarshal(message, &asked); err != nil || asked.Type != "subscribe" {
			_ = c.Close(websocket.StatusPolicyViolation, "not a subscribe")
			return
		}
		type told struct {
			Link  string `json:"link"`
			Count int64  `json:"count"`
		}
		var links []told
		denied := []string{}
		s.mu.Lock()
		for _, link := range asked.Links {
			if s.denied != "" && strings.HasPrefix(link, s.denied) {
				denied = append(denied, link)
				continue
			}
			links = append(links, told{Link: link})
			s.watching[link] = append(s.watching[link], c)
		}
		s.mu.Unlock()
		answer, _ := json.Marshal(map[string]any{"links": links, "denied": denied})
		answer = append([]byte(`{"type":"subscribed",`), answer[1:]...)
		_ = c.Write(ctx, websocket.MessageText, answer)
	}
}
