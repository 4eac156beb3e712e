package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/linkpulse/linkpulse/pkg/auth/mint"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// A gateway of which nobody has said whether it asks who clients are does not start, and says what can be said.
func TestConfigOfAccess(t *testing.T) {
	t.Parallel()
	_, err := LoadConfig([]string{brokers}, nil, io.Discard)
	for _, want := range []string{"--auth=jwt", "--auth=off", "--auth-jwks-url", "--auth-key-files", "--auth-secret-file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without --auth: %v, want something about %s", err, want)
		}
	}
	cfg, err := LoadConfig([]string{brokers, "--auth=jwt", "--auth-key-files=/keys", "--trusted-proxies=10.0.0.0/8,192.0.2.7,2001:db8::/32"},
		[]string{"GATEWAY_AUTH_AUDIENCE=dash"}, io.Discard)
	if err != nil || cfg.Access.Tokens.Audience != "dash" {
		t.Fatalf("%+v, %v", cfg.Access, err)
	}
	networks, err := cfg.Access.proxies()
	if err != nil || fmt.Sprint(networks) != "[10.0.0.0/8 192.0.2.7/32 2001:db8::/32]" {
		t.Fatalf("%v, %v", networks, err)
	}
	if l := cfg.Access.limits(); l.Connections != 20_000 || l.PerAddress != 256 || l.PerSubject != 100 || l.Unauthenticated != 500 ||
		l.UnauthenticatedPerAddress != 16 || l.Handshakes != 500 || l.HandshakeBurst != 1000 || l.AddressHandshakes != 50 || cfg.Access.MaxPlainConnections != 2048 {
		t.Fatalf("limits %+v", l)
	}
	for args, want := range map[string]string{
		"--auth=basic":                        "--auth",
		"--auth=jwt":                          "no keys",
		"--auth=off --auth-key-files=/keys":   "nobody would look",
		"--auth=off --query-tokens":           "--query-tokens",
		"--max-connections=0":                 "--max-connections",
		"--max-plain-connections=-1":          "--max-plain-connections",
		"--max-address-connections=-1":        "--max-address-connections",
		"--max-subject-connections=-1":        "--max-subject-connections",
		"--max-unauthenticated=-1":            "--max-unauthenticated",
		"--max-address-unauthenticated=-1":    "--max-address-unauthenticated",
		"--max-handshakes=-1":                 "--max-handshakes",
		"--max-address-handshakes=1000001":    "--max-address-handshakes",
		"--handshake-burst=0":                 "--handshake-burst",
		"--trusted-proxies=10.0.0.0/33":       "--trusted-proxies",
		"--trusted-proxies=proxy":             "--trusted-proxies",
		"--trusted-proxies=0.0.0.0/0":         "everybody",
		"--trusted-proxies=::/0":              "everybody",
		"--trusted-proxies=::ffff:10.0.0.1":   "as IPv4",
		"--trusted-proxies=fe80::1%eth0":      "--trusted-proxies",
		"--origins=*":                         "--origins",
		"--origins=https://*":                 "--origins",
		"--origins=https://dash.example.com/": "--origins",
	} {
		all := append([]string{brokers}, strings.Fields(args)...)
		if !strings.Contains(args, "--auth=") {
			all = append(all, open)
		}
		if _, err := LoadConfig(all, nil, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %s", args, err, want)
		}
	}
	// A configuration that was not checked opens nothing either.
	if _, err := New(Config{}, Deps{Log: zap.NewNop()}); err == nil {
		t.Error("a gateway without a word of authentication starts")
	}
}

