package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// usableCPUs returns the numbers of the CPUs that this process may use.
func usableCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("asking for the CPUs: %w", os.NewSyscallError("sched_getaffinity", err))
	}
	var cpus []int
	for n := 0; len(cpus) < set.Count(); n++ {
		if set.IsSet(n) {
			cpus = append(cpus, n)
		}
	}
	return cpus, nil
}

// startOn calls start on a thread that may use only these CPUs. A process that start makes inherits that, and its runtime
// sees no other CPUs.
func startOn(cpus []int, start func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("asking for the CPUs: %w", os.NewSyscallError("sched_getaffinity", err))
	}
	if err := bindThread(0, cpus); err != nil {
		return err
	}
	err := start()
	return errors.Join(err, os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}

// bind makes every thread of this process use only these CPUs. Threads that begin later inherit it.
func bind(cpus []int) error {
	for bound := map[int]bool{}; ; {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("binding the threads: %w", err)
		}
		again := false
		for _, entry := range threads {
			id, err := strconv.Atoi(entry.Name())
			if err != nil || bound[id] {
				continue
			}
			if err := bindThread(id, cpus); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended meanwhile
				return err
			}
			bound[id], again = true, true
		}
		if !again { // nor has a thread that was not bound yet begun another
			return nil
		}
	}
}

// bindThread binds a thread; 0 is the one that calls.
func bindThread(id int, cpus []int) error {
	var set unix.CPUSet
	for _, n := range cpus {
		set.Set(n)
	}
	if err := unix.SchedSetaffinity(id, &set); err != nil {
		return fmt.Errorf("binding a thread to CPU %s: %w", numbers(cpus), os.NewSyscallError("sched_setaffinity", err))
	}
	return nil
}
