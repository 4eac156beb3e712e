package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

var (
	elect   = namedCase{"leaders are elected twenty times under load", caseElect}
	bounce  = namedCase{"the leader is killed five times in a row", caseBounce}
	outvote = namedCase{"two of three brokers are killed", caseNoQuorum}
	isolate = namedCase{"parts are cut off from the brokers, one way and both", caseIsolate}
	widen   = namedCase{"the topic is given more partitions", caseWiden}
	burst   = namedCase{"everybody clicks at once", caseBurst}
)

// betweenMoves is how long a leader stays at least, or those who look for it are not to blame for finding another one.
const betweenMoves = 250 * time.Millisecond

// caseElect: the leader of a partition moves to another broker again and again. Nothing is lost and nothing counts twice,
// and no click waits for a second longer than the partition has no leader, than clicks do in a partition that stays, or than
// a foreign client waits for its acks at that moment.
func caseElect(t *testing.T, s *suite) {
	links := []string{"elect-a", "elect-b", "elect-c"}
	first := s.watch(t, s.stack.Gateways()[:1], links...)
	second := s.watch(t, s.stack.Gateways()[1:], links...)
	s.settled(t, links, first, second)
	partition := click.Partition(links[0], s.deployment.Partitions)
	moved := s.newPulse(t, "elect-moved", partition)
	stays := s.newPulse(t, "elect-stays", (partition+1)%int32(s.deployment.Partitions))
	leader, stop := s.watchLeader(t, partition)
	moves := func() {
		for i := range 20 {
			to := 1 + i%s.kafka.Brokers()
			s.kafka.Move(t, s.deployment.Topic, partition, to)
			s.post(t, links...)
			if led := s.kafka.Leader(t, s.deployment.Topic, partition); led != to {
				t.Fatalf("broker %d leads, it should be %d", led, to)
			}
			pause(t.Context(), betweenMoves)
		}
	}
	var foreign []span
	s.underLoad(t, links, func() {
		foreign = s.foreignAcks(t, partition, func() { beat(t, moves, moved, stays) })
	})
	stop()
	s.settled(t, links, first, second)
	usual := longest(stays.acks()).took()
	t.Logf("acks: %v was the longest in the partition that stays, %v a foreign client's", usual.Round(time.Millisecond),
		longest(foreign).took().Round(time.Millisecond))
	// A leader that has just been elected may wait for a replica that has not noticed, and then everybody waits for acks.
	holds(t, moved.acks(), stallOfMove, func(p span) time.Duration { return max(usual+leader.without(p), longestDuring(p, foreign).took()) })
	usual = longest(stays.frames()).took()
	t.Logf("frames: %v was the longest in the partition that stays", usual.Round(time.Millisecond))
	holds(t, moved.frames(), stallOfMove, func(p span) time.Duration { return usual + leader.without(p) })
}

// caseBounce: whoever leads a partition is killed, five times, as Kafka's own system tests do it.
func caseBounce(t *testing.T, s *suite) {
	links := []string{"bounce-a", "bounce-b"}
	first := s.watch(t, s.stack.Gateways()[:1], links...)
	second := s.watch(t, s.stack.Gateways()[1:], links...)
	s.settled(t, links, first, second)
	s.underLoad(t, links, func() {
		for range 5 {
			node := s.kafka.Leader(t, s.deployment.Topic, click.Partition(links[0], s.deployment.Partitions))
			s.kafka.Kill(t, node)
			s.kafka.Restart(t, node)
			s.post(t, links...)
		}
	})
	s.settled(t, links, first, second)
}

// caseNoQuorum: with two of three brokers gone nothing can be acknowledged. Ingest says so, to visitors and to whoever
// asks whether it is ready, instead of hanging or promising; when they are back, all is right.
func caseNoQuorum(t *testing.T, s *suite) {
	links := []string{"quorum-a", "quorum-b", "quorum-c"}
	first := s.watch(t, s.stack.Gateways()[:1], links...)
	second := s.watch(t, s.stack.Gateways()[1:], links...)
	s.settled(t, links, first, second)
	s.underLoad(t, links, func() {
		s.kafka.Kill(t, 2)
		s.kafka.Kill(t, 3)
		waitFor(t, "ingest says that it is not ready", func() bool { return !isReady(t, s.stack.Ingest()) })
		if err := s.visitor.visit(t.Context(), 1, links...); err == nil {
			t.Error("clicks are acknowledged by one broker of three")
		}
		for _, g := range s.stack.Gateways() {
			if !isReady(t, g) {
				t.Errorf("%s is not ready: an outage of the brokers must not drop all dashboards", g)
			}
		}
		s.kafka.Restart(t, 2, 3)
		waitFor(t, "ingest says that it is ready", func() bool { return isReady(t, s.stack.Ingest()) })
	})
	s.settled(t, links, first, second)
}

