package peertest

import (
	"bufio"
	_ "embed"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

var (
	//go:embed peer.cjs
	nodeProgram string
	//go:embed peer.py
	pythonProgram string
)

func startNode(tb testing.TB) Peer {
	tb.Helper()
	modules := filepath.Join(installed(tb), "node_modules")
	if _, err := exec.LookPath("node"); err != nil || !isThere(filepath.Join(modules, "ws")) {
		missing(tb, "node with the package ws")
	}
	return startProgram(tb, "NODE_PATH="+modules, "node", "-e", nodeProgram)
}

func startPython(tb testing.TB) Peer {
	tb.Helper()
	packages := filepath.Join(installed(tb), "python")
	if _, err := exec.LookPath("python3"); err != nil || !isThere(filepath.Join(packages, "websockets")) {
		missing(tb, "python3 with the package websockets")
	}
	return startProgram(tb, "PYTHONPATH="+packages, "python3", "-c", pythonProgram)
}

func isThere(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// program is a peer in a process of its own.
type program struct {
	tb     testing.TB
	orders *json.Encoder
	events chan []byte // closed when the process has ended
}

func startProgram(tb testing.TB, environ, name string, args ...string) *program {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), name, args...)
	cmd.Env = append(os.Environ(), environ)
	cmd.Stderr = tb.Output()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &program{tb: tb, orders: json.NewEncoder(stdin), events: make(chan []byte, 1024)}
	read := make(chan struct{})
	go func() {
		defer close(read)
		p.read(stdout)
	}()
	tb.Cleanup(func() {
		_ = stdin.Close() // it ends by that
		<-read
		_ = cmd.Wait()
	})
	return p
}

// read passes the process's lines on until it ends.
func (p *program) read(stdout io.Reader) {
	defer close(p.events)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		p.events <- append([]byte(nil), lines.Bytes()...)
	}
}

func (p *program) order(o map[string]any) {
	p.tb.Helper()
	if err := p.orders.Encode(o); err != nil {
		p.tb.Fatalf("the peer takes no orders: %v", err)
	}
}

func (p *program) Connect(url string, headers map[string]string) {
	p.tb.Helper()
	if headers == nil {
		headers = map[string]string{}
	}
	p.order(map[string]any{"do": "connect", "url": url, "headers": headers})
}

func (p *program) Send(binary bool, fragments ...string) {
	p.tb.Helper()
	p.order(map[string]any{"do": "send", "fragments": fragments, "binary": binary})
}

func (p *program) Ping(payload string) bool {
	p.tb.Helper()
	p.order(map[string]any{"do": "ping", "payload": payload})
	return true
}

func (p *program) Close(code int) {
	p.tb.Helper()
	p.order(map[string]any{"do": "close", "code": code})
}

func (p *program) Next() Event {
	p.tb.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case line, ok := <-p.events:
			if !ok {
				p.tb.Fatal("the peer's process has ended")
			}
			if e := decode(p.tb, line); !e.Ping {
				return e
			}
		case <-late.C:
			p.tb.Fatalf("nothing from the peer for %v", patience)
		}
	}
}
