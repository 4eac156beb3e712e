package peertest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/chrometest"
)

// chromium is the WebSocket of a page.
type chromium struct {
	tb      testing.TB
	browser *chrometest.Browser
	page    *chrometest.Page
}

func startChromium(tb testing.TB) Peer {
	tb.Helper()
	return &chromium{tb: tb, browser: chrometest.Start(tb)}
}

// Connect opens the WebSocket from a page of the server that it leads to, whose origin is always allowed.
func (c *chromium) Connect(url string, headers map[string]string) {
	c.tb.Helper()
	if len(headers) > 0 {
		c.tb.Fatal("a browser sends no headers of its own")
	}
	host, _, _ := strings.Cut(strings.TrimPrefix(url, "ws://"), "/")
	c.page = c.browser.Open("http://" + host + "/livez")
	c.page.Eval(fmt.Sprintf(`void (() => {
		const peer = window.peer = { events: [], socket: new WebSocket(%q) };
		const s = peer.socket, tell = (e) => peer.events.push(e);
		s.onopen = () => tell({ open: true, extensions: s.extensions, subprotocol: s.protocol });
		s.onmessage = (e) => tell({ message: String(e.data), binary: typeof e.data !== "string" });
		s.onclose = (e) => tell({ closed: e.code, reason: e.reason });
	})()`, url))
}

func (c *chromium) Send(binary bool, fragments ...string) {
	c.tb.Helper()
	for _, f := range fragments {
		text := c.quote(f)
		if binary {
			text = "new TextEncoder().encode(" + text + ")"
		}
		c.page.Eval("void peer.socket.send(" + text + ")")
	}
}

// Ping is something that pages cannot do.
func (c *chromium) Ping(string) bool { return false }

func (c *chromium) Close(code int) {
	c.tb.Helper()
	c.page.Eval(fmt.Sprintf("void peer.socket.close(%d)", code))
}

func (c *chromium) Next() Event {
	c.tb.Helper()
	c.page.WaitFor("peer.events.length > 0")
	return decode(c.tb, []byte(c.page.Eval("peer.events.shift()")))
}

func (c *chromium) quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		c.tb.Fatal(err)
	}
	return string(b)
}
