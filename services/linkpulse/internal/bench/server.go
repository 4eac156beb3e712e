package bench

import (
	"bufio"
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

	cmd *exec.Cmd
}

const (
	startTimeout = time.Minute
	stopTimeout  = 30 * time.Second
)

// startServer starts this program once more, as `dev`, on free ports, with its own log on stderr.
func startServer(ctx context.Context, gateways int, stderr io.Writer) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	const free = "127.0.0.1:0"
	args := []string{"dev", "--json", "--ingest-addr", free, "--shortener-addr", free, "--admin-addr", free}
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
	if err := cmd.Start(); err != nil {
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

// prober returns a probe of a process. Its garbage is collected where admin, the URL of its admin port, is known.
func prober(pid int, admin string) func(context.Context, bool) (Usage, error) {
	return func(ctx context.Context, collected bool) (Usage, error) {
		if collected && admin != "" {
			if err := collect(ctx, admin); err != nil {
				return Usage{}, err
			}
		}
		return processUsage(pid)
	}
}

// collect makes the server collect its garbage.
func collect(ctx context.Context, admin string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, admin+"/debug/pprof/heap?gc=1", http.NoBody)
	if err != nil {
		return err
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("collecting the server's garbage: %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// clockTick is the unit of CPU times in /proc: USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// processUsage reads /proc of a process (proc(5)).
func processUsage(pid int) (Usage, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("reading the server's CPU time: %w", err)
	}
	// The second field is the program's name in parentheses and may hold anything; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return Usage{}, fmt.Errorf("reading the server's CPU time: %q is too short", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	status, err3 := os.ReadFile(dir + "/status")
	if err := errors.Join(err1, err2, err3); err != nil {
		return Usage{}, fmt.Errorf("reading the server's usage: %w", err)
	}
	u := Usage{CPU: time.Duration(user+system) * clockTick}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
			if err != nil {
				return Usage{}, fmt.Errorf("reading the server's memory: %w", err)
			}
			u.RSS = n << 10
		}
	}
	return u, nil
}
