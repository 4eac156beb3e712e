package totalscmd

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/recount"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files")

const partitions = 2

// world is a broker and a Redis in memory, what was ever clicked, and the commands, in the synctest bubble of its test.
type world struct {
	t       *testing.T
	network *kfake.VirtualNetwork
	fake    *kfake.Cluster
	redis   *totalstest.Redis
	cluster *kafkalog.Cluster
	store   *totals.Store
	dir     string

	connection Connection // of the commands
	dialer     func(ctx context.Context, network, address string) (net.Conn, error)

	producers map[string]*kafkalog.Producer // by topic, as long as the cluster is open

	stdin    string
	asked    bool                             // somebody is at stdin
	terminal bool                             // somebody looks at stderr
	during   func(ctx context.Context, n int) // called before each dial; nil: nothing
	dials    atomic.Int64
	clicks   map[string][partitions][]occurred // what each topic was ever given
}

// occurred is a click that is or was in the log.
type occurred struct {
	link   string
	id     click.ID
	bot    bool
	timeMs int64
}

func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	inBubble(t, t.TempDir(), test)
}

func inBubble(t *testing.T, dir string, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { newWorld(t, dir, test) })
}

func newWorld(t *testing.T, dir string, test func(w *world)) {
	t.Helper()
	w := &world{t: t, network: &kfake.VirtualNetwork{}, redis: totalstest.New(t), dir: dir, clicks: map[string][partitions][]occurred{}}
	var err error
	if w.fake, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(w.network.Listen)); err != nil {
		t.Fatal(err)
	}
	defer w.fake.Close()
	w.connection = Connection{Kafka: kafkalog.Config{Brokers: w.fake.ListenAddrs()}, Redis: totalstest.Config()}
	w.dialer = w.dial
	w.open()
	defer func() {
		w.redis.Latency(0)
		w.close()
		time.Sleep(time.Minute) // what is on its way arrives
	}()
	test(w)
}

