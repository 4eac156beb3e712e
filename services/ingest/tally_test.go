package ingest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/clickpb"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
)

// tallying is a configuration with the tally on.
func tallying(c *Config) {
	c.Tally, c.Redis = on, totalstest.Config()
}

// total reads what Redis has of a link.
func (w *world) total(record deployment.Record, link string) fold.Total {
	w.t.Helper()
	store := w.redis.Open(w.t)
	defer store.Close()
	epoch := store.Epoch(record.Epoch, totals.RuleOf(record.Fold()))
	sums, _, err := epoch.Totals(w.t.Context(), click.Partition(link, record.Partitions), []string{link})
	if err != nil {
		w.t.Fatal(err)
	}
	return sums[link]
}

// within waits for a total that must be there soon.
func (w *world) within(d time.Duration, record deployment.Record, link string, want int64) {
	w.t.Helper()
	time.Sleep(d)
	if got := w.total(record, link); got.Count != want {
		w.t.Fatalf("after %v redis has %+v of %s, want %d clicks", d, got, link, want)
	}
}

func (w *world) clicks(n int, link string) {
	w.t.Helper()
	w.mustPost(http.StatusAccepted, strings.Repeat(fmt.Sprintf(`{"link":%q}`+"\n", link), n), "Content-Type", "application/x-ndjson")
}

// append appends clicks as another ingest does.
func (w *world) append(record deployment.Record, n int, link string) {
	w.t.Helper()
	p, err := w.cluster.NewProducer(w.t.Context(), kafkalog.ProducerConfig{Topic: record.Topic, Partitions: record.Partitions})
	if err != nil {
		w.t.Fatal(err)
	}
	messages := make([]kafkalog.Message, n)
	for i := range messages {
		id, err := click.NewID()
		if err != nil {
			w.t.Fatal(err)
		}
		messages[i] = kafkalog.Message{
			Partition: click.Partition(link, record.Partitions), TimeMs: time.Now().UnixMilli(), Key: []byte(link),
			Value: (&click.Record{ID: id}).Append(nil),
		}
	}
	if err := errors.Join(p.Append(messages), p.Close(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

const (
	// join is how soon an ingest owns its partitions.
	join = 5 * time.Second
	// heal is how soon totals are right when a fault has ended.
	heal = 2 * time.Second
)

func TestTallyCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tallying)
		record := w.init()
		w.awaitReady()
		w.clicks(3, "x7Kp2")
		w.within(join, record, "x7Kp2", 3)
		w.clicks(2, "x7Kp2")
		w.within(heal, record, "x7Kp2", 5)

		w.redis.Away(true)
		w.clicks(4, "x7Kp2") // nobody who clicks waits for totals
		time.Sleep(time.Minute)
		if status, body := w.get("/readyz"); status != http.StatusOK {
			t.Fatalf("not ready without Redis: %s", body)
		}
		w.redis.Away(false)
		w.within(heal, record, "x7Kp2", 9)

		w.redis.FlushAll()
		w.within(heal, record, "x7Kp2", 9)
	})
}

// Redis hangs in the middle of everything, which ends no connection.
func TestTallyAndRedisThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tallying)
		record := w.init()
		w.awaitReady()
		w.clicks(1, "x7Kp2")
		w.within(join, record, "x7Kp2", 1)
		w.redis.Mute(true)
		for range 30 {
			w.clicks(1, "x7Kp2")
			time.Sleep(time.Second)
		}
		w.redis.Mute(false)
		w.within(heal, record, "x7Kp2", 31)
	})
}

// The totals of a deployment whose API runs elsewhere.
func TestTallyAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) {
			tallying(c)
			c.API = "off"
		})
		if status, _ := w.get("/readyz"); status != http.StatusServiceUnavailable {
			t.Fatal("ready before there is a deployment")
		}
		record := w.init()
		w.awaitReady()
		if a := w.mustPost(http.StatusNotFound, `{"link":"x7Kp2"}`); a.Code != "not_found" {
			t.Fatalf("code %s", a.Code)
		}
		if w.service.producer.Load() != nil {
			t.Error("there is a producer, which nobody uses")
		}
		w.append(record, 7, "x7Kp2")
		w.within(join, record, "x7Kp2", 7)
	})
}

// A new epoch has totals of its own.
func TestTallyFollowsTheEpoch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, tallying)
		record := w.init()
		w.awaitReady()
		w.clicks(3, "x7Kp2")
		w.within(join, record, "x7Kp2", 3)
		next := record
		next.Epoch++
		w.write(&clickpb.Deployment{
			Topic: next.Topic, Partitions: partitions, Window: next.Window, WithinMs: next.Within.Milliseconds(),
			FoldVersion: fold.Version, Epoch: next.Epoch, CreatedAtMs: time.Now().UnixMilli(),
		})
		w.within(join, next, "x7Kp2", 3)
		w.clicks(1, "x7Kp2")
		w.within(heal, next, "x7Kp2", 4)
		if got := w.total(record, "x7Kp2").Count; got != 3 {
			t.Fatalf("the totals of the old epoch went on to %d", got)
		}
	})
}
