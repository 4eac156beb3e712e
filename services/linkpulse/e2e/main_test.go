package e2e

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var (
	seedCount = flag.Int("seeds", 120, "how many seeds TestSimulation runs, from 1 on; -short runs 10")
	onlySeed  = flag.Uint64("seed", 0, "the one seed that TestSimulation runs; 0: as many as -seeds says")
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}
