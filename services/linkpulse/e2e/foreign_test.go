package e2e

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// poison are records that a foreign producer might write and that are no clicks of a link: every reader of the log must
// call them poison, count none of them, and go on behind them.
func poison(link string, partition int32) []*kgo.Record {
	good := (&click.Record{ID: click.ID{0: 1, 6: 0x40, 8: 0x80}}).Append(nil)
	records := []*kgo.Record{
		{Key: []byte(link), Value: []byte(`{"link":"x7Kp2"}`)},                     // JSON
		{Key: []byte(link), Value: append([]byte{0x08, 0x63}, good[2:]...)},        // version 99
		{Key: []byte(link), Value: good[:len(good)-3]},                             // cut off
		{Key: []byte(link), Value: nil},                                            // a tombstone
		{Key: []byte("no link!"), Value: good},                                     // no link id
		{Key: nil, Value: good},                                                    // no key
		{Key: []byte(strings.Repeat("x", click.MaxLinkLen+1)), Value: good},        // too long for one
		{Key: []byte(link), Value: bytes.Repeat([]byte{0xff}, 900<<10)},            // about as large as a broker takes
		{Key: []byte(link), Value: append(good[:2:2], 0x12, 3, 1, 2, 3)},           // an event id of three bytes
		{Key: bytes.Repeat([]byte{0}, 1000), Value: bytes.Repeat([]byte{0}, 1000)}, // nothing at all
	}
	for _, r := range records {
		r.Partition = partition
	}
	return records
}

// strangers are records that a foreign producer might write and that are clicks: one without an event id, which counts and
// is nobody's duplicate, and one in the partition of another link, which is not where that link's count is made.
func strangers(link string, partitions int) []*kgo.Record {
	home := click.Partition(link, partitions)
	anonymous := (&click.Record{}).Append(nil)
	return []*kgo.Record{
		{Key: []byte(link), Value: anonymous, Partition: home},
		{Key: []byte(link), Value: anonymous, Partition: home},
		{Key: []byte(link), Value: anonymous, Partition: (home + 1) % int32(partitions)},
	}
}

// foreignProducer: somebody who does not know the contract writes to the topic. In virtual time that is a producer of ours
// with records that it would never make: a client that waits for brokers with a lock in its hand stops the clock.
func (w *world) foreignProducer() fault {
	link := w.links[w.rng.IntN(len(w.links))]
	records := append(poison(link, click.Partition(link, record().Partitions)), strangers(link, record().Partitions)...)
	w.rng.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	return fault{"a foreign producer writes what is no click to the partition of " + link, func(w *world) {
		w.faults.Go(func() {
			if err := w.writeForeign(records); err != nil {
				w.t.Logf("the foreign producer: %v", err) // no broker takes anything for a while
			}
		})
	}}
}

func (w *world) writeForeign(records []*kgo.Record) error {
	cluster, err := w.stack.OpenKafka("foreign")
	if err != nil {
		return err
	}
	defer cluster.Close()
	p, err := cluster.NewProducer(w.t.Context(), kafkalog.ProducerConfig{
		Topic: record().Topic, Partitions: record().Partitions, BatchBytes: 1 << 20,
	})
	if err != nil {
		return err
	}
	messages := make([]kafkalog.Message, len(records))
	for i, r := range records {
		messages[i] = kafkalog.Message{Partition: r.Partition, TimeMs: time.Now().UnixMilli(), Key: r.Key, Value: r.Value}
	}
	return errors.Join(p.Append(messages), p.Close(w.t.Context()))
}

// casePoison: what a foreign producer writes is poison to all readers alike, counts nowhere, and holds nobody up.
func casePoison(t *testing.T, s *suite) {
	links := []string{"poison-a", "poison-b"}
	first := s.watch(t, s.stack.Gateways()[:1], links...)
	second := s.watch(t, s.stack.Gateways()[1:], links...)
	s.settled(t, links, first, second)
	var records []*kgo.Record
	for _, link := range links {
		records = append(records, poison(link, click.Partition(link, s.deployment.Partitions))...)
	}
	bad := float64(len(records))
	for _, link := range links {
		records = append(records, strangers(link, s.deployment.Partitions)...)
	}
	client, err := kgo.NewClient(append(s.kafka.Options(),
		kgo.DefaultProduceTopic(s.deployment.Topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatalf("the foreign producer: %v", err)
	}
	s.settled(t, links, first, second)
	for _, link := range links {
		if got := first.count(link); got != 4 { // two of ours, two without an id
			t.Errorf("%d clicks of %s count, want 4", got, link)
		}
	}
	for _, reader := range []string{"linkpulse_tally_records_total", "linkpulse_gateway_follower_records_total"} {
		waitFor(t, "all of it is poison to everybody, as "+reader+" says", func() bool {
			of := s.metric(t, reader, "poison")
			parts := len(of)
			maps.DeleteFunc(of, func(_ string, n float64) bool { return n == bad })
			return parts > 0 && len(of) == 0
		})
	}
}

// metric returns the sum of a metric's values that have a label value, for each part of the stack that has any.
func (s *suite) metric(t *testing.T, name, label string) map[string]float64 {
	t.Helper()
	families, err := s.stack.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	sums := make(map[string]float64)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			part, fits := "", false
			for _, l := range m.GetLabel() {
				if l.GetName() == "part" {
					part = l.GetValue()
				}
				fits = fits || l.GetValue() == label
			}
			if fits {
				sums[part] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sums
}
