package gateway

import (
	"cmp"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// BenchmarkPush is the flush path over real sockets against a raw net.Conn.Write loop over the same sockets, one frame a
// write. The readers are another process, so the processor time of this one is what the sending costs. The two take turns
// and change places, so that what else the machine does hits both. "xraw" is the ratio per frame: that of each round, and
// of those the median, since a machine that is slower for a while is so for both sides of a round. The times beside it
// are of the median round.
func BenchmarkPush(b *testing.B) {
	const connections, warmUp = 500, 5
	for _, k := range []int{1, 4, 10} {
		b.Run(fmt.Sprintf("k=%d", k), func(b *testing.B) {
			s := newPushBench(b, connections)
			rounds := max(b.N/connections, 40)
			before := s.flushes()
			works := [...]func(){func() { s.push(k) }, s.raw, func() {}} // what the process spends on nothing is not theirs
			var spent [len(works)][]time.Duration
			for i := range rounds + warmUp {
				for j := range works {
					which := (i + j) % len(works)
					took := s.measure(works[which])
					if i >= warmUp {
						spent[which] = append(spent[which], took)
					}
				}
			}
			// One write per connection and round, but for rounds that the machine cut in two.
			want := (rounds + warmUp) * connections
			if n := s.flushes() - before; n < want || n > want+want/10 {
				b.Fatalf("%d writes in %d rounds to %d connections, want one each", n, rounds+warmUp, connections)
			}
			idle := median(spent[2])
			ratios := make([]float64, rounds)
			for i := range ratios {
				ratios[i] = float64(spent[0][i]-idle) / float64(spent[1][i]-idle) / float64(k)
			}
			b.ReportMetric(float64(median(spent[0])-idle)/float64(connections*k), "cpu-ns/frame")
			b.ReportMetric(float64(median(spent[1])-idle)/float64(connections), "raw-cpu-ns/frame")
			b.ReportMetric(median(ratios), "xraw")
			b.ReportMetric(0, "ns/op") // of both together, and of the pauses: says nothing
		})
	}
}

func median[T cmp.Ordered](of []T) T {
	sorted := slices.Sorted(slices.Values(of))
	return sorted[len(sorted)/2]
}

// pushBench is a bench whose connections are in groups that share ten links, as dashboards of a team do.
type pushBench struct {
	*bench
	connections int
	round       int
	frame       []byte
}

func newPushBench(b *testing.B, connections int) *pushBench {
	b.Helper()
	s := &pushBench{bench: newBench(b, time.Hour), connections: connections}
	b.Cleanup(s.dashboards(connections))
	s.frame = wire.AppendUpdateFrame(nil, wire.Update{Link: "link-123", Count: 1, Delta: 1, Seq: 1, At: time.Now().UnixMilli()})
	return s
}

// measure returns the processor time, user and system, that this process spends on f and what f sets off. It ends with a
// pause, which costs nothing: the loop and the readers finish in it, and a link that changes in every round stays below
// the rate at which it would be capped.
func (s *pushBench) measure(f func()) time.Duration {
	s.tb.Helper()
	usage := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			s.tb.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := usage()
	f()
	time.Sleep(25 * time.Millisecond)
	return usage() - before
}

// push counts a click on k links of every group, so that every connection is told of k.
func (s *pushBench) push(k int) {
	s.round++
	s.counts.addToGroups(s.round*k, k)
}

// raw writes a frame to every connection, as a program without any of this would, in the order of the groups: sockets
// that lie side by side in memory are cheaper to visit in turn.
func (s *pushBench) raw() {
	for g := range benchGroups {
		for i := g; i < len(s.sockets); i += benchGroups {
			if _, err := s.sockets[i].Write(s.frame); err != nil {
				s.tb.Fatal(err)
			}
		}
	}
}
