package bench

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// server is a system that the benchmark started for itself.
type server struct {
	Ingest   string   `json:"ingest"`
	Gateways []string `json:"gateways"`
	Admin    string   `json:"admin"`
	Token    string   `json:"token"` // empty where it wants none

	cmd *exec.Cmd
}

const (
	startTimeout = time.Minute
	stopTimeout  = 30 * time.Second
)

// startServer starts this program once more, as `dev`, on free ports, with its own log on stderr, and on its own CPUs
// where the machine is divided.
func startServer(ctx context.Context, gateways int, auth string, cpus []int, stderr io.Writer) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	const free = "127.0.0.1:0"
	args := []string{"dev", "--json", "--auth", auth, "--ingest-addr", free, "--shortener-addr", free, "--admin-addr", free}
	for range gateways {
		args = append(args, "--gateway-addr", free)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopTimeout
	cmd.Stderr = stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	start := cmd.Start
	if len(cpus) > 0 {
		start = func() error { return startOn(cpus, cmd.Start) }
	}
	if err := start(); err != nil {
		return nil, fmt.Errorf("starting the system under test: %w", err)
	}
	s := &server{cmd: cmd}
	type answer struct {
		line string
		err  error
	}
	ready := make(chan answer, 1)
	go func() { // ends at the latest when the process does, which closes the pipe
		line, err := bufio.NewReader(stdout).ReadString('\n')
		ready <- answer{line, err}
	}()
	select {
	case a := <-ready:
		if err = a.err; err == nil {
			err = json.Unmarshal([]byte(a.line), s)
		}
	case <-time.After(startTimeout):
		err = fmt.Errorf("it is not ready after %v", startTimeout)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting the system under test: %w", err), s.stop())
	}
	return s, nil
}

// stop ends the system as an orchestrator would, and waits for it.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	kill := time.AfterFunc(stopTimeout, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the system under test ended badly: %w", err)
	}
	return nil
}

// prober returns a probe of a process. Its live memory is known where admin, the URL of its admin port, is.
func prober(pid int, admin string) func(context.Context, bool) (Usage, error) {
	return func(ctx context.Context, collect bool) (Usage, error) {
		var live int64
		if collect && admin != "" {
			for range 2 { // what lies in a pool survives one collection
				var err error
				if live, err = liveMemory(ctx, admin); err != nil {
					return Usage{}, err
				}
			}
		}
		u, err := processUsage(pid)
		if err != nil {
			return Usage{}, err
		}
		self, err := processUsage(os.Getpid())
		if err != nil {
			return Usage{}, err
		}
		u.Live, u.Generator = live, self.CPU
		u.Machine, u.Stolen, err = machineUsage()
		return u, err
	}
}

// liveMemory makes the server collect its garbage and returns what is left, heap and stacks: net/http/pprof writes the
// runtime's statistics below a heap profile in text form.
func liveMemory(ctx context.Context, admin string) (bytes int64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/debug/pprof/heap?gc=1&debug=1", http.NoBody)
	if err != nil {
		return 0, err
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("reading the server's live memory: %s", resp.Status)
	}
	found := 0
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		for _, name := range []string{"# HeapAlloc = ", "# Stack = "} { // "# Stack = in use / from the system"
			if text, ok := strings.CutPrefix(lines.Text(), name); ok {
				n, err := strconv.ParseInt(strings.Fields(text)[0], 10, 64)
				if err != nil {
					return 0, fmt.Errorf("reading the server's live memory: %w", err)
				}
				bytes += n
				found++
			}
		}
	}
	if err := lines.Err(); err != nil || found != 2 {
		return 0, fmt.Errorf("reading the server's live memory: %d of 2 figures found: %w", found, cmp.Or(err, io.ErrUnexpectedEOF))
	}
	return bytes, nil
}
