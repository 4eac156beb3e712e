package feed_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func record(n int) fold.Record {
	return fold.Record{TimeMs: int64(n), Key: fmt.Appendf(nil, "k%d", n), Value: fmt.Appendf(nil, "value %d", n)}
}

// drain reads until the position is end and returns the offsets that it saw and how many were holes.
func drain(ctx context.Context, tb fataler, r *feed.Reader, end int64) (offsets []int64, holes int64) {
	for next := int64(-1); next < end; {
		c, err := r.Next(ctx)
		if errors.Is(err, feedtest.ErrBroken) {
			continue // it is tried again
		}
		if err != nil {
			tb.Fatalf("%v", err)
		}
		if stretch := int64(len(c.Records)) + c.Holes; next >= 0 && c.Next-next != stretch {
			tb.Fatalf("from %d to %d the chunk has %d records and %d holes", next, c.Next, len(c.Records), c.Holes)
		}
		if len(c.Records) > feed.MaxRecords {
			tb.Fatalf("a chunk of %d records", len(c.Records))
		}
		for _, rec := range c.Records {
			want := record(int(rec.TimeMs))
			if string(rec.Key) != string(want.Key) || string(rec.Value) != string(want.Value) {
				tb.Fatalf("offset %d: %q = %q, want %q = %q", rec.Offset, rec.Key, rec.Value, want.Key, want.Value)
			}
			offsets = append(offsets, rec.Offset)
		}
		if c.Next < next || c.Next > c.Marks.End {
			tb.Fatalf("next %d after %d, the log ends at %d", c.Next, next, c.Marks.End)
		}
		next = c.Next
		holes += c.Holes
	}
	return offsets, holes
}

type fataler interface {
	Fatalf(format string, args ...any)
}

func TestReaderDeliversEachRecordOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		topic := feedtest.New(1)
		topic.BatchRecords = rapid.IntRange(1, 600).Draw(t, "batch")
		var want []int64
		holes, end := int64(0), int64(0)
		for n := range rapid.IntRange(1, 700).Draw(t, "records") {
			if rapid.IntRange(0, 50).Draw(t, "hole") == 0 {
				k := rapid.Int64Range(1, 5).Draw(t, "offsets")
				topic.Hole(0, k)
				holes += k
			}
			o := topic.Append(0, record(n))
			want = append(want, o)
			end = o + 1
			if rapid.IntRange(0, 30).Draw(t, "hide") == 0 {
				topic.Hide(0, o, 1)
			}
			if rapid.IntRange(0, 30).Draw(t, "break") == 0 {
				topic.Break(0, o, rapid.IntRange(1, 2).Draw(t, "times"))
			}
		}
		r := feed.NewReader(topic, 0, 0)
		defer r.Close()
		got, gotHoles := drain(context.Background(), t, r, end)
		if fmt.Sprint(got) != fmt.Sprint(want) || gotHoles != holes {
			t.Fatalf("offsets %v, %d holes; want %v, %d", got, gotHoles, want, holes)
		}
	})
}

func TestRecordMissingOnceIsFetchedAgain(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(1)
	for n := range 5 {
		topic.Append(0, record(n))
	}
	topic.Hide(0, 2, 1)
	r := feed.NewReader(topic, 0, 0)
	defer r.Close()
	got, holes := drain(t.Context(), t, r, 5)
	if fmt.Sprint(got) != "[0 1 2 3 4]" || holes != 0 {
		t.Fatalf("offsets %v, %d holes", got, holes)
	}
}

func TestRecordsBeforeABrokenOneAreDelivered(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(1)
	for n := range 5 {
		topic.Append(0, record(n))
	}
	topic.Break(0, 3, 2)
	r := feed.NewReader(topic, 0, 0)
	defer r.Close()
	if c, err := r.Next(t.Context()); err != nil || len(c.Records) != 3 || c.Next != 3 {
		t.Fatalf("%d records, %v; want the 3 before the broken one", len(c.Records), err)
	}
	if _, err := r.Next(t.Context()); !errors.Is(err, feedtest.ErrBroken) {
		t.Fatalf("error %v", err)
	}
	if c, err := r.Next(t.Context()); err != nil || len(c.Records) != 2 || c.Next != 5 || c.Holes != 0 {
		t.Fatalf("%d records, %d holes, %v; want the other 2", len(c.Records), c.Holes, err)
	}
}

