package e2e

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
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
	for name, r := range map[string]recreation{
		"shorter than the old one": {clicks: 2},
		"longer than the old one":  {clicks: 9},
		// The tally rests between two fetches, and gateways wait in one.
		"longer at once": {clicks: 2, atOnce: 9},
	} {
		for _, totals := range []string{"redis", "replay"} {
			t.Run(name+", totals from "+totals, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { recreate(t, r, totals) })
			})
		}
	}
}

// recreation is what comes into the new log: atOnce clicks that nobody can have missed a fetch for, then clicks more.
type recreation struct{ atOnce, clicks int }

// fill appends clicks of a link to the log, past ingest.
func (w *world) fill(link string, clicks int) {
	w.t.Helper()
	if clicks == 0 {
		return
	}
	records := make([]*kgo.Record, clicks)
	for i := range records {
		rec := click.Record{ID: click.ID{15: byte(1 + i)}}
		records[i] = &kgo.Record{Partition: click.Partition(link, record().Partitions), Key: []byte(link), Value: rec.Append(nil)}
	}
	if err := w.writeForeign(records); err != nil {
		w.t.Fatal(err)
	}
}

// recreated is the world of [TestRecreatedTopic]: links of one partition, of which only the first one is watched before the
// topic is gone.
type recreated struct {
	*world
	visitor *visitor
	links   []string
}

// before is how many clicks of each link the old topic has.
func before(link int) int64 { return []int64{5, 1, 1, 1}[link] }

// open opens a dashboard of the first link and another one on each gateway.
func (w *recreated) open(ctx context.Context, link int) {
	for i := range w.stack.Gateways() {
		name := fmt.Sprintf("dashboard-%d-%d", link, i)
		d := newDashboard(name, slices.Compact([]string{w.links[0], w.links[link]}), w.stack.Gateways(), w.net.Host(name).Dial, &w.recorder)
		d.papers = w.newPapers(name, d.links, w.rng)
		d.first = i
		w.dashboards = append(w.dashboards, d)
		w.people.Go(func() { d.run(ctx) })
	}
}

func (w *recreated) visit(ctx context.Context, times int, links ...string) {
	w.t.Helper()
	for range times {
		for _, link := range links {
			if err := w.visitor.visit(ctx, 100, link); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

// settle waits for longer than anybody waits before saying what is wrong.
func settle(ctx context.Context) { pause(ctx, 20*time.Second) }

func recreate(t *testing.T, r recreation, from string) {
	w := &recreated{world: newWorld(t, 1), links: neighbours(4)}
	w.gatewayArgs = []string{"--totals=" + from}
	w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer w.people.Wait()
	defer cancel()
	w.open(ctx, 0)
	w.visitor = newVisitor(w.stack.Ingest, w.net.Host("visitor").Dial, &w.recorder, 1)
	defer w.visitor.close()
	for i, link := range w.links {
		w.visit(ctx, int(before(i)), link)
	}
	settle(ctx)
	w.holdsOld()

	cluster := w.stack.Broker().Cluster()
	if err := cluster.DeleteTopic(record().Topic); err != nil {
		t.Fatal(err)
	}
	if err := cluster.CreateTopic(record().Topic, int32(record().Partitions), nil); err != nil {
		t.Fatal(err)
	}
	for _, link := range w.links {
		w.fill(link, r.atOnce)
	}
	w.open(ctx, 1)
	w.visit(ctx, r.clicks, w.links...)
	w.open(ctx, 2)
	settle(ctx)
	w.open(ctx, 3)
	w.visit(ctx, 1, w.links...)
	settle(ctx)
	w.holdsOld()
	if !strings.Contains(string(w.log.bytes()), "the tally of this partition stops (recreated)") {
		t.Error("no tally says that the topic was created anew")
	}
	if !strings.Contains(string(w.log.bytes()), "the log is not the one that was counted") {
		t.Error("no gateway says that the topic was created anew")
	}

	w.rebuild(ctx)
	w.visit(ctx, 1, w.links...)
	settle(ctx)
	w.holdsNew(int64(r.atOnce + r.clicks + 2))
	cancel()
	w.people.Wait()
	stopping, stopped := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer stopped()
	if err := w.stack.Stop(stopping); err != nil {
		t.Error(err)
	}
}

// neighbours returns links of one partition.
func neighbours(n int) (links []string) {
	for i := 0; len(links) < n; i++ {
		link := "n" + strconv.Itoa(i)
		if click.Partition(link, record().Partitions) == 0 {
			links = append(links, link)
		}
	}
	return links
}

// holdsOld holds that the totals are those of the old topic, and that nobody has been told more than it ever had.
func (w *recreated) holdsOld() {
	w.t.Helper()
	most := make(map[string]int64)
	for i, link := range w.links {
		most[link] = before(i)
		if got := w.stored(link); got != most[link] {
			w.t.Errorf("%d clicks of %s are stored: the totals of the old log were %d and must stay that", got, link, most[link])
		}
	}
	for _, d := range w.dashboards[:2] {
		if got := d.count(w.links[0]); got != most[w.links[0]] {
			w.t.Errorf("%s shows %d clicks of the topic that was, want %d", d.name, got, most[w.links[0]])
		}
	}
	for _, e := range w.recorder.Events() {
		if e.Count.Count > most[e.Link] {
			w.t.Errorf("%v, and the topic that is no more had %d clicks", e, most[e.Link])
		}
	}
}

// holdsNew holds that everybody has the new topic's clicks, of each link, and nothing else.
func (w *recreated) holdsNew(clicks int64) {
	w.t.Helper()
	for _, link := range w.links {
		if got := w.stored(link); got != clicks {
			w.t.Errorf("%d clicks of %s are stored, the new log has %d", got, link, clicks)
		}
		for _, d := range w.dashboards {
			if got := d.count(link); got != clicks && slices.Contains(d.links, link) {
				w.t.Errorf("%s shows %d clicks of %s, the new log has %d", d.name, got, link, clicks)
			}
		}
	}
}

// rebuild is what an operator does about it.
func (w *recreated) rebuild(ctx context.Context) {
	w.t.Helper()
	rebuild := totalscmd.Rebuild{From: "log", Topic: record().Topic, Yes: true}
	rebuild.Kafka.Brokers = w.stack.Kafka()
	rebuild.Redis = totals.Config{Addrs: w.stack.RedisAddrs(), Prefix: "linkpulse", Timeout: 2 * time.Second}
	var out, log lines
	err := rebuild.Run(ctx, totalscmd.Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &log, Owner: "test", Log: zap.NewNop(), Dial: w.net.Host("operator").Dial,
	})
	if err != nil {
		w.t.Fatalf("%v\n%s%s", err, out.bytes(), log.bytes())
	}
	w.epoch.Store(record().Epoch + 1)
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
