//go:build unix

package kafkalog

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// The broker of the benchmarks is kfake in a process of its own, on loopback, so that cpu-ns/op is the client's alone.
// ns/op is the time that passes, with a broker on the same machine: its share depends on how many cores there are.

// externalBroker starts the test binary once more, as a broker, and returns a cluster on it with a topic of 12
// partitions.
func externalBroker(b *testing.B) *Cluster {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), brokerEnv+"=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	in, err := cmd.StdinPipe() // the broker ends when this is closed, however we end
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	c, err := Open(Config{Brokers: []string{strings.TrimSpace(addr)}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		_ = in.Close()
		_ = cmd.Wait() // it was told to end
	})
	return c
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

const benchPartitions = 12

// click is a message as ingest makes them: 105 bytes, with the trace context in a header.
func click(n uint32) Message {
	return Message{
		Partition: int32(n % benchPartitions), TimeMs: 1_700_000_000_000, Key: []byte("x7Kp2"), Value: make([]byte, 80),
		Headers: []Header{{Key: "traceparent", Value: []byte("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}},
	}
}

// One operation is one record: 256 callers at once, with one record or a hundred in each call.
func BenchmarkAppend(b *testing.B) {
	for _, records := range []int{1, 100} {
		b.Run(fmt.Sprintf("callers=256/records=%d", records), func(b *testing.B) {
			c := externalBroker(b)
			p, err := c.NewProducer(b.Context(), ProducerConfig{Topic: topic, Partitions: benchPartitions})
			if err != nil {
				b.Fatal(err)
			}
			defer func() {
				if err := p.Close(b.Context()); err != nil {
					b.Error(err)
				}
			}()
			if err := p.Append([]Message{click(0)}); err != nil {
				b.Fatal(err)
			}
			left := atomic.Int64{}
			left.Store(int64(b.N))
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu(b)
			var callers sync.WaitGroup
			for caller := range 256 {
				callers.Go(func() {
					msgs := make([]Message, records)
					for i := range msgs {
						msgs[i] = click(uint32(caller + i))
					}
					for left.Add(-int64(records)) >= 0 {
						if err := p.Append(msgs); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			callers.Wait()
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// One operation is one record, out of a log that is read from its start again and again.
func BenchmarkFollow(b *testing.B) {
	c := externalBroker(b)
	p, err := c.NewProducer(b.Context(), ProducerConfig{Topic: topic, Partitions: 1})
	if err != nil {
		b.Fatal(err)
	}
	for range 200 {
		msgs := make([]Message, 1000)
		for i := range msgs {
			msgs[i] = click(0)
			msgs[i].Headers = nil
		}
		if err := p.Append(msgs); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	f := c.Follow(topic, 0, 0)
	read := 0
	var r fold.Record
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu(b)
	for read < b.N {
		batch, err := f.Fetch(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for batch.Next(&r) {
			read++
		}
		if m := batch.Marks(); m.Next == m.End {
			f.next = 0
		}
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
}

// What is done for each record under the lock of its partition.
func BenchmarkAdd(b *testing.B) {
	m := click(0)
	batch := newBatch(make([]byte, 0, 1<<20), time.Time{})
	b.ReportAllocs()
	for b.Loop() {
		if len(batch.buf) > 1<<19 {
			batch.buf, batch.count = batch.buf[:setSizeLen+batchHeaderLen], 0
		}
		batch.add(&m)
	}
}