// Whom a request is counted for: only trusted proxies are believed, and of what they say only what they know.
func TestClientAddress(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"direct", "192.0.2.1:4711", nil, "192.0.2.1"},
		{"direct, with a lie", "192.0.2.1:4711", []string{"198.51.100.1"}, "192.0.2.1"},
		{"direct, IPv6", "[2001:db8::1]:4711", []string{"198.51.100.1"}, "2001:db8::1"},
		{"proxy", "10.1.2.3:4711", []string{"192.0.2.1"}, "192.0.2.1"},
		{"proxy behind a dual-stack listener", "[::ffff:10.1.2.3]:4711", []string{"192.0.2.1"}, "192.0.2.1"},
		{"two proxies", "10.1.2.3:4711", []string{"192.0.2.1, 10.9.9.9"}, "192.0.2.1"},
		{"two proxies, a header each", "10.1.2.3:4711", []string{"192.0.2.1", "10.9.9.9"}, "192.0.2.1"},
		{"a client that lies", "10.1.2.3:4711", []string{"198.51.100.1, 192.0.2.1"}, "192.0.2.1"},
		{"a client that claims to be a proxy", "10.1.2.3:4711", []string{"198.51.100.1, 10.0.0.1, 192.0.2.1"}, "192.0.2.1"},
		{"a client that lies in a header of its own", "10.1.2.3:4711", []string{"198.51.100.1", "192.0.2.1"}, "192.0.2.1"},
		{"a client that spells it as IPv6", "10.1.2.3:4711", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
		{"rubbish in front", "10.1.2.3:4711", []string{"<script>, 192.0.2.1"}, "192.0.2.1"},
		{"rubbish where the client should be", "10.1.2.3:4711", []string{"192.0.2.1, unknown"}, "10.1.2.3"},
		{"a proxy that says nothing", "10.1.2.3:4711", nil, "10.1.2.3"},
		{"a client among the proxies", "10.1.2.3:4711", []string{"10.4.5.6"}, "10.1.2.3"},
		{"no address at all", "pipe", []string{"192.0.2.1"}, "invalid IP"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/ws", http.NoBody)
		r.RemoteAddr = tc.peer
		for _, f := range tc.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		for _, other := range []string{"X-Real-Ip", "True-Client-Ip", "Forwarded", "Cf-Connecting-Ip"} { // nobody is asked to set them
			r.Header.Set(other, "203.0.113.9")
		}
		s := &Service{cfg: Config{Access: AccessConfig{TrustedProxies: []string{"10.0.0.0/8"}}}}
		var got string
		s.behindProxies(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got = clientAddress(r).Unmap().String()
		})).ServeHTTP(httptest.NewRecorder(), r)
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

// guardedWorld is a world whose gateway asks for tokens, and what signs them.
type guardedWorld struct {
	*world
	signer *mint.Signer
	logs   *observer.ObservedLogs
}

func inGuardedWorld(t *testing.T, change func(*Config), test func(w *guardedWorld)) {
	t.Helper()
	dir := t.TempDir()
	private, public, err := mint.Create(dir, "k1")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := mint.Load(private)
	if err != nil {
		t.Fatal(err)
	}
	g := &guardedWorld{signer: signer}
	inWorldWith(t, func(w *world) {
		g.world = w
		var core zapcore.Core
		core, g.logs = observer.New(zap.DebugLevel)
		w.log = zap.New(core)
		w.redis = totalstest.New(w.t)
		w.change = func(cfg *Config) {
			cfg.Access.Auth = authJWT
			cfg.Access.Tokens.KeyFiles, cfg.Access.Tokens.Audience = []string{public}, mint.DefaultAudience
			cfg.Access.Tokens.MaxLifetime = time.Hour
			if change != nil {
				change(cfg)
			}
		}
	}, func(w *world) {
		w.init(record)
		(&fleet{world: w, sums: w.redis.Open(w.t)}).tally(-1)
		w.awaitReady()
		test(g)
	})
}

