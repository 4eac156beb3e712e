package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/kafkatest"
)

// build compiles the services' programs, as they are shipped, and returns where they are.
func build(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, service := range []string{"ingest", "gateway"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, service), "./cmd/"+service)
		cmd.Dir = filepath.Join("..", "..", service)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", service, err, out)
		}
	}
	return dir
}

// process is one of the services in a process of its own, so that it can be killed like one.
type process struct {
	name, program string
	args          []string
	addr          string

	out output
	cmd *exec.Cmd // of the last start
}

// newProcess describes a process that listens at a port of its own.
func newProcess(t *testing.T, dir, program, name string, args ...string) *process {
	t.Helper()
	addr := fmt.Sprintf("127.0.0.1:%d", kafkatest.FreePort(t))
	p := &process{name: name, program: filepath.Join(dir, program), addr: addr, args: append([]string{"--addr=" + addr, "--admin-addr="}, args...)}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said last:\n%s", p.name, p.out.last(3000))
		}
	})
	return p
}

func (p *process) url() string { return "http://" + p.addr }

// launch starts it.
func (p *process) launch(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", p.name, err)
	}
}

// start starts it and waits until it is ready.
func (p *process) start(t *testing.T) {
	t.Helper()
	p.launch(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	for !p.isReady(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("%s is not ready", p.name)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

func (p *process) isReady(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url()+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// kill ends it as kill -9 does.
func (p *process) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// end tells it to end, as an orchestrator does, and waits until it has: by itself, and without an error.
func (p *process) end(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	late := time.AfterFunc(soon, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%s was told to end: %v", p.name, err)
	}
	p.cmd = nil
}

// freeze stops it where it is; thaw lets it go on.
func (p *process) freeze(t *testing.T) { p.signal(t, syscall.SIGSTOP) }
func (p *process) thaw(t *testing.T)   { p.signal(t, syscall.SIGCONT) }

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v: %v", p.name, s, err)
	}
}

// said tells whether it has logged something.
func (p *process) said(what string) bool { return strings.Contains(p.out.last(1<<20), what) }

// output keeps what a process says.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) last(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.buf.Bytes()
	return string(b[max(0, len(b)-n):])
}
