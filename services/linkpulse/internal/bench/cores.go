package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// division says who runs on which of the machine's CPUs, by number. Of the zero value everybody runs on all of them.
type division struct{ server, generator []int }

// divide gives the load generator, which is one thread, a CPU of its own, and the others to the server. One CPU cannot be
// divided.
func divide(cpus []int) (d division, ok bool) {
	last := len(cpus) - 1
	if last < 1 {
		return division{}, false
	}
	return division{server: cpus[:last], generator: cpus[last:]}, true
}

// String tells a person.
func (d division) String() string {
	if len(d.generator) == 0 {
		return "shared: what the server and the load generator take from each other is in the latencies"
	}
	return fmt.Sprintf("apart: the server on CPU %s, load generator and dashboards on CPU %s", numbers(d.server), numbers(d.generator))
}

func numbers(of []int) string {
	names := make([]string, len(of))
	for i, n := range of {
		names[i] = strconv.Itoa(n)
	}
	return strings.Join(names, ",")
}
