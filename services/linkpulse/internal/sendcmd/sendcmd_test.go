package sendcmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/keyflag"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ingest answers every request and keeps the clicks and when they came.
type ingest struct {
	answer func(n int) (status int, body string) // nil: 202
	bodies []string
	clicks []map[string]any
	at     []time.Time
}

func (g *ingest) RoundTrip(req *http.Request) (*http.Response, error) {
	b, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	n := len(g.bodies)
	g.bodies = append(g.bodies, string(b))
	status, body := http.StatusAccepted, `{}`
	if g.answer != nil {
		status, body = g.answer(n)
	}
	for line := range bytes.Lines(b) {
		var c map[string]any
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, err
		}
		if status == http.StatusAccepted {
			g.clicks, g.at = append(g.clicks, c), append(g.at, time.Now())
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func run(t *testing.T, c Cmd, g *ingest) (stdout, stderr string, err error) {
	t.Helper()
	c.Ingest = "http://ingest"
	if c.N == 0 {
		c.N = 1
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	var out, log strings.Builder
	err = c.Run(t.Context(), Env{Stdout: &out, Stderr: &log, Terminal: true, Transport: g})
	return out.String(), log.String(), err
}

func TestSendOne(t *testing.T) {
	t.Parallel()
	const id = "0198c0de-0000-7000-8000-000000000001"
	g := &ingest{}
	out, _, err := run(t, Cmd{Links: []string{"x7Kp2"}, ID: id, Bot: true, Referrer: "https://a/", UserAgent: "ua", Country: "DE"}, g)
	if err != nil || !strings.HasPrefix(out, "x7Kp2  "+id+"  in the log after ") {
		t.Fatalf("printed %q: %v", out, err)
	}
	c := g.clicks[0]
	if c["link"] != "x7Kp2" || c["id"] != id || c["bot"] != true || c["referrer"] != "https://a/" || c["user_agent"] != "ua" || c["country"] != "DE" {
		t.Fatalf("click %v", c)
	}
}

func TestSendManyInTurnsAndSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &ingest{}
		begun := time.Now()
		out, log, err := run(t, Cmd{Links: []string{"a", "b"}, N: 50, Rate: 10}, g)
		if err != nil || !strings.HasPrefix(out, "100 of 100 clicks are in the log, in 9.9s") || !strings.Contains(log, "100/100 clicks") {
			t.Fatalf("printed %q, %q: %v", out, log, err)
		}
		ids := map[any]bool{}
		for i, c := range g.clicks {
			ids[c["id"]] = true
			if want := []string{"a", "b"}[i%2]; c["link"] != want {
				t.Fatalf("click %d is of %v", i, c["link"])
			}
			if at := g.at[i].Sub(begun); at != time.Duration(i)*100*time.Millisecond {
				t.Fatalf("click %d was sent after %v", i, at)
			}
		}
		if len(g.clicks) != 100 || len(ids) != 100 {
			t.Fatalf("%d clicks, %d ids", len(g.clicks), len(ids))
		}
	})
}

func TestSendBatches(t *testing.T) {
	t.Parallel()
	g := &ingest{}
	out, _, err := run(t, Cmd{Links: []string{"a"}, N: 1200, JSON: true}, g)
	if err != nil || len(g.bodies) != 3 || strings.Count(out, "\n") != 1200 {
		t.Fatalf("%d requests, %d lines: %v", len(g.bodies), strings.Count(out, "\n"), err)
	}
	var r result
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&r); err != nil || r.Status != "delivered" || r.Link != "a" || len(r.ID) != 36 {
		t.Fatalf("result %+v: %v", r, err)
	}
}

func TestSendRetriesAndGivesUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &ingest{answer: func(n int) (int, string) {
			if n < 2 {
				return http.StatusBadGateway, ""
			}
			return http.StatusAccepted, ""
		}}
		_, log, err := run(t, Cmd{Links: []string{"a"}}, g)
		if err != nil || strings.Count(log, "trying again") != 2 || g.bodies[0] != g.bodies[2] {
			t.Fatalf("log %q: %v", log, err)
		}
		g = &ingest{answer: func(int) (int, string) { return http.StatusBadGateway, "" }}
		out, _, err := run(t, Cmd{Links: []string{"a"}}, g)
		if !errors.Is(err, ErrNotSent) || !strings.Contains(out, "unknown") {
			t.Fatalf("printed %q: %v", out, err)
		}
		const refusal = `{"type":"urn:linkpulse:problem:invalid_click","code":"invalid_click","rule":"country","index":0,"detail":"no"}`
		g = &ingest{answer: func(int) (int, string) { return http.StatusUnprocessableEntity, refusal }}
		out, _, err = run(t, Cmd{Links: []string{"a"}}, g)
		if !errors.Is(err, ErrNotSent) || !strings.Contains(out, "refused: ingest answers 422") || len(g.bodies) != 1 {
			t.Fatalf("printed %q: %v", out, err)
		}
	})
}

func TestSendChecksItsArguments(t *testing.T) {
	t.Parallel()
	_, _, err := run(t, Cmd{Links: []string{"a b", "c"}, N: -1, Rate: -1, ID: "x", Country: "DEU"}, &ingest{})
	for _, want := range []string{`"a b"`, "-n:", "--rate:", "--id: id must", "--id: it names one", "--country:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not told in %v", want, err)
		}
	}
}

// A key that ingest does not know is told once, and nothing is tried again: the next clicks would fare no better.
func TestSendWithAKey(t *testing.T) {
	t.Parallel()
	key, err := apikey.New("acme-1")
	if err != nil {
		t.Fatal(err)
	}
	const refusal = `{"type":"urn:linkpulse:problem:bad_key","code":"bad_key","rule":"expired","detail":"the key has expired"}`
	for name, flags := range map[string]keyflag.Flags{"flag": {Key: key.Reveal()}, "environment": {}} {
		expired := false
		g := &ingest{answer: func(int) (int, string) {
			if expired {
				return http.StatusUnauthorized, refusal
			}
			return http.StatusAccepted, ""
		}}
		check := func(header http.Header) {
			if p, err := apikey.Read(header); err != nil || p.Hash() != key.Hash() {
				t.Errorf("%s: sent %v: %v", name, p, err)
			}
		}
		var out, log strings.Builder
		send := func() error {
			out.Reset()
			c := Cmd{Links: []string{"a"}, N: 1200, Ingest: "http://ingest", Timeout: time.Minute, Credentials: flags}
			return c.Run(t.Context(), Env{
				Stdout: &out, Stderr: &log, Environ: []string{"LINKPULSE_KEY=" + key.Reveal()},
				Transport: watched{g, check},
			})
		}
		if err := send(); err != nil || len(g.clicks) != 1200 {
			t.Errorf("%s: %d clicks: %v", name, len(g.clicks), err)
		}
		expired = true
		before := len(g.bodies)
		err := send()
		if !errors.Is(err, ErrNotSent) || !errors.Is(err, client.ErrUnauthorized) || len(g.bodies) != before+1 ||
			strings.Count(out.String(), "failed: ingest answers 401 Unauthorized: bad_key: expired") != 500 {
			t.Errorf("%s: %d requests, %.200q: %v", name, len(g.bodies)-before, out.String(), err)
		}
		if said := out.String() + log.String() + err.Error(); strings.Contains(said, key.Reveal()[12:30]) {
			t.Errorf("%s: the secret is told", name)
		}
	}
	_, _, err = run(t, Cmd{Links: []string{"a"}, Credentials: keyflag.Flags{Key: "lpk_short"}}, &ingest{})
	if err == nil || !strings.Contains(err.Error(), "--key: a key is") {
		t.Errorf("no key: %v", err)
	}
}

// watched shows the header of each request.
type watched struct {
	http.RoundTripper

	show func(http.Header)
}

func (w watched) RoundTrip(req *http.Request) (*http.Response, error) {
	w.show(req.Header)
	return w.RoundTripper.RoundTrip(req)
}
