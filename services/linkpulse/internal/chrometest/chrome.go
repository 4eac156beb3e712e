// Package chrometest drives a real Chromium from tests, by as much of the DevTools protocol as that takes: open a page,
// evaluate an expression, wait for one to become true. Where there is no Chromium the test is skipped and says so.
package chrometest

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// RequireEnv is the environment variable that turns the lack of a browser from a skip into a failure.
const RequireEnv = "LINKPULSE_REQUIRE_BROWSER"

// timeout bounds everything that is asked of a page: a first start on a busy machine takes seconds.
const timeout = 60 * time.Second

// Browser is a running Chromium with a profile of its own.
type Browser struct {
	t    testing.TB
	host string // host:port of its DevTools
}

// Start starts a Chromium, which ends with the test.
func Start(tb testing.TB) *Browser {
	tb.Helper()
	path := find()
	if path == "" {
		if os.Getenv(RequireEnv) != "" {
			tb.Fatalf("%s is set and there is no Chromium on the PATH", RequireEnv)
		}
		tb.Skip("no Chromium on the PATH: the page is not tested in a browser (Debian: apt-get install chromium)")
	}
	ctx, cancel := context.WithCancel(tb.Context())
	cmd := exec.CommandContext(ctx, path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--no-first-run", "--remote-debugging-port=0", "--user-data-dir="+tb.TempDir(), "about:blank")
	cmd.WaitDelay = 5 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatalf("starting %s: %v", path, err)
	}
	listens, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() { // also later, to keep its pipe empty
			if _, url, ok := strings.Cut(lines.Text(), "DevTools listening on ws://"); ok {
				host, _, _ := strings.Cut(url, "/")
				listens <- host // it says so once
			}
		}
	}()
	tb.Cleanup(func() {
		// Its children write into the profile too, which is about to be removed. They share its standard error, so that ends
		// with the last of them.
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopTimeout):
		}
		cancel()
		_ = cmd.Wait() // it was told to end
	})
	select {
	case host := <-listens:
		return &Browser{t: tb, host: host}
	case <-ended:
	}
	tb.Fatalf("%s ended before it listened", path)
	return nil
}

// stopTimeout is how long a browser may take to end by itself.
const stopTimeout = 10 * time.Second

func find() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// Page is a page of a browser. It is not safe for concurrent use.
type Page struct {
	t    testing.TB
	url  string
	conn *websocket.Conn
	last int

	mu     sync.Mutex // guards errors
	errors []string
}

// Open opens a page and waits until it has loaded.
func (b *Browser) Open(url string) *Page {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+b.host+"/json/new?about:blank", http.NoBody)
	if err != nil {
		b.t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	var target struct {
		WebSocketDebuggerURL string `json:"webSocketDebuggerUrl"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&target); err != nil {
		b.t.Fatal(err)
	}
	conn, dialed, err := websocket.Dial(ctx, target.WebSocketDebuggerURL, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	if dialed.Body != nil {
		_ = dialed.Body.Close()
	}
	conn.SetReadLimit(16 << 20)
	b.t.Cleanup(func() { _ = conn.CloseNow() })
	p := &Page{t: b.t, url: url, conn: conn}
	p.call("Runtime.enable", nil)
	p.call("Page.enable", nil)
	p.Go(url)
	return p
}

// Go navigates and waits until the page has loaded.
func (p *Page) Go(url string) {
	p.t.Helper()
	p.Eval("window.left = true") // the old document answers until the new one is there
	p.call("Page.navigate", map[string]any{"url": url})
	p.WaitFor("!window.left && document.readyState === 'complete'")
}

// reply is an answer or an event.
type reply struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

func (p *Page) call(method string, params any) json.RawMessage {
	p.t.Helper()
	result, refused := p.try(method, params)
	if refused != "" {
		p.t.Fatalf("%s: %s", method, refused)
	}
	return result
}

// try calls a method of the protocol; refused is the browser's reason not to answer it.
func (p *Page) try(method string, params any) (result json.RawMessage, refused string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), timeout)
	defer cancel()
	p.last++
	body, err := json.Marshal(map[string]any{"id": p.last, "method": method, "params": params})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.conn.Write(ctx, websocket.MessageText, body); err != nil {
		p.t.Fatalf("%s: %v", method, err)
	}
	for {
		_, data, err := p.conn.Read(ctx)
		if err != nil {
			p.t.Fatalf("%s: %v", method, err)
		}
		var r reply
		if err := json.Unmarshal(data, &r); err != nil {
			p.t.Fatalf("%s: %v", method, err)
		}
		switch {
		case r.Method == "Runtime.exceptionThrown":
			p.mu.Lock()
			p.errors = append(p.errors, string(r.Params))
			p.mu.Unlock()
		case r.ID != p.last: // another event
		case r.Error != nil:
			return nil, r.Error.Message
		default:
			return r.Result, ""
		}
	}
}

// Errors returns the exceptions that the page's scripts did not catch, so far.
func (p *Page) Errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.errors
}

// Eval evaluates a JavaScript expression and returns its value as JSON. Promises are waited for.
func (p *Page) Eval(expression string) string {
	p.t.Helper()
	value, failed := p.evaluate(expression)
	if failed != "" {
		p.t.Fatalf("%s: evaluating %s: %s", p.url, expression, failed)
	}
	return value
}

func (p *Page) evaluate(expression string) (value, failed string) {
	p.t.Helper()
	var result struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		ExceptionDetails *struct {
			Text      string `json:"text"`
			Exception struct {
				Description string `json:"description"`
			} `json:"exception"`
		} `json:"exceptionDetails"`
	}
	raw, refused := p.try("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if refused != "" { // it navigated away meanwhile
		return "", refused
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		p.t.Fatal(err)
	}
	if e := result.ExceptionDetails; e != nil {
		return "", e.Text + " " + e.Exception.Description
	}
	return string(result.Result.Value), ""
}

// Leave evaluates an expression that makes the page navigate, which may take the answer with it.
func (p *Page) Leave(expression string) {
	p.t.Helper()
	p.evaluate(expression)
}

// WaitFor waits until a JavaScript expression is true. It looks ten times a second from inside the page, and anew when a
// navigation took the page away meanwhile.
func (p *Page) WaitFor(expression string) {
	p.t.Helper()
	script := fmt.Sprintf(`new Promise((done) => {
		const end = Date.now() + 2000;
		(function look() {
			if (%s) return done(true);
			if (Date.now() > end) return done(false);
			setTimeout(look, 100);
		})();
	})`, expression)
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		if value, failed := p.evaluate(script); failed == "" && value == "true" {
			return
		}
	}
	p.t.Fatalf("%s: it never became true that %s", p.url, expression)
}
