package backup

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

var update = flag.Bool("update", false, "write the golden files")

const partitions = 3

var header = Header{
	Topic: "clicks", Partitions: partitions, Epoch: 2, Rule: "50000/3600000/1", At: time.Date(2026, 11, 23, 16, 0, 0, 0, time.UTC),
}

// sample has everything in it: a partition without links, one without a record, counts of another system alone.
func sample() []*totals.Dump {
	dumps := make([]*totals.Dump, partitions)
	for p := range dumps {
		dumps[p] = &totals.Dump{Links: map[string]totals.LinkTotal{}, Minutes: map[int64]map[string]totals.Clicks{}}
	}
	for i, link := range []string{"x7Kp2", "a3bZ9", "next", "acme:launch", "only-imported"} {
		d := dumps[click.Partition(link, partitions)]
		n := int64(i + 1)
		d.Position = totals.Position{Next: 100 * n, Last: totals.Fingerprint{Offset: 100*n - 1, Sum: uint64(n) << 40}}
		t := totals.LinkTotal{Total: fold.Total{Count: 10 * n, Bots: n % 2, AtMs: 1_764_000_000_000 + n}}
		if i > 2 {
			t.Imported = totals.Clicks{Count: 7 * n, Bots: n}
		}
		if i == 4 {
			t.Total = fold.Total{}
		} else {
			for minute := range n {
				if d.Minutes[29_400_000+minute] == nil {
					d.Minutes[29_400_000+minute] = map[string]totals.Clicks{}
				}
				d.Minutes[29_400_000+minute][link] = totals.Clicks{Count: minute + 1, Bots: minute % 2}
			}
		}
		d.Links[link] = t
	}
	return dumps
}

