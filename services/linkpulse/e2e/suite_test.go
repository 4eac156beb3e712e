package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap/zaptest"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
	"github.com/linkpulse/linkpulse/services/linkpulse/stack"
)

// kafka is a cluster that the suite runs on. Nodes are numbered from 1.
type kafka interface {
	// Config is what the services are given.
	Config() kafkalog.Config
	// Brokers is how many there are.
	Brokers() int
	// Options are those of a client that the product does not use.
	Options() []kgo.Opt
	// Leader returns the node that leads a partition of the clicks.
	Leader(t *testing.T, topic string, partition int32) int
	// Move makes a node the leader of a partition.
	Move(t *testing.T, topic string, partition int32, node int)
	// Kill ends a node without a word; Restart brings nodes back with what they had.
	Kill(t *testing.T, node int)
	Restart(t *testing.T, nodes ...int)
	// Pause freezes a node with its connections open; Unpause lets it go on.
	Pause(t *testing.T, node int)
	Unpause(t *testing.T, node int)
}

const (
	// soon bounds what takes milliseconds where nothing is wrong; it is generous because machines are busy.
	soon = 30 * time.Second
	// healed bounds the recovery from a fault: a broker's session, the producer's deadline, a JVM's start.
	healed = 2 * time.Minute
)

// suite is a running system on one cluster, and the cases in the order in which they are run: those that hurt come last.
type suite struct {
	kafka      kafka
	stack      *stack.Stack
	wires      *wires // between its parts and the brokers
	credential credential
	deployment deployment.Record
	topics     deployment.Topics
	recorder   history.Recorder
	visitor    *visitor
	dashboards sync.WaitGroup
	number     int // of dashboards so far
}

// namedCase is one of the cases.
type namedCase struct {
	name string
	run  func(*testing.T, *suite)
}

// runSuite runs cases in their order and judges all of it together.
func runSuite(t *testing.T, k kafka, cases ...namedCase) {
	t.Helper()
	s := &suite{kafka: k, deployment: deployment.Default(), credential: newCredential(t, "*"), topics: deployment.Topics{
		Replicas: k.Brokers(), MinInsync: (k.Brokers() + 1) / 2, Retention: deployment.DefaultRetention,
	}}
	s.deployment.Partitions = 4
	s.wires = newWires(t, k.Config().Brokers)
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	var err error
	s.stack, err = stack.Start(ctx, stack.Config{
		Log: zaptest.NewLogger(t), Kafka: k.Config(), Deployment: s.deployment, Topics: s.topics,
		IngestAddr: "127.0.0.1:0", GatewayAddrs: []string{"127.0.0.1:0", "127.0.0.1:0"},
		Net: stack.Network{DialAs: s.wires.dialAs}, Heartbeat: 5 * time.Second, Drain: 2 * time.Second,
		GatewayArgs: s.credential.args(),
	})
	if err != nil {
		t.Fatalf("starting the system: %v", err)
	}
	var dialer net.Dialer
	s.visitor = newVisitor(s.stack.Ingest, dialer.DialContext, &s.recorder, 1)
	defer s.visitor.close()
	for _, c := range cases {
		if !t.Run(c.name, func(t *testing.T) { c.run(t, s) }) {
			break // the later ones would fail for the same reason
		}
	}
	s.judge(t)
}

// judge stops the system and holds the history against the log.
func (s *suite) judge(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	if err := s.stack.StopIngest(ctx); err != nil {
		t.Errorf("stopping ingest: %v", err)
	}
	log, err := readLog(ctx, s.deployment, s.kafka.Options()...)
	if err != nil {
		t.Errorf("reading the log: %v", err)
	}
	if err := s.stack.Stop(ctx); err != nil {
		t.Errorf("stopping the system: %v", err)
	}
	s.dashboards.Wait()
	violations, err := history.Check(s.recorder.Events(), log)
	if err != nil {
		t.Error(err)
	}
	if err := history.Error(violations); err != nil {
		t.Error(err)
	}
}

// watch opens a dashboard that ends with the case.
func (s *suite) watch(t *testing.T, gateways []string, links ...string) *dashboard {
	t.Helper()
	s.number++
	var dialer net.Dialer
	d := newDashboard(fmt.Sprint("dashboard-", s.number), links, gateways, dialer.DialContext, &s.recorder)
	d.credential = s.credential
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s.dashboards.Go(func() { d.run(ctx) })
	return d
}

// post posts a click per link and expects it to be acknowledged.
func (s *suite) post(t *testing.T, links ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	if err := s.visitor.visit(ctx, 100, links...); err != nil {
		t.Fatalf("posting clicks: %v", err)
	}
}

