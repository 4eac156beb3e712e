package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/recount"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/kafkatest"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/redistest"
)

// fleet is the system as it is deployed: every service a process of its own, real Kafka, real Redis.
type fleet struct {
	kafka      container
	redis      *redistest.Redis
	lines      []*line // to redis: of the tallies, and of the gateways
	deployment deployment.Record
	ingest     *process   // takes clicks only
	twins      []*process // two more that take clicks, at rest
	tallies    []*process
	gateways   []*process
	links      []string
	credential credential
	dashboards []*dashboard
	recorder   history.Recorder
	totals     *totals.Store
	epoch      *totals.Epoch
}

// TestTotalsOnRealParts kills, freezes, empties and takes back in time what a deployment is made of, under load from
// visitors who try again. After each of that, what dashboards show, what Redis stores and what the log adds up to must
// be the same to the last click.
// It does not run beside the tests that have brokers of their own: nobody would get the processor that a heartbeat needs.
func TestTotalsOnRealParts(t *testing.T) {
	f := newFleet(t)
	for _, c := range []struct {
		name string
		harm func(*testing.T)
	}{
		{"nothing", func(t *testing.T) { pause(t.Context(), time.Second) }},
		{"ingest is killed in mid-batch", f.killIngest},
		{"a tally is killed", f.killTally},
		{"a tally is killed in every exchange with redis", f.killTallyEverywhere},
		{"redis is killed and comes back as it was a while ago", f.killRedis},
		{"redis is emptied", func(t *testing.T) { f.redis.FlushAll(t) }},
		{"redis stands still", f.freezeRedis},
		{"redis is slow", f.slowRedis},
		{"redis is made a replica", f.demoteRedis},
		{"redis has no memory left", f.starveRedis},
		{"a tally stands still for longer than its session, and goes on", f.freezeTally},
		{"the leader is killed and comes back", f.killBroker},
		{"a gateway is killed", f.killGateway},
		{"a gateway with two thousand dashboards is killed", f.killCrowded},
		{"three ingests are told the same at once", f.tellThree},
		{"every part is replaced, seen from outside", f.replace},
		{"there is ten times the load", f.tenTimes},
		{"the disk of redis is full", f.fillRedis},
	} {
		if !t.Run(c.name, func(t *testing.T) {
			f.underLoad(t, c.harm)
			f.exact(t)
		}) {
			return // the later ones would fail for the same reason
		}
	}
	t.Run("five ways to ask agree", f.everybodyAgrees)
	log := f.read(t)
	violations, err := history.Check(f.recorder.Events(), log)
	if err != nil {
		t.Fatal(err)
	}
	if err := history.Error(violations); err != nil {
		t.Fatal(err)
	}
	if !t.Run("the topic is deleted and created anew", f.recreate) {
		return
	}
	t.Run("what retention has cut is not guessed", func(t *testing.T) { f.cutLog(t, log) })
	t.Run("what retention has cut before it was tallied is told", f.cutWhileAway)
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{
		redis: redistest.Start(t), kafka: startKafka(t, kafkatest.Config{Brokers: 1}), deployment: deployment.Default(),
		credential: newCredential(t, "*"), links: []string{"x7Kp2", "a3bZ9", "jobs", "docs", "launch"},
	}
	f.deployment.Partitions = 4
	cluster, err := kafkalog.Open(f.kafka.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	_, err = deployment.Init(ctx, cluster, f.deployment, deployment.Topics{Replicas: 1, MinInsync: 1, Retention: deployment.DefaultRetention})
	if err != nil {
		t.Fatalf("creating topics and deployment record: %v", err)
	}
	store, err := totals.Open(totals.Config{Addrs: []string{f.redis.Addr}, Prefix: "linkpulse", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	f.totals = store
	f.epoch = store.Epoch(f.deployment.Epoch, totals.RuleOf(f.deployment.Fold()))

	dir := build(t)
	f.lines = []*line{newLine(t, f.redis.Addr), newLine(t, f.redis.Addr)}
	kafka, redis := "--kafka-brokers="+f.kafka.Addrs[0], func(i int) string { return "--redis-addrs=" + f.lines[i].addr }
	f.ingest = newProcess(t, dir, "ingest", "ingest", kafka, "--tally=off", "--auth=off")
	for i := range 2 {
		f.twins = append(f.twins, newProcess(t, dir, "ingest", fmt.Sprint("twin-", i), kafka, "--tally=off", "--auth=off"))
		f.tallies = append(f.tallies, newProcess(t, dir, "ingest", fmt.Sprint("tally-", i), kafka, redis(0), "--api=off"))
		args := append([]string{kafka, redis(1), "--heartbeat=5s", "--drain=2s"}, f.credential.args()...)
		f.gateways = append(f.gateways, newProcess(t, dir, "gateway", fmt.Sprint("gateway-", i), args...))
	}
	for _, p := range append(append([]*process{f.ingest}, f.tallies...), f.gateways...) {
		p.start(t)
	}
	f.watch(t)
	return f
}

// watch opens dashboards that begin at different gateways.
func (f *fleet) watch(t *testing.T) {
	t.Helper()
	var dialer net.Dialer
	var watching sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	for i := range 4 {
		d := newDashboard(fmt.Sprint("dashboard-", i), f.links, []string{f.gateways[0].url(), f.gateways[1].url()}, dialer.DialContext, &f.recorder)
		d.first, d.credential = i, f.credential
		f.dashboards = append(f.dashboards, d)
		watching.Go(func() { d.run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		watching.Wait()
	})
}

// underLoad does harm while visitors click, and returns when they have gone.
func (f *fleet) underLoad(t *testing.T, harm func(*testing.T)) {
	t.Helper()
	var dialer net.Dialer
	var visitors sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 3 {
		v := newVisitor(f.ingest.url, dialer.DialContext, &f.recorder, rand.Uint64())
		visitors.Go(func() {
			defer v.close()
			v.keepVisiting(ctx, 60, f.links)
		})
	}
	pause(t.Context(), 500*time.Millisecond)
	harm(t)
	pause(t.Context(), 500*time.Millisecond)
	cancel()
	visitors.Wait()
}

func (f *fleet) read(t *testing.T) history.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	log, err := readLog(ctx, f.deployment, f.kafka.Options()...)
	if err != nil {
		t.Fatalf("reading the log: %v", err)
	}
	return log
}

// exact waits until the dashboards, and then Redis, agree with the log. How long that took is told and not held against
// anybody: a machine that is busy with brokers may take any time.
func (f *fleet) exact(t *testing.T) {
	t.Helper()
	begun := time.Now()
	shown := f.await(t, f.show)
	took := time.Since(begun)
	f.await(t, f.store)
	t.Logf("%v after the last click dashboards were right, redis after %v: %v",
		took.Round(10*time.Millisecond), time.Since(begun).Round(10*time.Millisecond), shown)
}

// await waits until what is compared agrees with what the log adds up to.
func (f *fleet) await(t *testing.T, compare func(context.Context, map[string]int64) error) map[string]int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	for {
		want, err := history.Totals(f.read(t))
		if err != nil {
			t.Fatal(err)
		}
		if err = compare(ctx, want); err == nil {
			return want
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		} // else a click of unknown outcome may have come into the log late: look again
		pause(ctx, 50*time.Millisecond)
	}
}

// show returns what the dashboards show that differs from the totals.
func (f *fleet) show(_ context.Context, want map[string]int64) error {
	for _, d := range f.dashboards {
		for _, link := range f.links {
			if got := d.count(link); got != want[link] {
				return fmt.Errorf("%s shows %d clicks of %s, the log has %d", d.name, got, link, want[link])
			}
		}
	}
	return nil
}

// store returns what Redis has that differs from the totals.
func (f *fleet) store(ctx context.Context, want map[string]int64) error {
	for _, link := range f.links {
		sums, pos, err := f.epoch.Totals(ctx, click.Partition(link, f.deployment.Partitions), []string{link})
		if err != nil {
			return err
		}
		if got := sums[link].Count; got != want[link] {
			return fmt.Errorf("redis has %d clicks of %s at %d, the log has %d", got, link, pos.Next, want[link])
		}
	}
	return nil
}

// everybodyAgrees compares what dashboards show with what Redis has, what each gateway answers over plain HTTP, and what
// the product's own recount makes of the topic; the checker's fold, which shares no code with it, is the judge.
func (f *fleet) everybodyAgrees(t *testing.T) {
	want := f.await(t, f.show)
	if err := f.store(t.Context(), want); err != nil {
		t.Error(err)
	}
	cluster, err := kafkalog.Open(f.kafka.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	for _, link := range f.links {
		for _, g := range f.gateways {
			if got := f.ask(t, g.url(), link); got != want[link] {
				t.Errorf("%s answers that %s has %d clicks, the log has %d", g.name, link, got, want[link])
			}
		}
		partition := click.Partition(link, f.deployment.Partitions)
		res, err := recount.Run(t.Context(), cluster.Source(f.deployment.Topic), fold.New(f.deployment.Fold()), recount.Request{
			Partition: partition, Links: []string{link},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Totals[link].Count; got != want[link] {
			t.Errorf("a recount of partition %d finds %d clicks on %s, the log has %d", partition, got, link, want[link])
		}
	}
}

// ask asks a gateway for the count of a link over plain HTTP.
func (f *fleet) ask(t *testing.T, gateway, link string) int64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, gateway+"/links/"+link+"/clicks", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = f.credential.header()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Count int64 }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", req.URL, resp.Status, err)
	}
	return answer.Count
}

func (f *fleet) killIngest(t *testing.T) {
	for range 3 {
		f.ingest.kill()
		f.ingest.start(t)
		pause(t.Context(), time.Duration(rand.IntN(400))*time.Millisecond)
	}
}

func (f *fleet) killTally(t *testing.T) {
	f.tallies[0].kill()
	f.tallies[0].start(t)
}

func (f *fleet) killRedis(t *testing.T) {
	f.redis.Save(t)
	pause(t.Context(), time.Second)
	f.redis.Kill(t)
	f.redis.Restart(t)
}

func (f *fleet) freezeRedis(t *testing.T) {
	f.redis.Pause(t)
	pause(t.Context(), 5*time.Second)
	f.redis.Unpause(t)
}

func (f *fleet) freezeTally(t *testing.T) {
	f.tallies[0].freeze(t)
	pause(t.Context(), 13*time.Second)
	f.tallies[0].thaw(t)
}

func (f *fleet) killBroker(t *testing.T) {
	f.kafka.Kill(t, 1)
	f.kafka.Restart(t, 1)
}

func (f *fleet) killGateway(t *testing.T) {
	f.gateways[0].kill()
	f.gateways[0].start(t)
}

// cutLog: retention has cut the log, and then Redis loses everything. What only Redis had is gone; the tally must say so
// and not begin at the cut, and go on exactly from a backup.
func (f *fleet) cutLog(t *testing.T, log history.Log) {
	backup := make(map[int32]*totals.Dump)
	for p := range log.Partitions {
		d, err := f.epoch.Dump(t.Context(), int32(p))
		if err != nil {
			t.Fatal(err)
		}
		if d.Next > 0 { // else there is nothing to cut
			backup[int32(p)] = d
		}
	}
	f.deleteRecords(t, backup)
	f.redis.FlushAll(t)
	waitFor(t, "every partition's tally stops", func() bool {
		stopped := 0
		for _, tally := range f.tallies {
			for p := range backup {
				if tally.said(fmt.Sprintf(`"partition":%d,"error":"the tally of this partition stops (missing)`, p)) {
					stopped++
				}
			}
		}
		return stopped == len(backup)
	})
	for p := range backup {
		if _, err := f.epoch.Position(t.Context(), p); err == nil {
			t.Fatalf("partition %d has totals again, out of nothing", p)
		}
	}
	f.underLoad(t, func(*testing.T) {}) // nobody who clicks notices
	for p, d := range backup {
		if err := f.epoch.Restore(t.Context(), p, d); err != nil {
			t.Fatal(err)
		}
	}
	// The dashboards have counted on all the while, from totals that were right. Redis must come to the same.
	waitFor(t, "redis has what the dashboards show", func() bool {
		want := make(map[string]int64)
		for _, link := range f.links {
			want[link] = f.dashboards[0].count(link)
		}
		return f.show(t.Context(), want) == nil && f.store(t.Context(), want) == nil
	})
}

// deleteRecords cuts every partition at the position of a backup.
func (f *fleet) deleteRecords(t *testing.T, at map[int32]*totals.Dump) {
	t.Helper()
	topic := kmsg.NewDeleteRecordsRequestTopic()
	topic.Topic = f.deployment.Topic
	for p, d := range at {
		of := kmsg.NewDeleteRecordsRequestTopicPartition()
		of.Partition, of.Offset = p, d.Next
		topic.Partitions = append(topic.Partitions, of)
	}
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.TimeoutMillis = 5000
	req.Topics = append(req.Topics, topic)
	for _, shard := range f.kafka.Client(t).RequestSharded(t.Context(), req) {
		if shard.Err != nil {
			t.Fatal(shard.Err)
		}
		for _, topic := range shard.Resp.(*kmsg.DeleteRecordsResponse).Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					t.Fatalf("cutting partition %d: %v", p.Partition, err)
				}
			}
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	for !ok() {
		if ctx.Err() != nil {
			t.Fatalf("not within %v: %s", healed, what)
		}
		pause(ctx, 100*time.Millisecond)
	}
}