func written(tb fataler, h Header, dumps []*totals.Dump) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, h)
	if err != nil {
		tb.Fatal(err)
	}
	for _, d := range dumps {
		if err := w.Partition(d); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func read(content []byte) (Header, []*totals.Dump, error) {
	f, err := Read(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return Header{}, nil, err
	}
	dumps := make([]*totals.Dump, 0, len(f.Sections))
	for p := range f.Sections {
		d, err := f.Load(int32(p))
		if err != nil {
			return Header{}, nil, err
		}
		dumps = append(dumps, d)
	}
	return f.Header, dumps, nil
}

func TestGolden(t *testing.T) {
	t.Parallel()
	content := written(t, header, sample())
	golden := filepath.Join("testdata", "backup-v1.ndjson")
	if *update {
		if err := os.WriteFile(golden, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(content, want) {
		t.Fatalf("a backup is written differently than before, %v:\n%s", err, content)
	}
	h, dumps, err := read(want)
	if err != nil || h != header || !reflect.DeepEqual(dumps, sample()) {
		t.Fatalf("read %+v, %+v, %v", h, dumps, err)
	}
}

// A backup that lacks a line, or any number of bytes at its end, is refused.
func TestCutFiles(t *testing.T) {
	t.Parallel()
	content := written(t, header, sample())
	lines := bytes.SplitAfter(content, []byte("\n"))
	lines = lines[:len(lines)-1] // behind the last end there is nothing
	for i := range lines {
		without := bytes.Join(slices.Delete(slices.Clone(lines), i, i+1), nil)
		if _, _, err := read(without); !errors.Is(err, ErrDamaged) {
			t.Errorf("without line %d: %v", i+1, err)
		}
		twice := bytes.Join(slices.Insert(slices.Clone(lines), i, lines[i]), nil)
		if _, _, err := read(twice); !errors.Is(err, ErrDamaged) {
			t.Errorf("line %d twice: %v", i+1, err)
		}
	}
	for n := range content {
		if _, _, err := read(content[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("the first %d of %d bytes: %v", n, len(content), err)
		}
	}
}

// Whatever bit of a backup is not as it was written, it is refused, or says what it said.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	content := written(t, header, sample())
	harmless := 0
	for i := range content {
		for bit := range 8 {
			changed := bytes.Clone(content)
			changed[i] ^= 1 << bit
			h, dumps, err := read(changed)
			switch {
			case errors.Is(err, ErrDamaged):
			case err == nil && h == header && reflect.DeepEqual(dumps, sample()):
				harmless++
			default:
				t.Fatalf("bit %d of byte %d: %+v, %v", bit, i, h, err)
			}
		}
	}
	if harmless > 64 { // the case of the names in the last line, which JSON does not mind
		t.Errorf("%d changes went unnoticed", harmless)
	}
}

// sealed makes a whole backup of lines.
func sealed(links, minutes int, lines ...string) []byte {
	body := strings.Join(lines, "\n") + "\n"
	return fmt.Appendf(nil, "%s{\"end\":\"totals\",\"links\":%d,\"minutes\":%d,\"sha256\":\"%x\"}\n", body, links, minutes, sha256.Sum256([]byte(body)))
}

// What is whole and cannot be is refused too: a file may come from anywhere.
func TestContradictions(t *testing.T) {
	t.Parallel()
	const head = `{"linkpulse":"totals","version":1,"topic":"clicks","partitions":1,"epoch":1,"rule":"5/1000/1","at":"2026-11-23T16:00:00Z"}`
	const part = `{"partition":0,"next":5,"last":"4:00000000000000ff"}`
	for name, tc := range map[string]struct {
		content []byte
		want    string // "" where it is good
	}{
		"good":                   {sealed(1, 1, head, part, `{"link":"a","count":3,"bots":1}`, `{"minute":7,"link":"a","count":1}`), ""},
		"empty":                  {nil, "cut"},
		"no backup":              {[]byte("hello\n"), "no backup"},
		"another kind":           {[]byte(`{"linkpulse":"clicks","version":1}` + "\n"), "no backup"},
		"a later version":        {sealed(0, 0, strings.Replace(head, `"version":1`, `"version":2`, 1), part), "version 2"},
		"no partitions":          {sealed(0, 0, strings.Replace(head, `"partitions":1`, `"partitions":0`, 1)), "0 partitions"},
		"a partition missing":    {sealed(0, 0, head), "0 partitions"},
		"a partition too many":   {sealed(0, 0, head, part, strings.Replace(part, ":0", ":1", 1)), "partition 1 comes"},
		"a partition twice":      {sealed(0, 0, head, part, part), "partition 0 comes"},
		"a link before any":      {sealed(1, 0, head, `{"link":"a","count":3}`, part), "no partition"},
		"a link twice":           {sealed(2, 0, head, part, `{"link":"a","count":3}`, `{"link":"a","count":3}`), "not in order"},
		"a link after minutes":   {sealed(1, 1, head, part, `{"minute":7,"link":"a","count":1}`, `{"link":"b","count":3}`), "not in order"},
		"a minute twice":         {sealed(0, 2, head, part, `{"minute":7,"link":"a","count":1}`, `{"minute":7,"link":"a","count":1}`), "not in order"},
		"minutes backwards":      {sealed(0, 2, head, part, `{"minute":7,"link":"a","count":1}`, `{"minute":6,"link":"b","count":1}`), "not in order"},
		"more bots than clicks":  {sealed(1, 0, head, part, `{"link":"a","count":3,"bots":4}`), "4 of them bots"},
		"a negative count":       {sealed(1, 0, head, part, `{"link":"a","count":-3}`), "-3 clicks"},
		"a count out of range":   {sealed(1, 0, head, part, `{"link":"a","count":9007199254740993}`), "clicks"},
		"imported bots":          {sealed(1, 0, head, part, `{"link":"a","count":0,"imported":1,"imported_bots":2}`), "2 of them bots"},
		"no link":                {sealed(1, 0, head, part, `{"link":"a b","count":3}`), "link"},
		"an unknown field":       {sealed(1, 0, head, part, `{"link":"a","count":3,"weight":1}`), "weight"},
		"two objects":            {sealed(1, 0, head, part, `{"link":"a","count":3} {}`), "follows"},
		"a wrong number":         {sealed(2, 0, head, part, `{"link":"a","count":3}`), "1 links"},
		"a record behind itself": {sealed(0, 0, head, `{"partition":0,"next":4,"last":"4:00000000000000ff"}`), "last record"},
		"a wrong fingerprint":    {sealed(0, 0, head, `{"partition":0,"next":4,"last":"x"}`), "fingerprint"},
		"something behind":       {append(sealed(0, 0, head, part), '\n'), "follows the last line"},
		"a line that is no line": {append(sealed(0, 0, head, part)[:len(head)+1], bytes.Repeat([]byte("x"), 2*maxLine)...), "longer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := read(tc.content)
			if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), tc.want)) {
				t.Fatalf("%v, want %q", err, tc.want)
			}
		})
	}
	other := strings.Replace(head, `"partitions":1`, `"partitions":2`, 1)
	misplaced := sealed(1, 0, other, part, `{"link":"`+linkIn(1, 2)+`","count":3}`, strings.Replace(part, ":0", ":1", 1))
	if _, _, err := read(misplaced); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "belongs to partition 1") {
		t.Errorf("a link in another's partition: %v", err)
	}
}

