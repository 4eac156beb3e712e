package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of CPU times in /proc: USER_HZ, which is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// processUsage reads /proc of a process (proc(5)).
func processUsage(pid int) (Usage, error) {
	dir := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("reading a process's CPU time: %w", err)
	}
	// The second field is the program's name in parentheses and may hold anything; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return Usage{}, fmt.Errorf("reading a process's CPU time: %q is too short", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	status, err3 := os.ReadFile(dir + "/status")
	if err := errors.Join(err1, err2, err3); err != nil {
		return Usage{}, fmt.Errorf("reading a process's usage: %w", err)
	}
	u := Usage{CPU: time.Duration(user+system) * clockTick}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(kb), " kB"), 10, 64)
			if err != nil {
				return Usage{}, fmt.Errorf("reading a process's memory: %w", err)
			}
			u.RSS = n << 10
		}
	}
	return u, nil
}

// machineUsage reads the CPU time of all processes, and what the host kept, from /proc/stat (proc_stat(5)).
func machineUsage() (busy, stolen time.Duration, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0, fmt.Errorf("reading the machine's CPU time: %w", err)
	}
	first, _, _ := strings.Cut(string(stat), "\n")
	fields := strings.Fields(first) // cpu user nice system idle iowait irq softirq steal …
	const steal = 8
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("reading the machine's CPU time: %q is not what is known", first)
	}
	for i, field := range fields[1 : steal+1] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading the machine's CPU time: %w", err)
		}
		switch i + 1 {
		case 4, 5: // idle
		case steal:
			stolen = time.Duration(n) * clockTick
		default:
			busy += time.Duration(n) * clockTick
		}
	}
	return busy, stolen, nil
}
