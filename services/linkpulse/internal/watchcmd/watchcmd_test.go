package watchcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/pkg/wire"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/tokenflag"
)

const goodToken = "good.token.x"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway answers the first subscribe of each connection with a count of 10 and n updates of one click each, then waits for
// the client to go, or closes with a code. Links that begin with "denied" are; any token but [goodToken] is refused.
func gateway(t *testing.T, n int64, code wire.CloseCode) Env {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token := r.Header.Get("Authorization"); token != "" && token != "Bearer "+goodToken {
			http.Error(w, `{"detail":"it is signed by nobody"}`, http.StatusUnauthorized)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Errorf("accepting: %v", err)
			return
		}
		defer func() { _ = c.CloseNow() }()
		send := func(b []byte) { _ = c.Write(r.Context(), websocket.MessageText, b) }
		send(wire.AppendReady(nil, wire.Ready{Protocol: 1, Gateway: "gw-1", HeartbeatMs: 15000, Epoch: 1}))
		if code != 0 {
			_ = c.Close(websocket.StatusCode(code), code.String())
			return
		}
		_, b, err := c.Read(r.Context())
		if err != nil {
			return
		}
		m, err := wire.DecodeClient(b)
		if err != nil {
			t.Errorf("%s: %v", b, err)
			return
		}
		var answer wire.Subscribed
		for _, link := range m.Links {
			if strings.HasPrefix(link, "denied") {
				answer.Denied = append(answer.Denied, link)
				continue
			}
			answer.Links = append(answer.Links, wire.LinkCount{Link: link, Count: 1234567, Bots: 3, Seq: 10})
		}
		send(wire.AppendSubscribed(nil, answer))
		now := time.Now().UnixMilli()
		send(wire.AppendHeartbeat(nil, wire.Heartbeat{At: now, CompleteTo: now - 250, LagMs: 250}))
		for i := range n {
			send(wire.AppendUpdate(nil, wire.Update{Link: m.Links[0], Count: 1234568 + i, Delta: 1, Bots: 3, Seq: 11 + i, At: now}))
		}
		_, _, _ = c.Read(r.Context())
	}))
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		srv.Close()
	})
	return Env{HTTPClient: &http.Client{Transport: transport}, Stderr: &buffer{}, Stdout: &buffer{}, Environ: []string{"URL=" + srv.URL}}
}

// buffer is one that may be written and read at the same time.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func text(w any) string { return w.(*buffer).String() }

func (e Env) url() string { return strings.TrimPrefix(e.Environ[0], "URL=") }

func TestLines(t *testing.T) {
	t.Parallel()
	env := gateway(t, 0, 0)
	c := Cmd{Links: []string{"x7Kp2"}, Gateway: []string{env.url()}, Count: 1}
	if err := c.Run(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if out := text(env.Stdout); !strings.Contains(out, "  x7Kp2  1,234,567  +0  bots 3\n") || strings.Contains(out, "\x1b") {
		t.Fatalf("printed %q", out)
	}
	if log := text(env.Stderr); !strings.Contains(log, "connecting to "+env.url()+"/ws\n") {
		t.Fatalf("told %q", log)
	}
}

func TestLinesOfJSON(t *testing.T) {
	t.Parallel()
	env := gateway(t, 1000, 0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := Cmd{Links: []string{"x7Kp2", "x7Kp2"}, Gateway: []string{env.url()}, JSON: true}
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, env) }()
	for !strings.Contains(text(env.Stdout), `"count":1235567`) && ctx.Err() == nil {
		tick := time.NewTimer(5 * time.Millisecond) // the output is a file: there is no event to wait for
		<-tick.C
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	count, states := int64(0), 0
	for line := range strings.Lines(text(env.Stdout)) {
		var l updateLine // a state has other members besides
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		switch l.Type {
		case "state":
			states++
		case "update":
			if count != 0 && count+l.Delta != l.Count || l.Seq == 0 || l.Epoch != 1 {
				t.Fatalf("after %d comes %s", count, line)
			}
			count = l.Count
		default:
			t.Fatalf("line %s", line)
		}
	}
	if count != 1235567 || states == 0 {
		t.Fatalf("the last count is %d, after %d states", count, states)
	}
}

func TestRefusalEndsIt(t *testing.T) {
	t.Parallel()
	for _, terminal := range []bool{false, true} {
		env := gateway(t, 0, wire.ClosePolicyViolation)
		env.Terminal = terminal
		err := (&Cmd{Links: []string{"x7Kp2"}, Gateway: []string{env.url()}}).Run(t.Context(), env)
		stopped := (*client.StoppedError)(nil)
		if !errors.As(err, &stopped) || stopped.Code != wire.ClosePolicyViolation {
			t.Fatalf("Run = %v", err)
		}
	}
	for _, c := range []Cmd{
		{Links: []string{"not a link"}, Gateway: []string{"http://gw"}},
		{Links: []string{"a"}, Gateway: []string{"gw"}},
		{Links: []string{"a"}, Gateway: []string{"http://gw"}, Count: -1},
	} {
		if err := c.Run(t.Context(), Env{}); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]string{goodToken: "", "bad.token.x": "401 Unauthorized: it is signed by nobody", "n0 token": "--token: "} {
		env := gateway(t, 0, 0)
		c := Cmd{Links: []string{"a"}, Gateway: []string{env.url()}, Count: 1, Flags: tokenflag.Flags{Token: token}}
		err := c.Run(t.Context(), env)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), token)) {
			t.Errorf("%s: %v, want %q", token, err, want)
		}
	}
	// A gateway that wants one has whoever brings none told how to.
	env := gateway(t, 0, wire.CloseUnauthenticated)
	err := (&Cmd{Links: []string{"a"}, Gateway: []string{env.url()}}).Run(t.Context(), env)
	if stopped := (*client.StoppedError)(nil); !errors.As(err, &stopped) || !strings.HasSuffix(err.Error(), "this client has none: give it one with --token-file") {
		t.Errorf("without a token: %v", err)
	}
	// Where it would be readable on its way, that is said.
	env = gateway(t, 0, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := Cmd{Links: []string{"a"}, Gateway: []string{"http://gw.example"}, Flags: tokenflag.Flags{Token: goodToken}}
	if err := c.Run(ctx, env); err != nil || !strings.Contains(text(env.Stderr), "unencrypted") {
		t.Errorf("told %q, %v", text(env.Stderr), err)
	}
}