// token returns a token of a subject that is good for ten minutes.
func (w *guardedWorld) token(subject string, links ...string) string {
	w.t.Helper()
	token, _, err := w.signer.Sign(mint.Claims{Subject: subject, Links: links, Lifetime: 10 * time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// knock opens a WebSocket, or returns the answer that refuses it.
func (w *guardedWorld) knock(path, token string) (*dashboard, *http.Response) {
	w.t.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	client := *w.web
	client.Transport = w.contract.Transport(w.t, w.web.Transport)
	conn, resp, err := websocket.Dial(w.t.Context(), "ws://"+addr+path, &websocket.DialOptions{HTTPClient: &client, HTTPHeader: header})
	if err != nil {
		if resp == nil {
			w.t.Fatal(err)
		}
		return nil, resp
	}
	conn.SetReadLimit(wire.MaxServerMessage)
	d := &dashboard{t: w.t, conn: conn, counts: map[string]int64{}, done: make(chan struct{})}
	go d.read(context.WithoutCancel(w.t.Context()))
	return d, resp
}

func (d *dashboard) send(m wire.ClientMessage) {
	d.t.Helper()
	if err := d.conn.Write(d.t.Context(), websocket.MessageText, wire.AppendClient(nil, m)); err != nil {
		d.t.Fatal(err)
	}
}

// ask asks for something by plain HTTP.
func (w *guardedWorld) ask(method, path, token string) (status int, body string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://"+addr+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := w.contract.Transport(w.t, w.web.Transport).RoundTrip(req)
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

// ticket takes a ticket.
func (w *guardedWorld) ticket(token string) string {
	w.t.Helper()
	status, body := w.ask(http.MethodPost, "/v1/tickets", token)
	var t struct{ Ticket string }
	if err := json.Unmarshal([]byte(body), &t); err != nil || status != http.StatusOK {
		w.t.Fatalf("%d %s", status, body)
	}
	return t.Ticket
}

// The three ways in with real tokens, a real ticket and a real hub: each sees what the token covers and nothing else, over
// WebSocket and plain HTTP alike, and nothing of a token is logged or measured.
func TestTokens(t *testing.T) {
	t.Parallel()
	inGuardedWorld(t, nil, func(w *guardedWorld) {
		w.clicks("acme:x", 3)
		w.clicks("other:x", 5)
		anna := w.token("anna", "acme:*")
		ways := map[string]func() *dashboard{
			"header": func() *dashboard { d, _ := w.knock("/ws", anna); return d },
			"message": func() *dashboard {
				d, _ := w.knock("/ws", "")
				d.send(wire.ClientMessage{Type: wire.TypeAuth, Token: anna})
				return d
			},
			"ticket": func() *dashboard { d, _ := w.knock("/ws?ticket="+w.ticket(anna), ""); return d },
		}
		for name, open := range ways {
			d := open()
			if d == nil {
				w.t.Fatalf("%s: refused", name)
			}
			d.subscribe("acme:x", "other:x", "nobody")
			d.await("acme:x", 3)
			answer, ok := first[wire.Subscribed](d)
			if !ok || len(answer.Denied) != 2 || len(d.counts) != 1 {
				w.t.Fatalf("%s: %+v", name, answer)
			}
			_ = d.conn.CloseNow()
			<-d.done
		}
		for path, want := range map[string]int{"/links/acme:x/clicks": 200, "/links/other:x/clicks": 403, "/links/nobody/clicks": 403} {
			if status, body := w.ask(http.MethodGet, path, anna); status != want {
				w.t.Errorf("%s: %d %s", path, status, body)
			}
			if status, body := w.ask(http.MethodGet, path, ""); status != 401 {
				w.t.Errorf("%s without a token: %d %s", path, status, body)
			}
		}
		if _, body := w.ask(http.MethodGet, "/v1/counts?links=other:x,acme:x", anna); !strings.Contains(body, `"denied":["other:x"]`) {
			w.t.Errorf("%s", body)
		}
		used := w.ticket(anna)
		d, _ := w.knock("/ws?ticket="+used, "")
		_ = d.conn.CloseNow()
		<-d.done
		for _, bad := range []struct{ path, token string }{
			{"/ws?ticket=" + used, ""}, {"/ws", "eyJhbGciOiJub25lIn0.e30."}, {"/ws?access_token=" + anna, ""}, {"/ws", anna + "x"},
		} {
			_, resp := w.knock(bad.path, bad.token)
			if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusBadRequest {
				w.t.Errorf("%s: %s", bad.path[:8], resp.Status)
			}
			_ = resp.Body.Close()
		}
		families, err := w.registry.Gather()
		if err != nil {
			w.t.Fatal(err)
		}
		var told strings.Builder
		fmt.Fprint(&told, families)
		for _, l := range w.logs.All() {
			fmt.Fprint(&told, l.Message, l.ContextMap())
		}
		for _, secret := range []string{used, anna, "eyJ", "anna", "acme:"} {
			if strings.Contains(told.String(), secret) {
				w.t.Errorf("%.20s is logged or measured", secret)
			}
		}
	})
}

// A refresh takes links away with a word, and an expired token ends the connection.
func TestTokensEnd(t *testing.T) {
	t.Parallel()
	inGuardedWorld(t, nil, func(w *guardedWorld) {
		d, _ := w.knock("/ws", w.token("anna", "acme:*"))
		d.subscribe("acme:x", "acme:y")
		d.await("acme:y", 0)
		d.send(wire.ClientMessage{Type: wire.TypeAuth, Token: w.token("bert", "*")})
		d.send(wire.ClientMessage{Type: wire.TypeAuth, Token: w.token("anna", "acme:y")})
		time.Sleep(time.Second)
		if no, ok := first[wire.Error](d); !ok || no.Code != wire.ErrBadToken {
			w.t.Fatalf("a refresh by somebody else: %+v", no)
		}
		gone, ok := first[wire.Unsubscribed](d)
		if !ok || gone.Reason != wire.ReasonGrant || fmt.Sprint(gone.Links) != "[acme:x]" {
			w.t.Fatalf("%+v", gone)
		}
		start := time.Now()
		<-d.done
		if took := time.Since(start); websocket.CloseStatus(d.err) != websocket.StatusCode(wire.CloseUnauthenticated) || took > 11*time.Minute {
			w.t.Fatalf("ended after %v: %v", took, d.err)
		}
	})
}

// While Redis is away there are no tickets, and tokens are as good as ever.
func TestTicketsWithoutRedis(t *testing.T) {
	t.Parallel()
	inGuardedWorld(t, nil, func(w *guardedWorld) {
		anna := w.token("anna", "*")
		ticket := w.ticket(anna)
		w.redis.Away(true)
		if status, body := w.ask(http.MethodPost, "/v1/tickets", anna); status != 503 || !strings.Contains(body, "auth_unavailable") {
			w.t.Errorf("%d %s", status, body)
		}
		if _, resp := w.knock("/ws?ticket="+ticket, ""); resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" {
			w.t.Errorf("%s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
		}
		d, resp := w.knock("/ws", anna)
		if d == nil {
			w.t.Fatalf("%s", resp.Status)
		}
		w.redis.Away(false)
		time.Sleep(time.Second)
		other, resp := w.knock("/ws?ticket="+w.ticket(anna), "")
		if other == nil {
			w.t.Fatalf("%s", resp.Status)
		}
		for _, d := range []*dashboard{d, other} {
			_ = d.conn.CloseNow()
			<-d.done
		}
	})
}

// A gateway that has no Redis has no tickets, and says so.
func TestNoTickets(t *testing.T) {
	t.Parallel()
	inGuardedWorld(t, func(cfg *Config) { cfg.Totals = totalsReplay }, func(w *guardedWorld) {
		if status, body := w.ask(http.MethodPost, "/v1/tickets", w.token("anna", "*")); status != 501 || !strings.Contains(body, "no_tickets") {
			w.t.Errorf("%d %s", status, body)
		}
		if _, resp := w.knock("/ws?ticket="+strings.Repeat("A", 43), ""); resp.StatusCode != http.StatusUnauthorized {
			w.t.Errorf("%s", resp.Status)
		}
	})
}

// A drain sends those elsewhere too who have not said who they are, and is not held up by them.
func TestDrainOfGuests(t *testing.T) {
	t.Parallel()
	inGuardedWorld(t, nil, func(w *guardedWorld) {
		d, _ := w.knock("/ws", "")
		start := time.Now()
		w.stop()
		<-d.done
		bye, ok := first[wire.Goodbye](d)
		if !ok || websocket.CloseStatus(d.err) != websocket.StatusServiceRestart || bye.Reason != wire.ReasonDrain {
			w.t.Fatalf("goodbye %+v, end %v", bye, d.err)
		}
		w.end()
		if took := time.Since(start); took > 3*time.Second {
			w.t.Fatalf("stopping took %v", took)
		}
	})
}

// A gateway that has no keys yet takes nobody and is unready, and says what it waits for.
func TestWaitsForKeys(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) {
		w.change = func(cfg *Config) {
			cfg.Access.Auth = authJWT
			cfg.Access.Tokens.JWKSURL, cfg.Access.Tokens.Issuer = "http://127.0.0.1:1/keys", "issuer"
			cfg.Access.Tokens.Audience, cfg.Access.Tokens.MaxLifetime = "linkpulse", time.Hour
		}
	}, func(w *world) {
		w.init(record)
		time.Sleep(5 * time.Second)
		status, body := w.get("/readyz")
		if status != http.StatusServiceUnavailable || !strings.Contains(body, `"name":"auth","ok":false`) || !strings.Contains(body, `"name":"deployment","ok":true`) {
			w.t.Fatalf("/readyz %d %s", status, body)
		}
		if status, _ := w.refused(); status != http.StatusServiceUnavailable {
			w.t.Fatalf("connecting: %d", status)
		}
		req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "http://"+addr+"/links/a/clicks", http.NoBody)
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.e30.c2ln")
		resp, err := w.web.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := errors.Join(w.contract.CheckResponse(req, resp), resp.Body.Close()); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
			w.t.Fatalf("%s, %v", resp.Status, err)
		}
	})
}
