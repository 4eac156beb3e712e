package totals

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// redisServer starts a Redis on a socket of its own, and skips where the program is not installed.
func redisServer(b *testing.B) (addr string) {
	b.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		b.Skip("there is no redis-server here to measure with")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--dir", b.TempDir(),
		"--logfile", filepath.Join(b.TempDir(), "log"))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			_ = c.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond) // another process: there is nothing to synchronise on
	}
	b.Fatal("redis-server does not answer")
	return ""
}

// BenchmarkApply applies batches of clicks on 10,000 links. "redis-ns/click" is the CPU time that Redis spends, as it
// tells itself; "blocked-µs" is how long one batch keeps it from doing anything else.
func BenchmarkApply(b *testing.B) {
	addr := redisServer(b)
	for _, clicks := range []int{100, 1000, 5000, 20_000} {
		b.Run(fmt.Sprintf("clicks=%d", clicks), func(b *testing.B) {
			s, err := Open(Config{Addrs: []string{addr}, Prefix: "bench", Timeout: 10 * time.Second})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			e := s.Epoch(rand.Int64(), Rule{Window: 50_000, Within: time.Hour, FoldVersion: 1})
			batch := benchBatch(clicks)
			if err := e.Apply(b.Context(), &Batch{From: None}); err != nil {
				b.Fatal(err)
			}
			before := redisCPU(b, s)
			b.ReportAllocs()
			for b.Loop() {
				batch.To = batch.From + int64(clicks)
				if err := e.Apply(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				batch.From = batch.To
			}
			spent := (redisCPU(b, s) - before).Seconds() / float64(b.N)
			b.ReportMetric(spent/float64(clicks)*1e9, "redis-ns/click")
			b.ReportMetric(spent*1e6, "blocked-µs")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*clicks), "ns/click")
			b.ReportMetric(float64(len(batch.Links)), "links")
		})
	}
}

func benchBatch(clicks int) *Batch {
	rng := rand.New(rand.NewPCG(1, 1))
	links := map[string]int{}
	b := &Batch{Minutes: []MinuteDelta{{Minute: time.Now().Unix() / 60}}}
	for range clicks {
		link := fmt.Sprintf("link-%04d", rng.IntN(10_000))
		i, ok := links[link]
		if !ok {
			i = len(b.Links)
			links[link] = i
			b.Links = append(b.Links, LinkDelta{Link: link, AtMs: time.Now().UnixMilli()})
		}
		b.Links[i].Count++
		if rng.IntN(10) == 0 {
			b.Links[i].Bots++
		}
	}
	b.Minutes[0].Links = b.Links
	return b
}

// redisCPU is the processor time that Redis has spent so far.
func redisCPU(b *testing.B, s *Store) time.Duration {
	b.Helper()
	var info string
	err := s.calls.Call(b.Context(), time.Second, func(ctx context.Context, client rueidis.Client) (err error) {
		info, err = client.Do(ctx, client.B().Info().Section("cpu").Build()).ToString()
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	var total time.Duration
	for _, name := range []string{"used_cpu_sys:", "used_cpu_user:"} {
		total += infoSeconds(b, info, name)
	}
	return total
}

func infoSeconds(b *testing.B, info, name string) time.Duration {
	b.Helper()
	_, value, ok := strings.Cut(info, "\r\n"+name)
	if !ok {
		b.Fatalf("no %s in %q", name, info)
	}
	value, _, _ = strings.Cut(value, "\r\n")
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(seconds * float64(time.Second))
}