func TestDeniedLinks(t *testing.T) {
	t.Parallel()
	env := gateway(t, 0, 0)
	c := Cmd{Links: []string{"a", "denied-1", "denied-2"}, Gateway: []string{env.url()}, Count: 1}
	if err := c.Run(t.Context(), env); err != nil || !strings.Contains(text(env.Stdout), "  a  1,234,567") || strings.Contains(text(env.Stdout), "denied") {
		t.Errorf("printed %q, %v", text(env.Stdout), err)
	}
	// Whoever waits for a change of denied links alone would wait for ever.
	for _, asJSON := range []bool{false, true} {
		env = gateway(t, 0, 0)
		c = Cmd{Links: []string{"denied-1", "denied-2", "denied-1"}, Gateway: []string{env.url()}, Count: 1, JSON: asJSON}
		if err := c.Run(t.Context(), env); !errors.Is(err, ErrDenied) {
			t.Errorf("ended with %v", err)
		}
		out := text(env.Stderr)
		want := "denied-1: denied, your token does not cover it\n"
		if asJSON {
			out, want = text(env.Stdout), `{"type":"denied","link":"denied-1"}`+"\n"
		}
		if strings.Count(out, want) != 1 || strings.Count(out, "denied-2") != 1 {
			t.Errorf("told %q", out)
		}
	}
}

// A token that is not renewed is told to programs and to people, and to these once.
func TestTokenProblem(t *testing.T) {
	t.Parallel()
	s := client.State{Phase: client.PhaseLive, Gateway: "gw-1", ExpiresAt: time.UnixMilli(1769860804250), TokenProblem: "the issuer is away"}
	env := Env{Stdout: &buffer{}, Stderr: &buffer{}}
	for _, c := range []Cmd{{}, {JSON: true}} {
		changes := make(chan change, 2)
		changes <- change{state: s}
		changes <- change{state: s}
		close(changes)
		if err := c.lines(env, changes); err != nil {
			t.Fatal(err)
		}
	}
	if out := text(env.Stderr); strings.Count(out, "live: gw-1; the token ends at ") != 1 || !strings.Contains(out, ": the issuer is away\n") {
		t.Errorf("told people %q", out)
	}
	if out := text(env.Stdout); strings.Count(out, `"expires_at":1769860804250,"token_problem":"the issuer is away"`) != 2 {
		t.Errorf("told programs %q", out)
	}
}

func TestTableRuns(t *testing.T) {
	t.Parallel()
	env := gateway(t, 5, 0)
	env.Terminal, env.Width, env.Height = true, 80, 24
	env.Environ = append(env.Environ, "TERM=xterm-256color", "NO_COLOR=1")
	c := Cmd{Links: []string{"x7Kp2"}, Gateway: []string{env.url()}, Count: 1}
	if err := c.Run(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	if out := text(env.Stdout); !strings.Contains(out, "x7Kp2") || strings.Contains(out, "\x1b[32m") {
		t.Fatalf("drawn %q", out)
	}
	// The end of its context is no error.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&Cmd{Links: []string{"x7Kp2"}, Gateway: []string{env.url()}}).Run(ctx, env); err != nil {
		t.Fatal(err)
	}
}

