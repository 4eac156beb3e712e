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

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

// How long clicks may wait for what they need not wait for, by the fault matrix.
const (
	// stallOfMove is what may come on top of the time in which a partition had no leader.
	stallOfMove = time.Second
	// stallOfOthers is the wait of a fetch and a second: what a partition may have of another one's leader that hangs.
	stallOfOthers = 1500 * time.Millisecond
	// pulseEvery is the rest between two clicks of a pulse.
	pulseEvery = 20 * time.Millisecond
)

// pulse is a link that is clicked all the time, one click at a time, and watched on both gateways: whatever stalls shows
// in how long a click takes to be acknowledged, or from there to the dashboards.
type pulse struct {
	s          *suite
	link       string
	dashboards []*dashboard
	from       int // events of the suite's history before
}

// span is the time that something took.
type span struct {
	what     string
	from, to time.Time
}

func (p span) took() time.Duration { return p.to.Sub(p.from) }

// newPulse returns a pulse in a partition. No other link of the name is in use.
func (s *suite) newPulse(t *testing.T, name string, partition int32) *pulse {
	t.Helper()
	p := &pulse{s: s}
	for n := 0; p.link == ""; n++ {
		if link := name + "-" + strconv.Itoa(n); click.Partition(link, s.deployment.Partitions) == partition {
			p.link = link
		}
	}
	for _, g := range s.stack.Gateways() {
		p.dashboards = append(p.dashboards, s.watch(t, []string{g}, p.link))
	}
	s.settled(t, []string{p.link}, p.dashboards...)
	p.from = len(s.recorder.Events())
	return p
}

// run clicks until ctx ends. What is under way then is finished.
func (p *pulse) run(ctx context.Context) {
	var dialer net.Dialer
	v := newVisitor(p.s.stack.Ingest, dialer.DialContext, &p.s.recorder, rand.Uint64())
	defer v.close()
	for ctx.Err() == nil {
		_ = v.visit(context.WithoutCancel(ctx), 1000, p.link) // what became of it is in the history
		pause(ctx, pulseEvery)
	}
}

// beat lets pulses run while f does, and waits for them.
func beat(t *testing.T, f func(), pulses ...*pulse) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, p := range pulses {
		running.Go(func() { p.run(ctx) })
	}
	defer running.Wait()
	defer cancel()
	f()
}

// acks returns how long each click took until it was acknowledged.
func (p *pulse) acks() (spans []span) {
	sent := make(map[click.ID]time.Time)
	for _, e := range p.s.recorder.Events()[p.from:] {
		if e.Link != p.link {
			continue
		}
		if _, again := sent[e.ID]; e.Kind == history.Sent && !again {
			sent[e.ID] = e.At
		}
		if e.Kind == history.Acked {
			spans = append(spans, span{"the ack of a click on " + p.link, sent[e.ID], e.At})
		}
	}
	return spans
}

// frames returns how long it took from each ack until a dashboard showed as many clicks. Nobody else clicks on the link.
func (p *pulse) frames() (spans []span) {
	events := slices.DeleteFunc(p.s.recorder.Events(), func(e history.Event) bool { return e.Link != p.link })
	var acked []time.Time
	for _, e := range events {
		if e.Kind == history.Acked {
			acked = append(acked, e.At)
		}
	}
	for _, d := range p.dashboards {
		next := 0
		for _, e := range events {
			for ; e.Kind == history.Shown && e.Client == d.name && next < min(len(acked), int(e.Count.Count)); next++ {
				spans = append(spans, span{fmt.Sprintf("click %d of %s on its way to %s", next+1, p.link, d.name), acked[next], e.At})
			}
		}
	}
	return spans
}