func linkIn(partition int32, of int) string {
	for i := 0; ; i++ {
		if link := fmt.Sprint("l", i); click.Partition(link, of) == partition {
			return link
		}
	}
}

// A file that is changed between the look at it and the use of it is not used.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	content := written(t, header, sample())
	f, err := Read(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.Sections {
		s := &f.Sections[i]
		if s.length == 0 {
			continue
		}
		at := s.offset + int64(bytes.Index(content[s.offset:], []byte(`"count":1`))) + int64(len(`"count":`))
		content[at] = '8'
		if d, err := f.Load(int32(i)); !errors.Is(err, ErrDamaged) {
			t.Errorf("partition %d: %+v, %v", i, d, err)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "partitions")
		dumps := make([]*totals.Dump, n)
		for p := range dumps {
			next := rapid.Int64Range(0, 1<<40).Draw(t, "next")
			dumps[p] = &totals.Dump{Position: totals.Position{Next: next}, Links: map[string]totals.LinkTotal{}, Minutes: map[int64]map[string]totals.Clicks{}}
			if next > 0 && rapid.Bool().Draw(t, "has a record") {
				dumps[p].Last = totals.Fingerprint{Offset: rapid.Int64Range(0, next-1).Draw(t, "last"), Sum: rapid.Uint64Min(1).Draw(t, "sum")}
			}
		}
		clicks := func(name string) totals.Clicks {
			count := rapid.Int64Range(0, maxCount).Draw(t, name)
			return totals.Clicks{Count: count, Bots: rapid.Int64Range(0, count).Draw(t, name+" bots")}
		}
		for _, link := range rapid.SliceOfDistinct(rapid.StringMatching(`[A-Za-z0-9._~:-]{1,8}`), rapid.ID).Draw(t, "links") {
			d := dumps[click.Partition(link, n)]
			c := clicks("count")
			d.Links[link] = totals.LinkTotal{
				Total:    fold.Total{Count: c.Count, Bots: c.Bots, AtMs: rapid.Int64().Draw(t, "at")},
				Imported: clicks("imported"),
			}
			if rapid.Bool().Draw(t, "has minutes") {
				minute := rapid.Int64Range(0, 3).Draw(t, "minute")
				if d.Minutes[minute] == nil {
					d.Minutes[minute] = map[string]totals.Clicks{}
				}
				d.Minutes[minute][link] = clicks("in the minute")
			}
		}
		h := header
		h.Partitions = n
		got, read, err := read(written(t, h, dumps))
		if err != nil || got != h || !reflect.DeepEqual(read, dumps) {
			t.Fatalf("read %+v, %+v, %v", got, read, err)
		}
	})
}

// fataler is a test or a property.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

func TestWriterWantsEveryPartition(t *testing.T) {
	t.Parallel()
	w, err := NewWriter(&bytes.Buffer{}, header)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "0 of 3") {
		t.Fatalf("Close = %v", err)
	}
}

func TestPending(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "backup")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, commit := range []bool{false, true} {
		p, err := Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.WriteString("new"); err != nil {
			t.Fatal(err)
		}
		want := "old"
		if commit {
			want, err = "new", p.Commit()
		} else {
			err = p.Abort()
		}
		got, readErr := os.ReadFile(path)
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
		if err != nil || readErr != nil || string(got) != want || len(names)+len(hidden) != 1 {
			t.Fatalf("commit %v: %v, %v, %q, %v %v", commit, err, readErr, got, names, hidden)
		}
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "must be a file") {
		t.Fatalf("opening a directory: %v", err)
	}
}

// Whatever comes in, it is refused, or says the same when it is written again.
func FuzzRead(f *testing.F) {
	content := written(f, header, sample())
	f.Add(content)
	f.Add(content[:len(content)/2])
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, content []byte) {
		h, dumps, err := read(content)
		if err != nil {
			return
		}
		again, dumpsAgain, err := read(written(t, h, dumps))
		if err != nil || !again.At.Equal(h.At) || again.Topic != h.Topic || !reflect.DeepEqual(dumpsAgain, dumps) {
			t.Fatalf("%+v, %v; written again %+v, %v, %v", h, dumps, again, dumpsAgain, err)
		}
	})
}
