package devcmd

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth/mint"
	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/chrometest"
)

// refusal watches a link with a token, or none, and returns why the gateway does not let that be.
func refusal(t *testing.T, gateway, token string) *client.StoppedError {
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
	if err := w.Add("x7Kp2"); err != nil {
		t.Fatal(err)
	}
	for u, err := range w.Updates(t.Context()) {
		if stopped := (*client.StoppedError)(nil); errors.As(err, &stopped) {
			return stopped
		}
		if u.Known {
			return nil
		}
	}
	t.Fatal("nothing came")
	return nil
}

const isLive = `document.getElementById("state").textContent === "live"`

func TestGatewaysWantTheToken(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(out, []byte("of another run, for all to read"), 0o644); err != nil {
		t.Fatal(err)
	}
	at, stop := startUntil(t, func(c *Cmd) { c.TokenOut = out })
	defer stop()
	for _, g := range at.Gateways {
		if got := countOf(t, g, at.Token, "x7Kp2", 0); got != 0 {
			t.Errorf("%s tells %d", g, got)
		}
		if why := refusal(t, g, at.Token[:len(at.Token)-8]+"AAAAAAAA"); why == nil || why.Status != http.StatusUnauthorized {
			t.Errorf("%s takes a token that nobody signed: %v", g, why)
		}
		if status, _, _ := get(t, g+"/links/x7Kp2/clicks"); status != http.StatusUnauthorized {
			t.Errorf("%s answers a request without a token with %d", g, status)
		}
		if _, _, body := get(t, g); !strings.Contains(body, `data-token="`+at.Token+`"`) {
			t.Errorf("the page of %s has no token", g)
		}
	}
	b, err := os.ReadFile(out)
	info, statErr := os.Stat(out)
	if err := errors.Join(err, statErr); err != nil {
		t.Fatal(err)
	}
	if string(b) != at.Token+"\n" || info.Mode().Perm() != 0o600 {
		t.Errorf("%s has %q, mode %v", out, b, info.Mode())
	}
}

func TestWithoutAuthentication(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "token")
	at, stop := startUntil(t, func(c *Cmd) { c.Auth, c.TokenOut = "off", out })
	defer stop()
	if _, err := os.Stat(out); at.Token != "" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a token: %q, %v", at.Token, err)
	}
	if why := refusal(t, at.Gateways[0], ""); why != nil {
		t.Error(why)
	}
}

// What lies about of the key: its private half in the data directory, for nobody else to read, or nowhere.
func TestKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept, err := newPass(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := kept.close(); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, keyDir, keyID+".key")
	info, err := os.Stat(key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	passing, err := newPass("")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(passing.keys)
	if err != nil || len(files) != 1 || files[0].Name() != keyID+".pem" {
		t.Errorf("%v, %v", files, err)
	}
	if b, err := os.ReadFile(filepath.Join(passing.keys, keyID+".pem")); err != nil || bytes.Contains(b, []byte("PRIVATE")) {
		t.Errorf("%s, %v", b, err)
	}
	if err := passing.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(passing.keys); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it stays: %v", err)
	}
	if err := os.WriteFile(key, []byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newPass(dir); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("a key that is none: %v", err)
	}
}