func (w *world) open() {
	w.t.Helper()
	w.producers = map[string]*kafkalog.Producer{}
	var err error
	if w.cluster, err = kafkalog.Open(w.connection.Kafka, kafkalog.WithDialer(w.network.DialContext)); err != nil {
		w.t.Fatal(err)
	}
	if w.store, err = totals.Open(w.connection.Redis, totals.WithDialer(w.redis.Dial)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) close() {
	w.t.Helper()
	for _, p := range w.producers {
		if err := p.Close(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}
	w.store.Close()
	w.cluster.Close()
}

// sleep waits without connections: hours of virtual time are a while to ping through.
func (w *world) sleep(d time.Duration) {
	w.t.Helper()
	w.close()
	time.Sleep(d)
	w.open()
}

// begun is inWorld with a deployment: a window of 10 records and an hour.
func begun(t *testing.T, test func(w *world)) {
	t.Helper()
	inWorld(t, func(w *world) {
		w.init()
		test(w)
	})
}

func (w *world) init() {
	w.t.Helper()
	want := deployment.Default()
	want.Partitions, want.Window = partitions, 10
	_, err := deployment.Init(w.t.Context(), w.cluster, want, deployment.Topics{Replicas: 1, MinInsync: 1, Retention: deployment.DefaultRetention})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) record() deployment.Record {
	w.t.Helper()
	r, err := deployment.Read(w.t.Context(), w.cluster)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// epoch returns the totals that stand.
func (w *world) epoch() *totals.Epoch {
	w.t.Helper()
	r := w.record()
	return w.store.Epoch(r.Epoch, totals.RuleOf(r.Fold()))
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if w.during != nil {
		w.during(ctx, int(w.dials.Add(1)))
	}
	if address == totalstest.Addr {
		return w.redis.Dial(ctx, network, address)
	}
	return w.network.DialContext(ctx, network, address)
}

// click appends clicks, written as link, event id in one character, and "!" where a bot did it: "a1" "d2!".
func (w *world) click(clicks ...string) {
	w.t.Helper()
	topic := w.record().Topic
	p := w.producer(topic)
	all := w.clicks[topic]
	for _, c := range clicks {
		c, bot := strings.CutSuffix(c, "!")
		o := occurred{link: c[:len(c)-1], id: click.ID{15: c[len(c)-1]}, bot: bot, timeMs: time.Now().UnixMilli()}
		at := click.Partition(o.link, partitions)
		value := click.Record{ID: o.id, Bot: o.bot}
		if err := p.Append([]kafkalog.Message{{Partition: at, TimeMs: o.timeMs, Key: []byte(o.link), Value: value.Append(nil)}}); err != nil {
			w.t.Fatal(err)
		}
		all[at] = append(all[at], o)
	}
	w.clicks[topic] = all
}

func (w *world) producer(topic string) *kafkalog.Producer {
	w.t.Helper()
	if w.producers[topic] == nil {
		p, err := w.cluster.NewProducer(w.t.Context(), kafkalog.ProducerConfig{Topic: topic, Partitions: partitions})
		if err != nil {
			w.t.Fatal(err)
		}
		w.producers[topic] = p
	}
	return w.producers[topic]
}

// cut removes the records below an offset, as retention does.
func (w *world) cut(partition int32, start int64) {
	w.t.Helper()
	if err := w.fake.DeleteRecords(w.record().Topic, partition, start); err != nil {
		w.t.Fatal(err)
	}
}

// tally brings the totals up to the end of the log, as the tally does: from where they are, warmed up, and from the start
// where there are none and the log has it.
func (w *world) tally() {
	w.t.Helper()
	for p := range int32(partitions) {
		if err := w.tallyOne(p); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) tallyOne(partition int32) error {
	ctx, e, r := w.t.Context(), w.epoch(), w.record()
	source := w.cluster.Source(r.Topic)
	pos, err := e.Position(ctx, partition)
	if errors.Is(err, totals.ErrMissing) {
		if start, _, err := source.Bounds(ctx, partition); err != nil || start > 0 {
			return fmt.Errorf("stopped: the log begins at %d, %w", start, err)
		}
		err = e.Apply(ctx, &totals.Batch{Partition: partition, From: totals.None})
	}
	if err != nil {
		return err
	}
	res, err := recount.Run(ctx, source, fold.New(r.Fold()), recount.Request{Partition: partition, From: pos.Next, Window: r.Window, MinutesSince: 1})
	if err != nil || res.Next == pos.Next {
		return err
	}
	if res.From != pos.Next {
		return fmt.Errorf("stopped: lost [%d, %d)", pos.Next, res.From)
	}
	b := &totals.Batch{Partition: partition, From: pos.Next, To: res.Next, Last: totals.FingerprintOf(res.Last), Links: deltas(res.Totals)}
	for minute, links := range res.Minutes {
		b.Minutes = append(b.Minutes, totals.MinuteDelta{Minute: minute, Links: deltas(links)})
	}
	return e.Apply(ctx, b)
}

func deltas(of map[string]fold.Total) (all []totals.LinkDelta) {
	for link, t := range of {
		all = append(all, totals.LinkDelta{Link: link, Count: t.Count, Bots: t.Bots, AtMs: t.AtMs})
	}
	return all
}

// naive counts what was clicked in the topic that stands, by the rule word for word.
func (w *world) naive(partition int32) (map[string]fold.Total, map[int64]map[string]totals.Clicks) {
	r := w.record()
	links, minutes := map[string]fold.Total{}, map[int64]map[string]totals.Clicks{}
	all := w.clicks[r.Topic][partition]
	for i, c := range all {
		duplicate := false
		for j := max(0, i-int(r.Window)); j < i; j++ {
			apart := time.Duration(c.timeMs-all[j].timeMs) * time.Millisecond
			duplicate = duplicate || all[j].link == c.link && all[j].id == c.id && apart.Abs() < r.Within
		}
		if duplicate {
			continue
		}
		t := links[c.link]
		t.Add(c.bot, c.timeMs)
		links[c.link] = t
		minute := c.timeMs / 60_000
		if minutes[minute] == nil {
			minutes[minute] = map[string]totals.Clicks{}
		}
		m := minutes[minute][c.link]
		m.Count++
		if c.bot {
			m.Bots++
		}
		minutes[minute][c.link] = m
	}
	return links, minutes
}

// wantExact holds the totals of the epoch that stands against all that was ever clicked.
func (w *world) wantExact() {
	w.t.Helper()
	for p := range int32(partitions) {
		d, err := w.epoch().Dump(w.t.Context(), p)
		if err != nil {
			w.t.Fatal(err)
		}
		links, minutes := w.naive(p)
		got := map[string]fold.Total{}
		for link, t := range d.Links {
			if t.Total != (fold.Total{}) {
				got[link] = t.Total
			}
		}
		if d.Next != int64(len(w.clicks[w.record().Topic][p])) || !reflect.DeepEqual(got, links) {
			w.t.Errorf("partition %d at %d: %v, want %v", p, d.Next, got, links)
		}
		from, to := minutesKept(time.Now())
		for minute := range union(d.Minutes, minutes) {
			if minute >= from && minute < to && !reflect.DeepEqual(d.Minutes[minute], minutes[minute]) {
				w.t.Errorf("partition %d, minute %d: %v, want %v", p, minute, d.Minutes[minute], minutes[minute])
			}
		}
	}
}

// total returns what a reader is told of a link, imported counts included.
func (w *world) total(link string) fold.Total {
	w.t.Helper()
	all, _, err := w.epoch().Totals(w.t.Context(), click.Partition(link, partitions), []string{link})
	if err != nil {
		w.t.Fatal(err)
	}
	return all[link]
}

// path returns a path of the test's own directory.
func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) file(name, content string) string {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return w.path(name)
}

// outcome is what a command came to.
type outcome struct {
	stdout, stderr string
	err            error
}

// code is what the process would end with.
func (o outcome) code() int {
	var coded interface{ ExitCode() int }
	switch {
	case o.err == nil:
		return 0
	case errors.As(o.err, &coded):
		return coded.ExitCode()
	default:
		return 1
	}
}

func (o outcome) String() string {
	return fmt.Sprintf("%s%s[ends with %d: %v]\n", o.stdout, o.stderr, o.code(), o.err)
}

// run runs a command.
func (w *world) run(c Command) outcome { return w.runIn(w.t.Context(), c) }

func (w *world) runIn(ctx context.Context, c Command) outcome {
	w.t.Helper()
	connection := reflect.ValueOf(c).Elem().FieldByName("Connection").Addr().Interface().(*Connection)
	*connection = w.connection
	if err := c.Check(); err != nil {
		w.t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	err := c.Run(ctx, Env{
		Stdin: strings.NewReader(w.stdin), Stdout: &stdout, Stderr: &stderr, Interactive: w.asked, Terminal: w.terminal,
		Owner: "a test", Log: zap.NewNop(), Dial: w.dialer,
	})
	return outcome{strings.ReplaceAll(stdout.String(), w.dir, "DIR"), strings.ReplaceAll(stderr.String(), w.dir, "DIR"), err}
}

// must runs a command that has to work.
func (w *world) must(c Command) outcome {
	w.t.Helper()
	o := w.run(c)
	if o.err != nil {
		w.t.Fatalf("%T: %v", c, o)
	}
	return o
}

// refused runs a command that must not work and must say why.
func (w *world) refused(c Command, want ...string) outcome {
	w.t.Helper()
	o := w.run(c)
	for _, part := range want {
		if o.err == nil || !strings.Contains(o.String(), part) {
			w.t.Fatalf("%T: %vit does not say %q", c, o, part)
		}
	}
	return o
}

// keys returns what is in Redis, whatever it is.
func (w *world) keys() map[string]map[string]string {
	all := map[string]map[string]string{}
	for _, key := range w.redis.Keys() {
		fields := map[string]string{}
		names, err := w.redis.HKeys(key)
		if err != nil {
			fields["not a hash"] = err.Error()
		}
		for _, name := range names {
			fields[name] = w.redis.HGet(key, name)
		}
		all[key] = fields
	}
	return all
}

// keysInUse is keys without what expires by itself although nothing ever comes of it.
func (w *world) keysInUse() map[string]map[string]string {
	w.t.Helper()
	all := w.keys()
	for key := range all {
		if strings.Contains(key, ":staged:") {
			if ttl := w.redis.TTL(key); ttl <= 0 || ttl > time.Hour {
				w.t.Errorf("%s expires in %v", key, ttl)
			}
			delete(all, key)
		}
	}
	return all
}

// add changes a number in Redis behind everybody's back.
func (w *world) add(key, field string, n int) {
	w.t.Helper()
	if _, err := w.redis.HIncrBy(key, field, n); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) golden(name, got string) {
	w.t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || string(want) != got {
		w.t.Errorf("%s: %v\ngot:\n%s\nwant:\n%s", name, err, got, want)
	}
}