// isReady asks a service whether it is ready.
func isReady(t *testing.T, service string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, service+"/readyz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// caseIsolate: parts do not reach the brokers, or are not reached by them. A gateway that is cut off stays as it was and
// stays ready, the others go on, and an ingest that is cut off acknowledges nothing; afterwards everybody is right.
func caseIsolate(t *testing.T, s *suite) {
	links := []string{"isolate-a", "isolate-b", "isolate-c"}
	first := s.watch(t, s.stack.Gateways()[:1], links...)
	second := s.watch(t, s.stack.Gateways()[1:], links...)
	s.settled(t, links, first, second)
	for _, in := range []way{toKafka, fromKafka, bothWays} {
		s.wires.setShut(in, "gateway-1")
		had := second.count(links[0])
		s.post(t, links...)
		s.post(t, links...)
		expect(t, soon, links[0], had+2, second)
		if !isReady(t, s.stack.Gateways()[0]) {
			t.Error("a gateway that is cut off from the brokers is not ready: its dashboards would be dropped")
		}
		// With nothing on its way to the gateway it cannot know of the second click; of the first it may, from a fetch
		// that had been answered.
		if in&fromKafka != 0 && first.count(links[0]) > had {
			t.Errorf("a gateway that hears no broker knows of a click")
		}
		s.wires.setShut(0, "gateway-1")
		s.settled(t, links, first, second)
	}
	for _, in := range []way{toKafka, fromKafka, bothWays} {
		s.wires.setShut(in, "ingest")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		if err := s.visitor.visit(ctx, 1, links...); err == nil {
			t.Error("a click is acknowledged that no broker can have acknowledged")
		}
		cancel()
		s.wires.setShut(0, "ingest")
		s.settled(t, links, first, second)
	}
}

// caseWiden: somebody gives the topic more partitions. Links stay where they are; what a foreign producer writes to the
// new ones counts nowhere, and the tally says so.
func caseWiden(t *testing.T, s *suite) {
	links := []string{"widen-a", "widen-b", "widen-c", "widen-d", "widen-e"}
	first := s.watch(t, s.stack.Gateways()[:1], links...)
	second := s.watch(t, s.stack.Gateways()[1:], links...)
	s.settled(t, links, first, second)
	s.addPartitions(t, 2*s.deployment.Partitions)
	foreign, err := kgo.NewClient(append(s.kafka.Options(),
		kgo.DefaultProduceTopic(s.deployment.Topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	value := (&click.Record{ID: click.ID{1}}).Append(nil)
	for p := s.deployment.Partitions; p < 2*s.deployment.Partitions; p++ {
		r := &kgo.Record{Key: []byte(links[0]), Value: value, Partition: int32(p)}
		if err := foreign.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	s.underLoad(t, links, func() {
		for range 5 {
			s.post(t, links...)
		}
		ctx, cancel := context.WithTimeout(t.Context(), healed)
		defer cancel()
		if err := s.stack.StopIngest(ctx); err != nil { // a member of the group finds new partitions when it joins
			t.Fatal(err)
		}
		if err := s.stack.StartIngest(ctx); err != nil {
			t.Fatal(err)
		}
	})
	s.settled(t, links, first, second)
	waitFor(t, "the tally tells of records that count nowhere", func() bool {
		sum := 0.0
		for p := s.deployment.Partitions; p < 2*s.deployment.Partitions; p++ {
			for _, n := range s.metric(t, "linkpulse_tally_foreign_records", strconv.Itoa(p)) {
				sum += n
			}
		}
		return sum == float64(s.deployment.Partitions)
	})
}

// addPartitions gives the topic more partitions, so that it has count.
func (s *suite) addPartitions(t *testing.T, count int) {
	t.Helper()
	client := s.client(t)
	wider := kmsg.NewCreatePartitionsRequestTopic()
	wider.Topic, wider.Count = s.deployment.Topic, int32(count)
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis, req.Topics = 10_000, append(req.Topics, wider)
	waitFor(t, "the topic is given more partitions", func() bool {
		resp, err := req.RequestWith(t.Context(), client)
		if err == nil {
			err = kerr.ErrorForCode(resp.Topics[0].ErrorCode)
		}
		if err != nil && !kerr.IsRetriable(err) { // else the controller is another one since a moment ago
			t.Fatalf("giving the topic more partitions: %v", err)
		}
		return err == nil
	})
}

// caseBurst: forty requests of a thousand clicks at the same moment, many of them twice. Each is taken or refused with
// a time to come again, and what was taken is pushed to the last click.
func caseBurst(t *testing.T, s *suite) {
	const requests, clicks = 40, 1000 // all of them in one partition, and in one window of duplicates
	link := "burst"
	first := s.watch(t, s.stack.Gateways()[:1], link)
	second := s.watch(t, s.stack.Gateways()[1:], link)
	expect(t, soon, link, 0, first, second)
	var posting sync.WaitGroup
	for i := range requests {
		posting.Go(func() { s.postMany(t, link, i/2, clicks) }) // every request has a twin
	}
	posting.Wait()
	s.settled(t, []string{link}, first, second)
	if got := first.count(link); got != requests/2*clicks+1 {
		t.Errorf("%d clicks count, want %d", got, requests/2*clicks+1)
	}
}

// postMany posts clicks as NDJSON in one request, again and again until it is acknowledged. Their ids follow from seed.
func (s *suite) postMany(t *testing.T, link string, seed, clicks int) {
	var body bytes.Buffer
	ids := make([]click.ID, clicks)
	for i := range ids {
		ids[i] = click.ID{0: 0xb0, 1: byte(seed), 6: 0x40, 8: 0x80, 14: byte(i >> 8), 15: byte(i)}
		fmt.Fprintf(&body, "{\"link\":%q,\"id\":%q}\n", link, ids[i])
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	record := func(kind history.Kind) {
		for _, id := range ids {
			s.recorder.Add(history.Event{Kind: kind, Link: link, ID: id})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	for ctx.Err() == nil {
		record(history.Sent)
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.stack.Ingest()+"/v1/clicks", bytes.NewReader(body.Bytes()))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Content-Type", "application/x-ndjson")
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		_ = resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusAccepted:
			record(history.Acked)
			return
		case resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "":
			t.Errorf("a burst was answered %s, Retry-After %q", resp.Status, resp.Header.Get("Retry-After"))
			return
		}
		record(history.Unknown)
		pause(ctx, 100*time.Millisecond)
	}
	t.Error("a burst was never taken")
}
