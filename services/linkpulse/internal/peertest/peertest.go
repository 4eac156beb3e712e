// Package peertest drives WebSocket clients that other people wrote, so that the gateway is not only tested by clients that
// share its author's reading of RFC 6455: ws of npm, websockets of PyPI, and the one in Chromium. Where one cannot be had
// the test is skipped and says so; scripts/peers.sh installs the first two.
package peertest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// RequireEnv is the environment variable that turns the lack of a peer from a skip into a failure.
const RequireEnv = "LINKPULSE_REQUIRE_PEERS"

// patience bounds everything that is waited for: a first start on a busy machine takes seconds.
const patience = 60 * time.Second

// Peer is a client. Orders are carried out in their order; what happens is told by Next. It is not safe for concurrent use.
type Peer interface {
	// Connect opens a connection. What came of it is the next event.
	Connect(url string, headers map[string]string)
	// Send sends a message in as many frames as there are fragments.
	Send(binary bool, fragments ...string)
	// Ping sends a ping; false: this client has no way to.
	Ping(payload string) bool
	// Close begins to close.
	Close(code int)
	// Next waits for what happens next. Pings that the gateway sends are answered by the client and not told.
	Next() Event
}

// Event is something that happened to a connection. Exactly one of its groups is set.
type Event struct {
	Open        bool   `json:"open"`        // the handshake succeeded
	Extensions  string `json:"extensions"`  // negotiated with it
	Subprotocol string `json:"subprotocol"` // likewise

	Refused int `json:"refused"` // the status that the handshake was answered with; browsers do not tell it, and say 1006

	Message string `json:"message"`
	Binary  bool   `json:"binary"`

	Ping bool   `json:"ping"`
	Pong string `json:"pong"`

	Closed int    `json:"closed"`
	Reason string `json:"reason"`
}

// Kind is a kind of peer.
type Kind struct {
	Name string
	// Headers tells whether it can send some with the handshake, Fragments whether it lets its user make frames.
	Headers, Fragments bool
	// Start starts one, which ends with the test.
	Start func(testing.TB) Peer
}

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{
		{Name: "ws of npm", Headers: true, Fragments: true, Start: startNode},
		{Name: "websockets of PyPI", Headers: true, Fragments: true, Start: startPython},
		{Name: "Chromium", Start: startChromium},
	}
}

// missing skips the test, or fails it where peers are required.
func missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv(RequireEnv) != "" {
		tb.Fatalf("%s is set and there is no %s", RequireEnv, what)
	}
	tb.Skipf("no %s: scripts/peers.sh installs it where there are node, npm, python3 and pip", what)
}

// installed returns where scripts/peers.sh puts the peers: .tmp/peers of the workspace.
func installed(tb testing.TB) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return filepath.Join(dir, ".tmp", "peers")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("no go.work in any directory above the test")
		}
		dir = parent
	}
}

func decode(tb testing.TB, line []byte) Event {
	tb.Helper()
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		tb.Fatalf("the peer says %q: %v", line, err)
	}
	return e
}