// expect waits until every dashboard shows that many clicks of a link.
func expect(t *testing.T, within time.Duration, link string, count int64, dashboards ...*dashboard) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for _, d := range dashboards {
		err := d.await(ctx, func(shown map[string]click.Count, _ string) bool {
			c, ok := shown[link]
			return ok && c.Count == count
		})
		if err != nil {
			t.Fatalf("waiting for %d clicks of %s: %v", count, link, err)
		}
	}
}

// connected waits until a dashboard is connected to a gateway.
func connected(t *testing.T, d *dashboard, gateway string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	if err := d.await(ctx, func(_ map[string]click.Count, at string) bool { return at == gateway }); err != nil {
		t.Fatalf("waiting for a connection to %s: %v", gateway, err)
	}
}

var (
	push      = namedCase{"a click is pushed by both gateways", casePush}
	reconnect = namedCase{"a dashboard goes to the other gateway", caseReconnect}
	topics    = namedCase{"the topics are as promised", caseTopics}
	kill      = namedCase{"the leader is killed and comes back", caseKill}
	strange   = namedCase{"a foreign producer writes what is no click", casePoison}
	freeze    = namedCase{"the leader stands still past the timeout", casePause}
)

// casePush: a click that is posted shows up, at once and on both gateways, also where it was posted before anybody
// looked.
func casePush(t *testing.T, s *suite) {
	gateways := s.stack.Gateways()
	s.post(t, "push-a")
	first := s.watch(t, gateways[:1], "push-a", "push-b")
	second := s.watch(t, gateways[1:], "push-b", "push-a")
	expect(t, soon, "push-a", 1, first, second)
	expect(t, soon, "push-b", 0, first, second)
	for range 9 {
		s.post(t, "push-a", "push-b", "push-a")
	}
	expect(t, soon, "push-a", 19, first, second)
	expect(t, soon, "push-b", 9, first, second)
}

// caseReconnect: a gateway goes away; its dashboards go to the other one and miss nothing, and find it when it is back.
func caseReconnect(t *testing.T, s *suite) {
	gateways := s.stack.Gateways()
	d := s.watch(t, gateways, "reconnect")
	s.post(t, "reconnect")
	expect(t, soon, "reconnect", 1, d)
	connected(t, d, gateways[0])

	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	if err := s.stack.StopGateway(ctx, 0); err != nil {
		t.Fatalf("stopping the first gateway: %v", err)
	}
	s.post(t, "reconnect")
	connected(t, d, gateways[1])
	expect(t, soon, "reconnect", 2, d)
	if err := s.stack.StartGateway(ctx, 0); err != nil {
		t.Fatalf("starting the first gateway: %v", err)
	}
	if err := s.stack.StopGateway(ctx, 1); err != nil {
		t.Fatalf("stopping the second gateway: %v", err)
	}
	s.post(t, "reconnect")
	connected(t, d, gateways[0])
	expect(t, soon, "reconnect", 3, d)
	if err := s.stack.StartGateway(ctx, 1); err != nil {
		t.Fatalf("starting the second gateway: %v", err)
	}
}

// caseTopics: the topics were created on purpose, with the settings that the promises rest on.
func caseTopics(t *testing.T, s *suite) {
	client := s.client(t)
	check(t, client, s.deployment.Topic, s.deployment.Partitions, s.topics.Replicas, map[string]string{
		"cleanup.policy":         "delete",
		"retention.ms":           strconv.FormatInt(s.topics.Retention.Milliseconds(), 10),
		"retention.bytes":        "-1",
		"message.timestamp.type": "LogAppendTime",
		"min.insync.replicas":    strconv.Itoa(s.topics.MinInsync),
	})
	check(t, client, deployment.ControlTopic, 1, s.topics.Replicas, map[string]string{"cleanup.policy": "compact"})
}

// check compares a topic with what it should be.
func check(t *testing.T, client *kgo.Client, topic string, partitions, replicas int, want map[string]string) {
	t.Helper()
	meta := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	meta.Topics = append(meta.Topics, asked)
	found, err := meta.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	of := found.Topics[0]
	if err := kerr.ErrorForCode(of.ErrorCode); err != nil {
		t.Fatalf("topic %s: %v", topic, err)
	}
	if len(of.Partitions) != partitions || len(of.Partitions[0].Replicas) != replicas {
		t.Errorf("topic %s has %d partitions with %d replicas, want %d with %d",
			topic, len(of.Partitions), len(of.Partitions[0].Replicas), partitions, replicas)
	}
	describe := kmsg.NewPtrDescribeConfigsRequest()
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	describe.Resources = append(describe.Resources, resource)
	configs, err := describe.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, c := range configs.Resources[0].Configs {
		if c.Value != nil {
			got[c.Name] = *c.Value
		}
	}
	for name, value := range want {
		if got[name] != value {
			t.Errorf("topic %s: %s is %q, want %q", topic, name, got[name], value)
		}
	}
}

