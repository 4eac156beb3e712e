package tally

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// benchLinks is how many links the clicks of a benchmark are on.
const benchLinks = 10_000

func benchRecords(n int) []fold.Record {
	rng := rand.New(rand.NewPCG(1, 2))
	records := make([]fold.Record, n)
	for i := range records {
		var c click.Record
		for j := range c.ID {
			c.ID[j] = byte(rng.Uint32())
		}
		records[i] = fold.Record{
			Offset: int64(i), TimeMs: time.Now().UnixMilli(), Key: fmt.Appendf(nil, "link-%04d", rng.IntN(benchLinks)), Value: c.Append(nil),
		}
	}
	return records
}

// BenchmarkTally tallies a log that is in memory into a real Redis with a file of appended commands, from an empty fold to
// the last total. "tally-ns/click" is the CPU time of this process, the reader of the log included, "redis-ns/click" that of
// Redis, which works beside it.
func BenchmarkTally(b *testing.B) {
	addr := redisServer(b)
	for b.Loop() {
		tallyOnce(b, addr, 500_000)
	}
}

func tallyOnce(b *testing.B, addr string, clicks int) {
	b.Helper()
	b.StopTimer()
	store, err := totals.Open(totals.Config{Addrs: []string{addr}, Prefix: "bench", Timeout: 10 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	params := fold.Params{Window: 50_000, Within: time.Hour}
	epoch := store.Epoch(rand.Int64(), totals.RuleOf(params))
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	log := &constantLog{records: benchRecords(clicks)}
	tally := New(Config{Partitions: 1, Fold: params}, Deps{Source: log, Store: epoch, Log: zap.NewNop(), Metrics: m, Retention: forever})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	before, redisBefore, begun := cpu(b), redisCPU(b, addr), time.Now()
	b.StartTimer()
	go func() {
		defer close(done)
		tally.Run(ctx, []int32{0})
	}()
	for tally.Positions([]int32{0})[0] < int64(clicks) {
		time.Sleep(time.Millisecond) // a real Redis: there is nothing to synchronise on
	}
	b.StopTimer()
	took := time.Since(begun)
	spent, redisSpent := cpu(b)-before, redisCPU(b, addr)-redisBefore
	cancel()
	<-done
	b.ReportMetric(float64(clicks)/took.Seconds(), "clicks/s")
	b.ReportMetric(float64(clicks)/spent.Seconds(), "clicks/cpu-s")
	b.ReportMetric(float64(spent.Nanoseconds())/float64(clicks), "tally-ns/click")
	b.ReportMetric(float64(redisSpent.Nanoseconds())/float64(clicks), "redis-ns/click")
	b.StartTimer()
}

// foldingWorker folds chunk after chunk without a log or a store.
type foldingWorker struct {
	*worker
	records []fold.Record // folded again and again, with other event ids
	chunk   feed.Chunk
}

// newFoldingWorker returns one that is warm.
func newFoldingWorker(tb testing.TB) *foldingWorker {
	tb.Helper()
	m, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		tb.Fatal(err)
	}
	cfg := Config{Partitions: 1, Fold: fold.Params{Window: 50_000, Within: time.Hour}}
	w := &foldingWorker{
		worker:  newWorker(0, cfg, Deps{Log: zap.NewNop(), Metrics: m, Retention: forever}),
		records: benchRecords(40 * feed.MaxRecords),
	}
	w.fold, w.queue = fold.New(cfg.Fold), newQueue(0, 0)
	for w.chunk.Next < 2*cfg.Fold.Window {
		w.step()
	}
	return w
}

// step folds a chunk, and throws the batch away when it is full.
func (w *foldingWorker) step() {
	at := int(w.chunk.Next) % len(w.records)
	w.chunk.Records = w.records[at : at+feed.MaxRecords]
	for i := range w.chunk.Records {
		r := &w.chunk.Records[i]
		r.Offset = w.chunk.Next
		binary.LittleEndian.PutUint64(r.Value[len(r.Value)-8:], uint64(r.Offset)) // the end of its event id
		w.chunk.Next++
	}
	w.foldChunk(&w.chunk, 0)
	w.queue.mu.Lock()
	full := w.queue.growing.isFull()
	w.queue.mu.Unlock()
	if full {
		w.queue.take()
	}
}

// BenchmarkFold is a click's way from a chunk of the log into a batch: the fold and the collecting of what counts. An
// operation is a click.
func BenchmarkFold(b *testing.B) {
	w := newFoldingWorker(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%feed.MaxRecords == 0 {
			w.step()
		}
	}
}

func forever(context.Context) (time.Duration, error) { return 0, nil }

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// redisCPU asks a Redis for the CPU time that it has used.
func redisCPU(b *testing.B, addr string) (used time.Duration) {
	b.Helper()
	conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "INFO cpu\r\nQUIT\r\n"); err != nil {
		b.Fatal(err)
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if name != "used_cpu_user" && name != "used_cpu_sys" {
			continue
		}
		part, err := time.ParseDuration(value + "s")
		if err != nil {
			b.Fatal(err)
		}
		used += part
	}
	return used
}

// constantLog is one partition that does not change.
type constantLog struct{ records []fold.Record }

func (l *constantLog) Bounds(context.Context, int32) (start, end int64, err error) {
	return 0, int64(len(l.records)), nil
}

func (l *constantLog) Open(_ int32, from int64) feed.Log { return &constantCursor{log: l, next: from} }

type constantCursor struct {
	log  *constantLog
	next int64
	at   int64
}

func (c *constantCursor) Fetch(ctx context.Context) (feed.Batch, error) {
	if c.next == int64(len(c.log.records)) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	c.at = c.next
	c.next = min(c.next+5000, int64(len(c.log.records)))
	return c, nil
}

func (c *constantCursor) Close() {}

func (c *constantCursor) Next(r *fold.Record) bool {
	if c.at == c.next {
		return false
	}
	*r = c.log.records[c.at]
	c.at++
	return true
}

func (c *constantCursor) Err() error { return nil }

func (c *constantCursor) Marks() feed.Marks {
	return feed.Marks{End: int64(len(c.log.records)), Next: c.next, AsOf: time.Now()}
}

// redisServer starts a Redis on a port of its own, and skips where the program is not installed.
func redisServer(b *testing.B) (addr string) {
	b.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		b.Skip("there is no redis-server here to measure with")
	}
	var listener net.ListenConfig
	l, err := listener.Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr = l.Addr().String()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		b.Fatal(err)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", dir,
		"--logfile", filepath.Join(dir, "log"))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 500 {
		if c, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr); err == nil {
			_ = c.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond) // likewise
	}
	b.Fatal("redis-server does not answer")
	return ""
}
