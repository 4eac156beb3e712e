package e2e

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/totalscmd"
)

// TestRecreatedTopic: somebody deletes the topic and creates it anew under the same name. Nobody hangs and nobody guesses:
// clicks are taken, the totals stay what they were and tallies and gateways say why, dashboards keep what they were told
// and are told no number of both logs, and once an operator has begun a new epoch everybody shows what is in the new log
// and nothing else.
func TestRecreatedTopic(t *testing.T) {
	t.Parallel()
	for name, clicks := range map[string]int{"shorter than the old one": 2, "longer than the old one": 9} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { recreate(t, clicks) })
		})
	}
}

func recreate(t *testing.T, clicks int) {
	const before, link = 5, "x7Kp2"
	w := newWorld(t, 1)
	w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer w.people.Wait()
	defer cancel()
	open := func(names ...string) {
		for i, name := range names {
			d := newDashboard(name, []string{link}, w.stack.Gateways(), w.net.Host(name).Dial, &w.recorder)
			d.first = i
			w.dashboards = append(w.dashboards, d)
			w.people.Go(func() { d.run(ctx) })
		}
	}
	open("dashboard-a", "dashboard-b")
	v := newVisitor(w.stack.Ingest, w.net.Host("visitor").Dial, &w.recorder, 1)
	defer v.close()
	visit := func(times int) {
		t.Helper()
		for range times {
			if err := v.visit(ctx, 100, link); err != nil {
				t.Fatal(err)
			}
		}
		pause(ctx, 20*time.Second) // longer than anybody waits before saying what is wrong
	}
	visit(before)
	if got := w.stored(link); got != before || w.dashboards[0].count(link) != before {
		t.Fatalf("%d clicks are stored and %d shown, want %d", got, w.dashboards[0].count(link), before)
	}

	cluster := w.stack.Broker().Cluster()
	if err := cluster.DeleteTopic(record().Topic); err != nil {
		t.Fatal(err)
	}
	if err := cluster.CreateTopic(record().Topic, int32(record().Partitions), nil); err != nil {
		t.Fatal(err)
	}
	visit(clicks)
	open("late-a", "late-b")
	visit(1)
	clicks++
	if got := w.stored(link); got != before {
		t.Errorf("%d clicks are stored: the totals of the old log were %d and must stay that", got, before)
	}
	if !strings.Contains(string(w.log.bytes()), "the tally of this partition stops (recreated)") {
		t.Error("no tally says that the topic was created anew")
	}
	if !strings.Contains(string(w.log.bytes()), "the log is not the one that was counted") {
		t.Error("no gateway says that the topic was created anew")
	}
	for i, d := range w.dashboards {
		want := int64(before)
		if i >= 2 {
			want = 0 // it is syncing
		}
		if got := d.count(link); got != want {
			t.Errorf("%s shows %d clicks of a topic that is no more, want %d", d.name, got, want)
		}
	}

	rebuild := totalscmd.Rebuild{From: "log", Topic: record().Topic, Yes: true}
	rebuild.Kafka.Brokers = w.stack.Kafka()
	rebuild.Redis = totals.Config{Addrs: w.stack.RedisAddrs(), Prefix: "linkpulse", Timeout: 2 * time.Second}
	var out, log lines
	err := rebuild.Run(ctx, totalscmd.Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &log, Owner: "test", Log: zap.NewNop(), Dial: w.net.Host("operator").Dial,
	})
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out.bytes(), log.bytes())
	}
	w.epoch.Store(record().Epoch + 1)
	visit(1)
	for _, d := range w.dashboards {
		if got := d.count(link); got != int64(clicks)+1 {
			t.Errorf("%s shows %d clicks, the new log has %d", d.name, got, clicks+1)
		}
	}
	if got := w.stored(link); got != int64(clicks)+1 {
		t.Errorf("%d clicks are stored, the new log has %d", got, clicks+1)
	}
	for _, e := range w.recorder.Events() {
		if e.Count.Epoch == record().Epoch && e.Count.Count > before {
			t.Errorf("%v, and the topic had %d clicks when it was deleted", e, before)
		}
	}
	cancel()
	w.people.Wait()
	stopping, stopped := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer stopped()
	if err := w.stack.Stop(stopping); err != nil {
		t.Error(err)
	}
}

// stored returns how many clicks of a link Redis has in the epoch of now.
func (w *world) stored(link string) int64 {
	w.t.Helper()
	store := w.openTotals("observer")
	defer store.Close()
	epoch := store.Epoch(w.epoch.Load(), totals.RuleOf(record().Fold()))
	sums, _, err := epoch.Totals(w.t.Context(), click.Partition(link, record().Partitions), []string{link})
	if err != nil {
		w.t.Fatal(err)
	}
	return sums[link].Count
}