func (s *suite) client(t *testing.T) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(s.kafka.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// underLoad runs f while a visitor posts to links, and returns when both are done.
func (s *suite) underLoad(t *testing.T, links []string, f func()) {
	t.Helper()
	var dialer net.Dialer
	v := newVisitor(s.stack.Ingest, dialer.DialContext, &s.recorder, rand.Uint64())
	defer v.close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		v.keepVisiting(ctx, 50, links)
	}()
	defer func() {
		cancel()
		<-done
	}()
	f()
}

// settled posts one more click to every link and waits until all dashboards show what the log holds. That it holds the
// right clicks is for the checker to say.
func (s *suite) settled(t *testing.T, links []string, dashboards ...*dashboard) {
	t.Helper()
	s.post(t, links...)
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	for {
		totals, err := history.Totals(s.log(t))
		if err != nil {
			t.Fatal(err)
		}
		err = s.show(ctx, totals, links, dashboards)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("waiting for the dashboards to show %v: %v", totals, err)
		} // else a click of unknown outcome may have come into the log late: look again
	}
}

// show waits a while until the dashboards show the totals.
func (s *suite) show(ctx context.Context, totals map[string]int64, links []string, dashboards []*dashboard) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	for _, d := range dashboards {
		err := d.await(ctx, func(shown map[string]click.Count, _ string) bool {
			return !slices.ContainsFunc(links, func(link string) bool { return shown[link].Count != totals[link] })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// log reads the log as it is.
func (s *suite) log(t *testing.T) history.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	log, err := readLog(ctx, s.deployment, s.kafka.Options()...)
	if err != nil {
		t.Fatalf("reading the log: %v", err)
	}
	return log
}

// caseKill: the broker that leads is killed with -9 under load and comes back: nothing acknowledged is lost, no
// dashboard is wrong.
func caseKill(t *testing.T, s *suite) {
	links := []string{"kill-a", "kill-b", "kill-c"}
	first := s.watch(t, s.stack.Gateways()[:1], links...)
	second := s.watch(t, s.stack.Gateways()[1:], links...)
	s.settled(t, links, first, second)
	s.underLoad(t, links, func() {
		node := s.kafka.Leader(t, s.deployment.Topic, click.Partition(links[0], s.deployment.Partitions))
		s.kafka.Kill(t, node)
		if s.kafka.Brokers() > 1 { // the others take over while it is down
			s.post(t, links...)
		}
		s.kafka.Restart(t, node)
		for range 10 {
			s.post(t, links...)
		}
	})
	s.settled(t, links, first, second)
}

// casePause: the leader stands still for longer than the producer waits for an answer, and goes on. What it was sent
// before and what was sent again must not both stay: the checker finds a click in the log no more often than visitors
// posted it, before anybody takes duplicates out. Clicks that another broker leads go on meanwhile: their acks come a
// moment after a foreign client's, which has to wait until Kafka does without the replica, and frames come as ever.
func casePause(t *testing.T, s *suite) {
	links := []string{"pause-a", "pause-b", "pause-c"}
	first := s.watch(t, s.stack.Gateways()[:1], links...)
	second := s.watch(t, s.stack.Gateways()[1:], links...)
	s.settled(t, links, first, second)
	node := s.leads(t, links[0])
	var other *pulse
	for p := range int32(s.deployment.Partitions) {
		if other == nil && s.kafka.Leader(t, s.deployment.Topic, p) != node {
			other = s.newPulse(t, "pause-other", p)
		}
	}
	frozen := func() {
		s.kafka.Pause(t, node)
		pause(t.Context(), pastTimeout)
		s.kafka.Unpause(t, node)
	}
	s.underLoad(t, links, func() {
		if other == nil { // one broker leads everything
			frozen()
		} else {
			partition := click.Partition(other.link, s.deployment.Partitions)
			foreign := s.foreignAcks(t, partition, func() { beat(t, frozen, other) })
			usual := longest(foreign).took()
			t.Logf("a foreign client waited up to %v", usual.Round(time.Millisecond))
			holds(t, other.acks(), stallOfOthers, func(span) time.Duration { return usual })
		}
		s.post(t, links...)
	})
	s.settled(t, links, first, second)
	if other != nil {
		holds(t, other.frames(), stallOfOthers, func(span) time.Duration { return 0 })
	}
}

// leads returns the node that leads the partition of a link.
func (s *suite) leads(t *testing.T, link string) int {
	t.Helper()
	return s.kafka.Leader(t, s.deployment.Topic, click.Partition(link, s.deployment.Partitions))
}

// pastTimeout is longer than the producer waits for the answer to a request.
const pastTimeout = 8 * time.Second