func TestHoleAtTheEndIsPassed(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(1)
	topic.Append(0, record(0))
	topic.Hole(0, 3) // as the marker of a transaction
	r := feed.NewReader(topic, 0, 0)
	defer r.Close()
	if got, holes := drain(t.Context(), t, r, 4); len(got) != 1 || holes != 3 {
		t.Fatalf("offsets %v, %d holes", got, holes)
	}
}

func TestReaderBeginsInsideABatch(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(1)
	for n := range 5 {
		topic.Append(0, record(n))
	}
	r := feed.NewReader(topic, 0, 3) // the log answers with 1 to 4
	defer r.Close()
	if got, _ := drain(t.Context(), t, r, 5); fmt.Sprint(got) != "[3 4]" {
		t.Fatalf("offsets %v, want 3 and 4", got)
	}
}

func TestReaderTellsLossFromTrouble(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(1)
	for n := range 5 {
		topic.Append(0, record(n))
	}
	trouble := errors.New("broker away")
	topic.Fail(0, 1, trouble)
	r := feed.NewReader(topic, 0, 1)
	defer r.Close()
	if _, err := r.Next(t.Context()); !errors.Is(err, trouble) {
		t.Fatalf("error %v", err)
	}
	if got, _ := drain(t.Context(), t, r, 5); len(got) != 4 {
		t.Fatalf("after trouble it goes on where it stood; got %v", got)
	}
	topic.Truncate(0, 3)
	if _, err := r.Next(t.Context()); !errors.Is(err, feed.ErrBeyondEnd) {
		t.Fatalf("truncated log: %v", err)
	}
	topic.Cut(0, 9)
	for range 2 { // it stays
		if _, err := r.Next(t.Context()); !errors.Is(err, feed.ErrLost) {
			t.Fatalf("cut log: %v", err)
		}
	}
}

func TestNothingNewStillBringsMarks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		topic := feedtest.New(1)
		topic.Append(0, record(0))
		r := feed.NewReader(topic, 0, 1)
		defer r.Close()
		c, err := r.Next(t.Context())
		if err != nil || len(c.Records) != 0 || c.Next != 1 || c.Marks.End != 1 || c.Marks.AsOf.IsZero() {
			t.Fatalf("chunk %+v, %v", c, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled: %v", err)
		}
	})
}

func TestLargeRecordsMakeSmallChunks(t *testing.T) {
	t.Parallel()
	topic := feedtest.New(1)
	big := record(0)
	big.Value = make([]byte, 200<<10)
	for range 3 {
		topic.Append(0, big)
	}
	huge := big
	huge.Value = make([]byte, 700<<10)
	topic.Append(0, huge)
	r := feed.NewReader(topic, 0, 0)
	defer r.Close()
	for n := range 4 {
		c, err := r.Next(t.Context())
		if err != nil || len(c.Records) != 1 || c.Next != int64(n)+1 {
			t.Fatalf("chunk %d: %d records up to %d, %v", n, len(c.Records), c.Next, err)
		}
	}
}

func TestNoAllocationPerChunk(t *testing.T) {
	topic := &endless{batch: 1000}
	for n := range 1000 {
		topic.records = append(topic.records, record(n))
	}
	r := feed.NewReader(topic, 0, 0)
	defer r.Close()
	if allocs := testing.AllocsPerRun(1000, func() {
		if _, err := r.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations for a chunk, want 0", allocs)
	}
}

func BenchmarkReader(b *testing.B) {
	topic := &endless{batch: 1000}
	for n := range 1000 {
		topic.records = append(topic.records, record(n))
	}
	r := feed.NewReader(topic, 0, 0)
	defer r.Close()
	b.ReportAllocs()
	records := 0
	for b.Loop() {
		c, err := r.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		records += len(c.Records)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(records), "ns/record")
}

// endless is a log that never ends and does not allocate.
type endless struct {
	records []fold.Record
	batch   int

	at, left int64
}

func (e *endless) Bounds(context.Context, int32) (int64, int64, error) { return 0, 1 << 62, nil }
func (e *endless) Open(int32, int64) feed.Log                          { return e }
func (e *endless) Close()                                              {}
func (e *endless) Err() error                                          { return nil }

func (e *endless) Marks() feed.Marks { return feed.Marks{End: 1 << 62, Next: e.at + e.left} }

func (e *endless) Fetch(context.Context) (feed.Batch, error) {
	e.left = int64(e.batch)
	return e, nil
}

func (e *endless) Next(r *fold.Record) bool {
	if e.left == 0 {
		return false
	}
	*r = e.records[e.at%int64(len(e.records))]
	r.Offset = e.at
	e.at++
	e.left--
	return true
}
