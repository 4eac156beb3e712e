package totalscmd

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/initcmd"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/kafkatest"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/redistest"
)

// The same on Apache Kafka and Redis, with enough clicks that answers come in pieces: a rebuild, a backup of what it
// made, Redis emptied, the backup put back, and counts of another system.
func TestOnRealParts(t *testing.T) {
	t.Parallel()
	kafka, redis := kafkatest.Start(t, kafkatest.Config{Brokers: 1}), redistest.Start(t)
	w := &world{
		t: t, dir: t.TempDir(), clicks: map[string][partitions][]occurred{}, producers: map[string]*kafkalog.Producer{},
		connection: Connection{
			Kafka: kafkalog.Config{Brokers: kafka.Addrs}, Redis: totals.Config{Addrs: []string{redis.Addr}, Prefix: "linkpulse", Timeout: 5 * time.Second},
		},
	}
	begin := initcmd.Cmd{
		Kafka: w.connection.Kafka, Topic: "clicks", Partitions: partitions, Window: 1000, Within: time.Hour,
		Replicas: 1, MinInsync: 1, Retention: 168 * time.Hour, Timeout: time.Minute,
	}
	var out strings.Builder
	if err := begin.Run(t.Context(), &out, zap.NewNop()); err != nil || !strings.Contains(out.String(), "epoch 1") {
		t.Fatalf("%s, %v", &out, err)
	}
	var err error
	if w.cluster, err = kafkalog.Open(w.connection.Kafka); err != nil {
		t.Fatal(err)
	}
	if w.store, err = totals.Open(w.connection.Redis); err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.flood(50_000, 1)
	w.must(&Rebuild{From: fromLog, Yes: true})
	w.wantExact()
	w.wantVerdict(&Verify{}, 0)
	w.must(&Status{})
	backup := filepath.Join(w.dir, "backup")
	w.must(&Export{File: backup})
	w.flood(20_000, 2)
	w.tally()
	w.wantVerdict(&Verify{Base: backup}, 0)
	redis.FlushAll(t)
	if o := w.refused(&Import{File: w.file("cut", string(w.read("backup")[:512<<10]))}, "it was cut"); o.code() != 1 {
		t.Errorf("%v", o)
	}
	w.must(&Import{File: backup})
	w.tally()
	w.wantExact()
	w.must(&Import{Counts: w.file("counts", "link,count,bots\nl17,1000000,5\n"), Yes: true})
	w.wantExact()
	if got := w.total("l17"); got.Count < 1_000_000 {
		t.Errorf("l17 is %+v", got)
	}
	w.wantVerdict(&Verify{}, 0)
	if info, err := os.Stat(backup); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup is %v, %v", info, err)
	}
}

// flood appends clicks of 10,000 links at once, with many duplicates.
func (w *world) flood(n int, seed uint64) {
	w.t.Helper()
	r := rand.New(rand.NewPCG(seed, 6))
	all := w.clicks["clicks"]
	messages := make([]kafkalog.Message, n)
	for i := range messages {
		o := occurred{link: "l" + strconv.Itoa(r.IntN(10_000)), id: click.ID{14: byte(r.IntN(2)), 15: byte(1 + r.IntN(4))}, bot: r.IntN(5) == 0, timeMs: time.Now().UnixMilli()}
		at := click.Partition(o.link, partitions)
		value := click.Record{ID: o.id, Bot: o.bot}
		messages[i] = kafkalog.Message{Partition: at, TimeMs: o.timeMs, Key: []byte(o.link), Value: value.Append(nil)}
		all[at] = append(all[at], o)
	}
	for chunk := range slices.Chunk(messages, 1000) {
		if err := w.producer("clicks").Append(chunk); err != nil {
			w.t.Fatal(err)
		}
	}
	w.clicks["clicks"] = all
}
