package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDivide(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ cpus, server, generator []int }{
		{cpus: nil},
		{cpus: []int{3}},
		{cpus: []int{0, 1}, server: []int{0}, generator: []int{1}},
		{cpus: []int{0, 2, 5, 9}, server: []int{0, 2, 5}, generator: []int{9}},
	} {
		d, ok := divide(tc.cpus)
		if ok != (tc.server != nil) || !slices.Equal(d.server, tc.server) || !slices.Equal(d.generator, tc.generator) {
			t.Errorf("%v: %+v, %t", tc.cpus, d, ok)
		}
	}
	apart := division{server: []int{0, 2}, generator: []int{9}}.String()
	if !strings.Contains(apart, "server on CPU 0,2,") || !strings.Contains(apart, "dashboards on CPU 9") {
		t.Errorf("apart: %q", apart)
	}
	if shared := (division{}).String(); !strings.HasPrefix(shared, "shared") {
		t.Errorf("shared: %q", shared)
	}
}

// threadsOn returns which CPUs the threads of a process may use, "" where they differ.
func threadsOn(t *testing.T, pid int) string {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	if err != nil {
		t.Fatal(err)
	}
	var sets []unix.CPUSet
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(id, &set); err != nil {
			continue // it has ended
		}
		sets = append(sets, set)
	}
	if len(slices.Compact(sets)) != 1 {
		return ""
	}
	var cpus []int
	for n := range 1024 {
		if sets[0].IsSet(n) {
			cpus = append(cpus, n)
		}
	}
	return numbers(cpus)
}

// The server gets its CPUs and this process its own, with the threads that there are and those to come; afterwards it has
// all of them again.
func TestCPUsOfTheirOwn(t *testing.T) { //nolint:paralleltest // it takes a CPU away from the whole process
	cpus, err := usableCPUs()
	if err != nil {
		t.Fatal(err)
	}
	cores, ok := divide(cpus)
	if !ok {
		t.Skip("this machine has one CPU")
	}
	child := exec.Command("cat") // ends with its input
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := startOn(cores.server, child.Start); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	}()
	if got := threadsOn(t, child.Process.Pid); got != numbers(cores.server) {
		t.Errorf("the server is on CPU %s, want %s", got, numbers(cores.server))
	}
	if got := threadsOn(t, os.Getpid()); got != numbers(cpus) {
		t.Errorf("starting it left threads of this process on other CPUs than %s: %q", numbers(cpus), got)
	}
	if err := bind(cores.generator); err != nil {
		t.Fatal(err)
	}
	begun := make(chan string)
	go func() { // ends with its thread, so that the runtime makes a new one
		runtime.LockOSThread()
		begun <- threadsOn(t, os.Getpid())
	}()
	if got := <-begun; got != numbers(cores.generator) {
		t.Errorf("this process is on CPU %q, want %s", got, numbers(cores.generator))
	}
	if err := bind(cpus); err != nil {
		t.Fatal(err)
	}
	if got := threadsOn(t, os.Getpid()); got != numbers(cpus) {
		t.Errorf("this process is left on CPU %q, want %s", got, numbers(cpus))
	}
	if err := bind([]int{1023}); err == nil {
		t.Error("bound to a CPU that there is not")
	}
}

// The result says who was where, to people and to programs.
func TestResultSaysWhoWasWhere(t *testing.T) {
	t.Parallel()
	r := Result{ServerCPUs: []int{0}, GeneratorCPUs: []int{1}}
	b, err := json.Marshal(r)
	if err != nil || !bytes.Contains(b, []byte(`"server_cpus":[0],"generator_cpus":[1]`)) {
		t.Errorf("%s, %v", b, err)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "apart: the server on CPU 0") {
		t.Errorf("%v\n%s", err, &out)
	}
}