func TestAnnouncement(t *testing.T) {
	t.Parallel()
	p := &pass{token: "a.b.c"}
	at := addresses{Ingest: "http://127.0.0.1:1", Gateways: []string{"http://127.0.0.1:2", "http://0.0.0.0:3"}, Token: p.token}
	say := func(c Cmd, at addresses, key *pass) string {
		var b bytes.Buffer
		if err := c.announce(&b, at, key, nil, nil); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	said := say(Cmd{TokenOut: "f"}, at, p)
	for _, want := range []string{"http://127.0.0.1:2\n", "http://0.0.0.0:3/#token=a.b.c\n", "token         a.b.c\n", "--token-file f "} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	at.Token = ""
	if said := say(Cmd{}, at, nil); !strings.Contains(said, "everybody who can connect") || strings.Contains(said, "#token") {
		t.Errorf("without authentication it says:\n%s", said)
	}
	if said := say(Cmd{JSON: true}, addresses{Token: "a.b.c"}, p); !strings.Contains(said, `"token":"a.b.c"`) {
		t.Errorf("as JSON it says %s", said)
	}
}

// A gateway that others can reach does not give its token away: its page asks for one, takes it from the form and from a
// link, says which links it does not cover, and takes another one on the connection that it has.
func TestPageAsksForAToken(t *testing.T) {
	t.Parallel()
	chrome := chrometest.Start(t)
	dir := t.TempDir()
	at, stop := startUntil(t, func(c *Cmd) { c.DataDir, c.GatewayAddr = dir, []string{"0.0.0.0:0", "127.0.0.1:0"} })
	defer stop()
	_, port, _ := strings.Cut(strings.TrimPrefix(at.Gateways[0], "http://"), ":")
	gateway := "http://127.0.0.1:" + port
	signer, err := mint.Load(filepath.Join(dir, keyDir, keyID+".key"))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(life time.Duration, links ...string) string {
		token, _, err := signer.Sign(mint.Claims{Subject: subject, Links: links, Lifetime: life})
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	paste := func(p *chrometest.Page, text string) {
		p.Eval(fmt.Sprintf(`(document.getElementById("token").value = %q, document.querySelector("#door-form button").click())`, text))
	}
	row := func(link, count string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#rows tr")].some((r) =>
			r.querySelector('[data-part="link"]').textContent === %q && r.querySelector('[data-part="count"]').textContent === %q)`, link, count)
	}

	p := chrome.Open(gateway + "/?links=x7Kp2,mine:1")
	p.WaitFor(`!document.getElementById("door").hidden && document.getElementById("door-why").textContent.includes("people who have a token")`)
	p.WaitFor(`document.activeElement.id === "token" && getComputedStyle(document.getElementById("rows")).visibility === "visible"`)
	paste(p, "not a token")
	p.WaitFor(`document.getElementById("door-wrong").textContent.includes("not a token")`)
	paste(p, at.Token[:len(at.Token)-8]+"AAAAAAAA")
	p.WaitFor(`document.getElementById("door-why").textContent.startsWith("The gateway did not accept your token: ")`)
	paste(p, " Bearer "+sign(time.Hour, "mine:*")+"\n")
	p.WaitFor(isLive)
	p.WaitFor(`document.getElementById("door").hidden`)
	p.WaitFor(row("mine:1", "0"))
	p.WaitFor(row("x7Kp2", "no access"))

	// Another token, on the connection that is there.
	p.Eval(`document.getElementById("renew").click()`)
	p.Eval(`(window.sockets = 0, window.WebSocket = class extends WebSocket { constructor(url) { super(url); window.sockets++; } })`)
	paste(p, sign(90*time.Second, "x7Kp2"))
	p.WaitFor(row("x7Kp2", "0"))
	p.WaitFor(row("mine:1", "no access"))
	p.WaitFor(`document.getElementById("expiry").textContent.startsWith("access ends in ")`)
	if got := p.Eval("window.sockets"); got != "0" {
		t.Errorf("%s connections were made for another token", got)
	}

	// By a link, which is not in the address any more when the page has loaded; and it outlives a reload.
	p = chrome.Open(gateway + "/?links=x7Kp2#token=" + at.Token)
	p.WaitFor(isLive)
	if got := p.Eval(`location.href`); strings.Contains(got, "token") || !strings.Contains(got, "?links=x7Kp2") {
		t.Errorf("the address is %s", got)
	}
	p.Leave(`location.reload()`)
	p.WaitFor(isLive)
	if errs := p.Errors(); len(errs) > 0 {
		t.Errorf("the page's scripts failed: %v", errs)
	}
}

// A system that kept nothing starts again with another key. Pages that are open fetch the token that it gives now.
func TestPageOutlivesARestart(t *testing.T) {
	t.Parallel()
	chrome := chrometest.Start(t)
	at, stop := startUntil(t, func(*Cmd) {})
	p := chrome.Open(at.Gateways[0])
	p.WaitFor(isLive)
	stop()
	p.WaitFor("!(" + isLive + ")")
	again, stop := startUntil(t, func(c *Cmd) {
		c.GatewayAddr = nil
		for _, g := range at.Gateways {
			c.GatewayAddr = append(c.GatewayAddr, strings.TrimPrefix(g, "http://"))
		}
	})
	defer stop()
	if why := refusal(t, again.Gateways[0], at.Token); why == nil || why.Status != http.StatusUnauthorized {
		t.Fatalf("the token of before is good: %v", why)
	}
	p.WaitFor(isLive)
	if errs := p.Errors(); len(errs) > 0 {
		t.Errorf("the page's scripts failed: %v", errs)
	}
}
