package e2e

import (
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var (
	seedCount = flag.Int("seeds", 120, "how many seeds TestSimulation runs, from 1 on; -short runs 10")
	burstFor  = flag.Duration("burst", 5*time.Second, "how long there is ten times the load in TestTotalsOnRealParts")
	onlySeed  = flag.Uint64("seed", 0, "the one seed that TestSimulation runs; 0: as many as -seeds says")
)

func TestMain(m *testing.M) {
	flag.Parse()
	goleak.VerifyTestMain(m)
}
