package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/totalscmd"
)

// recreate: somebody deletes the topic and creates it anew, and it is longer than the old one at once. Clicks are taken,
// totals and dashboards stay what they were, everybody says why, and a new epoch is exact.
func (f *fleet) recreate(t *testing.T) {
	want := f.await(t, f.show)
	ends := f.deleteTopic(t)
	f.createTopic(t)
	f.refill(t, ends)
	f.underLoad(t, func(t *testing.T) {
		waitFor(t, "the tally of every partition stops", func() bool {
			for p := range ends {
				if !slices.ContainsFunc(f.tallies, func(tally *process) bool {
					return tally.said(fmt.Sprintf(`"partition":%d,"error":"the tally of this partition stops (recreated)`, p))
				}) {
					return false
				}
			}
			return true
		})
		for _, g := range f.gateways {
			waitFor(t, g.name+" says that the log is another one", func() bool { return g.said("the log is not the one that was counted") })
		}
	})
	for _, d := range f.dashboards {
		for _, link := range f.links {
			if got := d.count(link); got > want[link] {
				t.Errorf("%s shows %d clicks of %s, the topic that is no more had %d", d.name, got, link, want[link])
			}
		}
	}
	for _, link := range f.links {
		sums, _, err := f.epoch.Totals(t.Context(), click.Partition(link, f.deployment.Partitions), []string{link})
		if err != nil || sums[link].Count > want[link] {
			t.Errorf("redis has %d clicks of %s, %v; the topic that is no more had %d", sums[link].Count, link, err, want[link])
		}
	}
	f.rebuild(t)
	f.underLoad(t, func(*testing.T) {})
	f.exact(t)
}

// deleteTopic deletes the clicks and returns how long the partitions were that had any.
func (f *fleet) deleteTopic(t *testing.T) map[int32]int64 {
	t.Helper()
	client := f.kafka.Client(t)
	log := history.Log{Partitions: make([]history.Partition, f.deployment.Partitions)}
	if err := readEnds(t.Context(), client, f.deployment.Topic, &log); err != nil {
		t.Fatal(err)
	}
	ends := make(map[int32]int64)
	for p, part := range log.Partitions {
		if part.End > 0 {
			ends[int32(p)] = part.End
		}
	}
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = 10_000
	gone := kmsg.NewDeleteTopicsRequestTopic()
	gone.Topic = &f.deployment.Topic
	req.TopicNames, req.Topics = []string{f.deployment.Topic}, []kmsg.DeleteTopicsRequestTopic{gone}
	resp, err := req.RequestWith(t.Context(), client)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
	}
	if err != nil {
		t.Fatalf("deleting the topic: %v", err)
	}
	return ends
}

// createTopic creates the topic of the clicks as `linkpulse init` does.
func (f *fleet) createTopic(t *testing.T) {
	t.Helper()
	cluster, err := kafkalog.Open(f.kafka.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	_, err = deployment.Init(t.Context(), cluster, f.deployment, deployment.Topics{Replicas: 1, MinInsync: 1, Retention: deployment.DefaultRetention})
	if err != nil {
		t.Fatalf("creating the topic anew: %v", err)
	}
}

// refill makes every partition longer than it was, with clicks on a link of it.
func (f *fleet) refill(t *testing.T, ends map[int32]int64) {
	t.Helper()
	client := f.kafka.Client(t, kgo.DefaultProduceTopic(f.deployment.Topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	var records []*kgo.Record
	for p, end := range ends {
		i := slices.IndexFunc(f.links, func(link string) bool { return click.Partition(link, f.deployment.Partitions) == p })
		if i < 0 {
			continue
		}
		for n := range end + 10 {
			rec := click.Record{ID: click.ID{13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}}
			records = append(records, &kgo.Record{Partition: p, Key: []byte(f.links[i]), Value: rec.Append(nil)})
		}
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatalf("filling the new topic: %v", err)
	}
}

// rebuild begins a new epoch, as an operator does.
func (f *fleet) rebuild(t *testing.T) {
	t.Helper()
	cfg := totals.Config{Addrs: []string{f.redis.Addr}, Prefix: "linkpulse", Timeout: 5 * time.Second}
	rebuild := totalscmd.Rebuild{From: "log", Topic: f.deployment.Topic, Yes: true}
	rebuild.Kafka, rebuild.Redis = f.kafka.Config(), cfg
	var out, log lines
	err := rebuild.Run(t.Context(), totalscmd.Env{
		Stdin: strings.NewReader(""), Stdout: &out, Stderr: &log, Owner: "test", Log: zap.NewNop(),
	})
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out.bytes(), log.bytes())
	}
	f.deployment.Epoch++
	f.epoch = f.totals.Epoch(f.deployment.Epoch, totals.RuleOf(f.deployment.Fold()))
}
