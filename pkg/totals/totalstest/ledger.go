package totalstest

import (
	"cmp"
	"errors"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Ledger is a log of a partition in which every record counts, and what it adds up to at every offset. It is made from a
// seed and never changes, so it is safe for concurrent use.
type Ledger struct {
	entries []entry
}

type entry struct {
	link   string
	bot    bool
	timeMs int64
}

// Links of ledgers. Some look like the names of fields.
func ledgerLinks() []string {
	return []string{"a", "next", "rule", "last", "c:x", "b:x", "i:c:x", "x", "~", "acme:x7Kp2"}
}

// ledgerMinutes is over how many minutes before now the records of a ledger are spread. The oldest of them stay for hours
// after any test has ended.
const ledgerMinutes = 20

// NewLedger returns a ledger of n records.
func NewLedger(seed uint64, n int) *Ledger {
	rng := rand.New(rand.NewPCG(seed, seed))
	links, now := ledgerLinks(), time.Now()
	l := &Ledger{}
	for range n {
		ago := time.Duration(rng.IntN(ledgerMinutes)) * time.Minute
		l.entries = append(l.entries, entry{
			link: links[rng.IntN(len(links))], bot: rng.IntN(4) == 0, timeMs: now.Add(-ago).UnixMilli(),
		})
	}
	return l
}

// End returns the offset after its last record.
func (l *Ledger) End() int64 { return int64(len(l.entries)) }

// Batch returns what [from, to) counts, for a partition.
func (l *Ledger) Batch(partition int32, from, to int64) *totals.Batch {
	d := l.dump(max(from, 0), to)
	b := &totals.Batch{Partition: partition, From: from, To: to, Last: d.Last}
	for _, link := range slices.Sorted(maps.Keys(d.Links)) {
		t := d.Links[link].Total
		b.Links = append(b.Links, totals.LinkDelta{Link: link, Count: t.Count, Bots: t.Bots, AtMs: t.AtMs})
	}
	for _, minute := range slices.Sorted(maps.Keys(d.Minutes)) {
		b.Minutes = append(b.Minutes, totals.MinuteDelta{Minute: minute, Links: deltas(d.Minutes[minute])})
	}
	return b
}

func deltas(links map[string]totals.Clicks) (list []totals.LinkDelta) {
	for link, c := range links {
		list = append(list, totals.LinkDelta{Link: link, Count: c.Count, Bots: c.Bots})
	}
	slices.SortFunc(list, func(a, b totals.LinkDelta) int { return cmp.Compare(a.Link, b.Link) })
	return list
}

// At returns all that is to be stored at an offset.
func (l *Ledger) At(next int64) *totals.Dump { return l.dump(0, next) }

func (l *Ledger) dump(from, to int64) *totals.Dump {
	d := &totals.Dump{
		Position: totals.Position{Next: to},
		Links:    make(map[string]totals.LinkTotal), Minutes: make(map[int64]map[string]totals.Clicks),
	}
	for _, e := range l.entries[from:to] {
		bots := int64(0)
		if e.bot {
			bots = 1
		}
		t := d.Links[e.link].Total
		d.Links[e.link] = totals.LinkTotal{Total: fold.Total{Count: t.Count + 1, Bots: t.Bots + bots, AtMs: e.timeMs}}
		minute := e.timeMs / 60_000
		if d.Minutes[minute] == nil {
			d.Minutes[minute] = make(map[string]totals.Clicks)
		}
		c := d.Minutes[minute][e.link]
		d.Minutes[minute][e.link] = totals.Clicks{Count: c.Count + 1, Bots: c.Bots + bots}
	}
	if to > 0 {
		last := l.entries[to-1]
		d.Last = totals.FingerprintOf(fold.Record{Offset: to - 1, TimeMs: last.timeMs, Key: []byte(last.link)})
	}
	return d
}

// Check fails the test unless totals, minutes and next of a partition agree, and returns next, totals.None where there is
// none.
func (l *Ledger) Check(tb failer, e *totals.Epoch, partition int32) (next int64) {
	tb.Helper()
	got, err := e.Dump(tb.Context(), partition)
	if errors.Is(err, totals.ErrMissing) {
		return totals.None
	}
	if err != nil {
		tb.Fatalf("reading partition %d: %v", partition, err)
	}
	if want := l.At(got.Next); !reflect.DeepEqual(got, want) {
		tb.Fatalf("partition %d at %d holds\n%+v, and the log says\n%+v", partition, got.Next, got, want)
	}
	return got.Next
}

// Run folds the ledger into a partition from where its totals are to the end, in batches of at most size records, and
// tells after each how far it is. It creates the totals where there are none.
func (l *Ledger) Run(tb testing.TB, e *totals.Epoch, partition int32, size int64, after func(next int64)) {
	tb.Helper()
	pos, err := e.Position(tb.Context(), partition)
	if errors.Is(err, totals.ErrMissing) {
		err = e.Apply(tb.Context(), &totals.Batch{Partition: partition, From: totals.None})
	}
	for next := pos.Next; err == nil && next < l.End(); after(next) {
		to := min(next+size, l.End())
		if err = e.Apply(tb.Context(), l.Batch(partition, next, to)); err == nil {
			next = to
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
}
