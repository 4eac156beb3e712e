package devcmd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/chrometest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs the command with free ports and returns its line of JSON. It stops with the test.
func start(t *testing.T) addresses {
	t.Helper()
	at, stop := startUntil(t, func(*Cmd) {})
	t.Cleanup(stop)
	return at
}

// startUntil is start with a stop by hand.
func startUntil(t *testing.T, change func(*Cmd)) (at addresses, stop func()) {
	t.Helper()
	const free = "127.0.0.1:0"
	c := Cmd{IngestAddr: free, GatewayAddr: []string{free, free}, ShortenerAddr: free, AdminAddr: free, Seed: 1, Auth: "jwt", JSON: true}
	change(&c)
	out, in := io.Pipe()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		err := c.Run(ctx, Env{Stdout: in, Stderr: io.Discard, Log: zap.NewNop()})
		_ = in.CloseWithError(io.EOF)
		done <- err
	}()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("linkpulse dev ended with %v", err)
		}
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatalf("no line of JSON: %v", err)
	}
	if err := json.Unmarshal(line, &at); err != nil || at.Ingest == "" || len(at.Gateways) != 2 || at.Shortener == "" || at.Admin == "" {
		t.Fatalf("line %q: %v", line, err)
	}
	return at, stop
}

// get asks for a URL without following redirects.
func get(t *testing.T, url string) (status int, header http.Header, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestShortenerAnswersFirst(t *testing.T) {
	t.Parallel()
	at := start(t)
	status, header, _ := get(t, at.Shortener+"/x7Kp2")
	if status != http.StatusFound || header.Get("Location") != "/to/x7Kp2" || header.Get("Cache-Control") != "no-store" {
		t.Fatalf("redirect: %d %v", status, header)
	}
	if status, _, body := get(t, at.Shortener+"/to/x7Kp2"); status != http.StatusOK || !strings.Contains(body, at.Gateways[1]) {
		t.Fatalf("landing page: %d\n%s", status, body)
	}
	if status, _, body := get(t, at.Shortener); status != http.StatusOK || !strings.Contains(body, `href="/x7Kp2"`) {
		t.Fatalf("index: %d\n%s", status, body)
	}
	if status, _, _ := get(t, at.Shortener+"/no%20link"); status != http.StatusNotFound {
		t.Fatalf("an impossible slug: %d", status)
	}
	if status, _, body := get(t, at.Admin+"/metrics"); status != http.StatusOK || !strings.Contains(body, `part="gateway-2"`) {
		t.Fatalf("metrics: %d", status)
	}
}

// The promise of the front page: a person follows links of the sample shortener, and the counters on pages that are
// connected to both gateways move.
func TestClicksMoveCountersInABrowser(t *testing.T) {
	t.Parallel()
	chrome := chrometest.Start(t)
	at := start(t)
	count := func(link, n string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#rows tr")].some((r) =>
			r.querySelector('[data-part="link"]').textContent === %q && r.querySelector('[data-part="count"]').textContent === %q)`, link, n)
	}
	var pages []*chrometest.Page
	for i, g := range at.Gateways {
		p := chrome.Open(g)
		p.WaitFor(`document.getElementById("state").textContent === "live"`)
		p.WaitFor(count("x7Kp2", "0"))
		p.WaitFor(fmt.Sprintf(`document.getElementById("gateway").textContent === "gateway-%d"`, i+1))
		pages = append(pages, p)
	}
	visitor := chrome.Open(at.Shortener)
	for range 3 {
		visitor.Leave(`document.querySelector('a[href="/x7Kp2"]').click()`)
		visitor.WaitFor(`location.pathname === "/to/x7Kp2"`)
		visitor.Go(at.Shortener)
	}
	for _, p := range pages {
		p.WaitFor(count("x7Kp2", "3"))
		p.WaitFor(`document.getElementById("total").textContent === "3"`)
	}
	// A link that the page did not know is watched on demand, and the address remembers it.
	pages[0].Eval(`(document.getElementById("link").value = "mine:1", document.querySelector("#add button").click())`)
	pages[0].WaitFor(count("mine:1", "0"))
	pages[0].WaitFor(`location.search.includes("mine:1")`)
	visitor.Go(at.Shortener + "/mine:1")
	pages[0].WaitFor(count("mine:1", "1"))
	for _, p := range append(pages, visitor) {
		if errs := p.Errors(); len(errs) > 0 {
			t.Errorf("the page's scripts failed: %v", errs)
		}
	}
}

func TestDataDirectoryKeepsTheCounts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var first addresses
	for run := int64(1); run <= 2; run++ {
		at, stop := startUntil(t, func(c *Cmd) { c.DataDir = dir })
		if run == 1 {
			first = at // its token is good as long as the key is kept
		}
		if status, err := postClick(t, at.Ingest, "x7Kp2"); err != nil || status != http.StatusAccepted {
			t.Fatalf("click: %d, %v", status, err)
		}
		for _, g := range at.Gateways {
			if got := countOf(t, g, first.Token, "x7Kp2", run); got != run {
				t.Errorf("%s tells %d, want %d", g, got, run)
			}
		}
		stop()
	}
}

func postClick(t *testing.T, ingest, link string) (status int, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, ingest+"/v1/clicks", strings.NewReader(`{"link":"`+link+`"}`))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// countOf asks a gateway for the count of a link, as soon as it is as high as somebody has acknowledged: a watcher that
// begins behind its gateway's position sees the count move there.
func countOf(t *testing.T, gateway, token, link string, least int64) int64 {
	t.Helper()
	opts := client.WatchOptions{}
	if token != "" {
		opts.Tokens = client.StaticToken(token)
	}
	w, err := client.NewWatcher([]string{gateway}, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Add(link); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for u, err := range w.Updates(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if u.Count >= least {
			return u.Count
		}
	}
	t.Fatalf("%s never told %d for %s", gateway, least, link)
	return 0
}

// With a file of keys, strangers cannot send clicks, and the shortener, which has a key, can.
func TestKeysOfTheShortener(t *testing.T) {
	t.Parallel()
	key, err := apikey.New("shop")
	if err != nil {
		t.Fatal(err)
	}
	text, err := keyring.Encode([]keyring.Entry{{ID: "shop", SHA256: keyring.Hashed(key), Grants: []string{"x7Kp2", "docs"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	c := Cmd{KeysFile: file}
	if err := c.Run(t.Context(), Env{Stdout: io.Discard, Stderr: io.Discard, Log: zap.NewNop()}); err == nil || !strings.Contains(err.Error(), "--key-file") {
		t.Errorf("it starts without a key: %v", err)
	}
	at, stop := startUntil(t, func(c *Cmd) { c.KeysFile, c.Credentials.Key = file, key.Reveal() })
	defer stop()
	if status, err := postClick(t, at.Ingest, "x7Kp2"); err != nil || status != http.StatusUnauthorized {
		t.Errorf("a stranger's click: %d, %v", status, err)
	}
	for range 3 {
		get(t, at.Shortener+"/x7Kp2")
	}
	if got := countOf(t, at.Gateways[0], at.Token, "x7Kp2", 3); got != 3 {
		t.Errorf("%d clicks, want 3", got)
	}
	if _, _, metrics := get(t, at.Admin+"/metrics"); !strings.Contains(metrics, `linkpulse_ingest_key_accepted_clicks_total{key="shop",part="ingest"} 3`) {
		t.Error("the clicks of the key are not counted")
	}
}