// holds judges that nothing took longer than most, beyond what excused says of it.
func holds(t *testing.T, spans []span, most time.Duration, excused func(span) time.Duration) {
	t.Helper()
	if len(spans) < 20 {
		t.Errorf("%d clicks: too few to say anything", len(spans))
	}
	var worst span
	var worstOwn time.Duration
	for _, p := range spans {
		if own := p.took() - excused(p); own > worstOwn {
			worst, worstOwn = p, own
		}
	}
	t.Logf("%v was the longest, %v of it excused: %s", worst.took().Round(time.Millisecond),
		(worst.took() - worstOwn).Round(time.Millisecond), worst.what)
	if worstOwn > most {
		t.Errorf("%s took %v, %v of it excused: more than %v is left", worst.what, worst.took(), worst.took()-worstOwn, most)
	}
}

// longest returns the span that took longest.
func longest(spans []span) span {
	return slices.MaxFunc(append(spans, span{}), func(a, b span) int { return int(a.took() - b.took()) })
}

// longestDuring returns which of the spans that have a moment in common with p took longest.
func longestDuring(p span, of []span) span {
	return longest(slices.DeleteFunc(slices.Clone(of), func(other span) bool { return other.to.Before(p.from) || other.from.After(p.to) }))
}

// leaderWatch asks every broker all the time for the end of a partition. Only its leader answers.
type leaderWatch struct {
	mu       sync.Mutex // guards what follows
	answered []time.Time
}

// watchLeader begins to ask; stop ends it.
func (s *suite) watchLeader(t *testing.T, partition int32) (w *leaderWatch, stop func()) {
	t.Helper()
	client := s.client(t)
	if err := client.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = new(leaderWatch)
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for _, b := range client.DiscoveredBrokers() {
		asking.Go(func() {
			for ctx.Err() == nil {
				if leads(ctx, b, s.deployment.Topic, partition) {
					w.mu.Lock()
					w.answered = append(w.answered, time.Now())
					w.mu.Unlock()
				}
				pause(ctx, pulseEvery)
			}
		})
	}
	return w, func() {
		cancel()
		asking.Wait()
	}
}

// leads tells whether a broker answers for a partition.
func leads(ctx context.Context, b *kgo.Broker, topic string, partition int32) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID = -1
	of := kmsg.NewListOffsetsRequestTopicPartition()
	of.Partition, of.Timestamp = partition, -1
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{of}}}
	resp, err := b.Request(ctx, req)
	if err != nil {
		return false
	}
	topics := resp.(*kmsg.ListOffsetsResponse).Topics
	return len(topics) == 1 && kerr.ErrorForCode(topics[0].Partitions[0].ErrorCode) == nil
}

// without returns for how much of a span nobody answered for the partition.
func (w *leaderWatch) without(p span) (sum time.Duration) {
	const answersComeEvery = 5 * pulseEvery
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortFunc(w.answered, time.Time.Compare)
	for i := 1; i < len(w.answered); i++ {
		from, to := w.answered[i-1], w.answered[i]
		if to.Sub(from) < answersComeEvery {
			continue
		}
		if from.Before(p.from) {
			from = p.from
		}
		if to.After(p.to) {
			to = p.to
		}
		sum += max(0, to.Sub(from))
	}
	return sum
}

// foreignAcks is how long a client that is not the product's waits for the acks of a partition, while f runs: what the
// brokers themselves take. What it writes is no click.
func (s *suite) foreignAcks(t *testing.T, partition int32, f func()) (spans []span) {
	t.Helper()
	client, err := kgo.NewClient(append(s.kafka.Options(),
		kgo.DefaultProduceTopic(s.deployment.Topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	write := func() {
		begun := time.Now()
		r := &kgo.Record{Key: []byte("no click"), Value: []byte("{}"), Partition: partition}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err == nil {
			spans = append(spans, span{"the ack of a foreign client", begun, time.Now()})
		}
	}
	write() // it knows the leader
	ctx, cancel := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for ctx.Err() == nil {
			write()
			pause(ctx, pulseEvery)
		}
	})
	f()
	cancel()
	writing.Wait()
	return spans
}
