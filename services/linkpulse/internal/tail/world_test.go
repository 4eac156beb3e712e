package tail

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// sent is a click that reached ingest.
type sent struct {
	Link      string
	ID        string
	At        time.Time
	Referrer  string
	UserAgent string `json:"user_agent"`
	Bot       *bool
}

// ingest is the other end: it acknowledges everything unless told otherwise.
type ingest struct {
	mu     sync.Mutex
	answer func() (*http.Response, error) // nil: 202
	clicks []sent
}

func (g *ingest) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.answer != nil {
		return g.answer()
	}
	for line := range bytes.Lines(body) {
		var c sent
		if err := json.Unmarshal(line, &c); err != nil {
			return nil, err
		}
		g.clicks = append(g.clicks, c)
	}
	return status(http.StatusAccepted), nil
}

func status(code int) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(""))}
}

func (g *ingest) set(answer func() (*http.Response, error)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

func (g *ingest) links() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	links := make([]string, len(g.clicks))
	for i, c := range g.clicks {
		links[i] = c.Link
	}
	return links
}

// world is a directory with a log, and the command that reads it.
type world struct {
	*testing.T

	log    string
	ingest *ingest
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{T: t, log: filepath.Join(t.TempDir(), "access.log"), ingest: &ingest{}}
}

// line returns a line that is a click on link.
func line(link string) string {
	return `1.2.3.4 - - [31/Jan/2026:12:00:00 +0000] "GET /` + link + ` HTTP/1.1" 302 0 "https://from.example/" "agent"` + "\n"
}

// append writes clicks to a file of the log's directory, the log itself where name is empty.
func (w *world) append(name string, links ...string) {
	w.Helper()
	path := w.log
	if name != "" {
		path = filepath.Join(filepath.Dir(w.log), name)
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		w.Fatal(err)
	}
	for _, link := range links {
		if _, err := f.WriteString(line(link)); err != nil {
			w.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		w.Fatal(err)
	}
}

func (w *world) rename(from, to string) {
	w.Helper()
	dir := filepath.Dir(w.log)
	if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
		w.Fatal(err)
	}
}

// copyTruncate is what logrotate does where a server cannot open its log again.
func (w *world) copyTruncate(to string) {
	w.Helper()
	content, err := os.ReadFile(w.log)
	if err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(w.log), to), content, 0o600); err != nil {
		w.Fatal(err)
	}
	if err := os.Truncate(w.log, 0); err != nil {
		w.Fatal(err)
	}
}

// run runs the command to its end.
func (w *world) run(c Cmd) (stdout, stderr string, err error) {
	w.Helper()
	var out, log strings.Builder
	c.File, c.Ingest = w.log, "http://ingest"
	if c.StripPrefix == "" {
		c.StripPrefix = "/"
	}
	if c.Status == nil {
		c.Status = []int{301, 302, 303, 307, 308}
	}
	err = c.Run(w.Context(), Env{Stdout: &out, Stderr: &log, Transport: w.ingest})
	return out.String(), log.String(), err
}

// follow starts the command; stop ends it and returns what it told.
func (w *world) follow() (stop func() string) {
	w.Helper()
	ctx, cancel := context.WithCancel(w.Context())
	var out, log strings.Builder
	done := make(chan error, 1)
	c := Cmd{File: w.log, Ingest: "http://ingest", StripPrefix: "/", Status: []int{302}, Follow: true}
	go func() { done <- c.Run(ctx, Env{Stdout: &out, Stderr: &log, Transport: w.ingest}) }()
	stopped := false
	stop = func() string {
		w.Helper()
		if stopped {
			return ""
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.Fatalf("following: %v", err)
		}
		return log.String() + out.String()
	}
	w.Cleanup(func() { stop() })
	return stop
}

// settle lets the follower look a few times.
func settle() {
	time.Sleep(4 * pollEvery)
	synctest.Wait()
}

// expect compares what reached ingest so far.
func (w *world) expect(links ...string) {
	w.Helper()
	settle()
	if got := w.ingest.links(); !slices.Equal(got, links) {
		w.Fatalf("ingest has %v, want %v", got, links)
	}
}
