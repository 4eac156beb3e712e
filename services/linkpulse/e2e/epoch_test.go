package e2e

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/simnet"
)

// TestEpochUnderLoad begins a new epoch while people click and watch, as `linkpulse totals rebuild` does: totals of the
// next epoch beside those in use, then the deployment record. Every number of either epoch must be the fold of the log,
// and in the end everybody is in the new one and right.
func TestEpochUnderLoad(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			w.start()
			w.watch()
			w.observe()
			w.intrude()
			wait := w.visit()
			pause(t.Context(), 10*time.Second+w.seconds(10))
			w.beginEpoch()
			wait()
			w.heal()
			w.judgeEpochs(w.stop())
		})
	}
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		t: t, net: simnet.New(seed), rng: rand.New(rand.NewPCG(seed, 0)), log: &lines{}, restarting: make(chan struct{}, 1),
		slowed: make(map[string]bool),
		links:  []string{"x7Kp2", "a3bZ9", "jobs", "acme:x", "acme:y"}, quiet: []string{"podcast", "acme", "acme2:x", "ACME:x"},
		strange: []string{"acme2:nothing", "acmf", "job", "jobs2", "X7KP2", "nobody:clicks"},
	}
	w.issuer, w.started = newIssuer(t, w.rng), make(chan string, 8)
	w.epoch.Store(record().Epoch)
	return w
}

// beginEpoch copies the totals to the next epoch and begins it.
func (w *world) beginEpoch() {
	store := w.openTotals("operator")
	defer store.Close()
	next := record()
	next.Epoch++
	old := store.Epoch(record().Epoch, totals.RuleOf(next.Fold()))
	fresh := store.Epoch(next.Epoch, totals.RuleOf(next.Fold()))
	for p := range record().Partitions {
		d, err := old.Dump(w.t.Context(), int32(p))
		if err == nil {
			err = fresh.Restore(w.t.Context(), int32(p), d)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	cluster, err := w.stack.OpenKafka("operator")
	if err != nil {
		w.t.Fatal(err)
	}
	defer cluster.Close()
	stands, err := deployment.Read(w.t.Context(), cluster)
	if err == nil {
		_, err = deployment.Begin(w.t.Context(), cluster, stands, next)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.epoch.Store(next.Epoch)
}

// judgeEpochs judges the numbers of each epoch by the same log, and the end by those of the new one.
func (w *world) judgeEpochs(log history.Log) {
	of := func(epoch int64) []history.Event {
		return slices.DeleteFunc(w.recorder.Events(), func(e history.Event) bool { return e.Count.Epoch != 0 && e.Count.Epoch != epoch })
	}
	told := len(slices.DeleteFunc(w.recorder.Events(), func(e history.Event) bool { return e.Kind != history.Shown }))
	for epoch := record().Epoch; epoch <= record().Epoch+1; epoch++ {
		events := of(epoch)
		n := len(slices.DeleteFunc(slices.Clone(events), func(e history.Event) bool { return e.Kind != history.Shown }))
		if n == 0 || n == told {
			w.t.Errorf("%d of %d numbers were shown in epoch %d: the test shows nothing", n, told, epoch)
		}
		log.Epoch = epoch
		violations, err := history.Check(events, log)
		if err != nil {
			w.t.Fatal(err)
		}
		if epoch <= record().Epoch { // of that one nothing is left in the end
			violations = slices.DeleteFunc(violations, func(v history.Violation) bool { return v.Rule == history.RuleFinal })
		}
		if err := history.Error(violations); err != nil {
			w.t.Errorf("epoch %d: %v", epoch, err)
		}
	}
}
