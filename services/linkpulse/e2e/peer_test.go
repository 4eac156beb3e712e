package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/peertest"
	"github.com/linkpulse/linkpulse/services/linkpulse/stack"
)

// Clients that share no line of code with the gateway, and no reading of the RFC, get what PROTOCOL.md says.
func TestPeers(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it starts other people's programs")
	}
	kinds := peertest.Kinds()
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	s, err := stack.Start(ctx, stack.Config{
		Log: zaptest.NewLogger(t), IngestAddr: "127.0.0.1:0", GatewayAddrs: []string{"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"},
	})
	if err != nil {
		t.Fatalf("starting the system: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	for i, kind := range kinds {
		t.Run(kind.Name, func(t *testing.T) {
			t.Parallel()
			c := &peerCase{
				t: t, kind: kind, peer: kind.Start(t), stack: s, gateway: i,
				url: "ws://" + hostOf(s.Gateways()[i]) + "/ws", link: fmt.Sprint("peer-", i),
			}
			c.counts()
			c.leaves()
			c.breaksRules()
			c.isSentElsewhere()
		})
	}
}

// peerCase is one kind of client at a gateway of its own.
type peerCase struct {
	t       *testing.T
	kind    peertest.Kind
	peer    peertest.Peer
	stack   *stack.Stack
	gateway int
	url     string
	link    string
}

// connect connects and waits for `ready`. Whatever the client offers, no extension and no subprotocol is negotiated.
func (c *peerCase) connect() {
	c.t.Helper()
	c.peer.Connect(c.url, nil)
	if e := c.peer.Next(); !e.Open || e.Extensions != "" || e.Subprotocol != "" {
		c.t.Fatalf("the handshake ended in %+v", e)
	}
	if m := c.message(); m["type"] != "ready" || m["protocol"] != 1.0 {
		c.t.Fatalf("the first message is %v", m)
	}
}

// message waits for a message other than a heartbeat.
func (c *peerCase) message() map[string]any {
	c.t.Helper()
	for {
		e := c.peer.Next()
		var m map[string]any
		if e.Binary || json.Unmarshal([]byte(e.Message), &m) != nil {
			c.t.Fatalf("no text message of JSON: %+v", e)
		}
		if m["type"] != "heartbeat" {
			return m
		}
	}
}

// closed waits for the end of the connection.
func (c *peerCase) closed(code int, reason string) {
	c.t.Helper()
	if e := c.peer.Next(); e.Closed != code || e.Reason != reason {
		c.t.Fatalf("%+v, want a close with %d %q", e, code, reason)
	}
}

// click posts a click, and returns when it was acknowledged.
func (c *peerCase) click() {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.stack.Ingest()+"/v1/clicks",
		strings.NewReader(fmt.Sprintf(`{"link":%q}`, c.link)))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		c.t.Fatalf("the click was answered %s", resp.Status)
	}
}

// counts subscribes, in fragments where the client makes some, and sees a click.
func (c *peerCase) counts() {
	c.connect()
	subscribe := fmt.Sprintf(`{"type":"subscribe","links":[%q]}`, c.link)
	if c.kind.Fragments {
		c.peer.Send(false, subscribe[:7], "", subscribe[7:20], subscribe[20:])
	} else {
		c.peer.Send(false, subscribe)
	}
	m := c.message()
	for m["type"] == "subscribed" && len(m["links"].([]any)) == 0 { // its total was still being read
		m = c.message()
	}
	links, ok := m["links"].([]any)
	if !ok || len(links) != 1 || m["type"] != "subscribed" {
		c.t.Fatalf("a subscribe was answered by %v", m)
	}
	if at := links[0].(map[string]any); at["link"] != c.link || at["count"] != 0.0 {
		c.t.Fatalf("subscribed at %v", at)
	}
	c.click()
	if m := c.message(); m["type"] != "click_update" || m["link"] != c.link || m["count"] != 1.0 || m["delta"] != 1.0 {
		c.t.Fatalf("a click was told as %v", m)
	}
	if c.peer.Ping("are you there?") {
		if e := c.peer.Next(); e.Pong != "are you there?" {
			c.t.Fatalf("a ping was answered by %+v", e)
		}
	}
}

// breaksRules sends what the gateway closes a connection for: the client must see the words and the code.
func (c *peerCase) breaksRules() {
	for _, tc := range []struct {
		binary  bool
		message string
		error   string // code of the `error` in front of the close; empty: none
		code    int
		reason  string
	}{
		{binary: true, message: "{}", error: "bad_message", code: 1003, reason: "unsupported"},
		{message: "hello", error: "bad_message", code: 1008, reason: "policy_violation"},
		{message: string(bytes.Repeat([]byte(" "), 17<<10)), code: 1009, reason: "too_big"},
	} {
		c.connect()
		c.peer.Send(tc.binary, tc.message)
		if tc.error != "" {
			if m := c.message(); m["type"] != "error" || m["code"] != tc.error {
				c.t.Fatalf("%.20q was answered by %v", tc.message, m)
			}
		}
		c.closed(tc.code, tc.reason)
	}
}

// leaves says goodbye as clients do.
func (c *peerCase) leaves() {
	c.t.Helper()
	c.peer.Close(1000)
	c.closed(1000, "")
}

// isSentElsewhere is there when its gateway stops.
func (c *peerCase) isSentElsewhere() {
	c.connect()
	stopped := make(chan error, 1)
	go func() { stopped <- c.stack.StopGateway(context.WithoutCancel(c.t.Context()), c.gateway) }()
	if m := c.message(); m["type"] != "goodbye" || m["reason"] != "drain" {
		c.t.Fatalf("a drain is told as %v", m)
	}
	c.closed(1012, "service_restart")
	if err := <-stopped; err != nil {
		c.t.Error(err)
	}
}