// plain removes what only a terminal sees, and spaces at the ends of lines.
func plain(s string) string {
	lines := strings.Split(strip(s), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func strip(s string) string {
	var out strings.Builder
	for {
		at := strings.IndexByte(s, '\x1b')
		if at < 0 {
			return out.String() + s
		}
		out.WriteString(s[:at])
		s = s[at:]
		s = s[strings.IndexByte(s, 'm')+1:]
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	b := newBoard([]string{"x7Kp2", "a3bZ9", "x7Kp2"})
	b.state = client.State{Phase: client.PhaseLive, Gateway: "gw-1", Lag: 200 * time.Millisecond, Heartbeat: now.Add(-time.Second)}
	known := client.Update{Link: "x7Kp2", Known: true, Status: client.LinkLive, Count: 1243, Bots: 31, At: now.Add(-50 * time.Second)}
	b.apply(known, now.Add(-20*time.Second))
	known.Count, known.Delta, known.At = 1247, 4, now
	b.apply(known, now)
	want := `
● live: gw-1, complete to 1.2 s ago   q quits
link          clicks                   bots     per s  last
x7Kp2          1,247  +4                 31       0.4  now
a3bZ9        waiting
`
	if got := "\n" + plain(b.render(80, 24, now)); got != want {
		t.Fatalf("drawn:%s\nwant:%s", got, want)
	}
	// The delta fades, the rate decays, and a lost connection is said.
	later := now.Add(11 * time.Second)
	b.state = client.State{Phase: client.PhaseReconnecting, Reason: "the gateway is silent", RetryAt: later.Add(1500 * time.Millisecond)}
	want = `
● reconnecting: the gateway is silent; again in 1.5 s   q quits
link          clicks                   bots     per s  last
x7Kp2          1,247                     31            11 s ago
`
	if got := "\n" + plain(b.render(80, 24, later)); !strings.HasPrefix(got, want) {
		t.Fatalf("drawn:%s\nwant:%s", got, want)
	}
	// A token that is not renewed, and a link that it does not cover.
	b.apply(client.Update{Link: "a3bZ9", Status: client.LinkDenied}, later)
	b.state = client.State{Phase: client.PhaseLive, Gateway: "gw-1", ExpiresAt: time.Date(2026, 1, 31, 12, 5, 0, 0, time.Local), TokenProblem: "the issuer is away"}
	want = `
● live: gw-1; the token ends at 12:05:00: the issuer is away   q quits
link          clicks                   bots     per s  last
x7Kp2          1,247                     31            11 s ago
a3bZ9         denied
▲ one link is denied: your token does not cover it
`
	if got := "\n" + plain(b.render(80, 24, later)); got != want {
		t.Fatalf("drawn:%s\nwant:%s", got, want)
	}
	if got := plain(b.render(80, 6, later)); !strings.Contains(got, "and 1 more") || !strings.Contains(got, "one link is denied") {
		t.Fatalf("drawn:\n%s", got)
	}
	// A low and narrow terminal.
	b = newBoard([]string{strings.Repeat("a", 128), "b", "c", "d"})
	got := plain(b.render(72, 6, now))
	if !strings.Contains(got, "and 2 more") || strings.Contains(got, "\nc") {
		t.Fatalf("drawn:\n%s", got)
	}
	for line := range strings.Lines(got) {
		if len([]rune(line)) > 73 {
			t.Fatalf("a line of %d characters: %s", len([]rune(line)), line)
		}
	}
}

func TestModel(t *testing.T) {
	t.Parallel()
	m := &model{board: newBoard([]string{"a"}), most: 2}
	update := func(msg tea.Msg) bool {
		_, cmd := m.Update(msg)
		if cmd == nil {
			return false
		}
		_, quits := cmd().(tea.QuitMsg)
		return quits
	}
	if m.Init() == nil || update(tea.WindowSizeMsg{Width: 80, Height: 10}) || m.width != 80 {
		t.Fatal("the size was not taken")
	}
	u := client.Update{Link: "a", Known: true, Status: client.LinkLive, Count: 1}
	if update(change{update: client.Update{Link: "a"}}) || update(change{update: u}) || !update(change{update: u}) {
		t.Fatal("it does not end after two counts")
	}
	if !update(tea.KeyPressMsg{Code: 'q', Text: "q"}) || update(tea.KeyPressMsg{Code: 'x', Text: "x"}) {
		t.Fatal("q does not end it, or x does")
	}
	boom := errors.New("boom")
	if !update(change{err: boom}) || !errors.Is(m.err, boom) {
		t.Fatal("an error does not end it")
	}
	if got := m.View().Content; !strings.Contains(got, "link") {
		t.Fatalf("drawn %q", got)
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567"} {
		if got := group(n); got != want {
			t.Errorf("group(%d) = %s", n, got)
		}
	}
	for d, want := range map[time.Duration]string{-time.Second: "now", 30 * time.Second: "30 s ago", 5 * time.Minute: "5 min ago", 50 * time.Hour: "50 h ago"} {
		if got := age(d); got != want {
			t.Errorf("age(%v) = %s", d, got)
		}
	}
}
