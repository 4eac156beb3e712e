package follower

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clickRecord is click number id of a link; 0 is a click without an id.
func clickRecord(offset int64, link string, id byte, bot bool) fold.Record {
	value := click.Record{Bot: bot}
	if id != 0 {
		value.ID = click.ID{15: id}
	}
	return fold.Record{Offset: offset, TimeMs: 1000 + offset, Key: []byte(link), Value: value.Append(nil)}
}

func configOf(window int64) Config {
	return Config{Partitions: 1, Fold: fold.Params{Window: window, Within: time.Hour}, Epoch: 3}
}

// alone returns a partition without its goroutines: the test plays them.
func alone(t interface{ Fatal(args ...any) }, window int64) *partition {
	s, err := New(configOf(window), Deps{Log: zap.NewNop(), Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return s.partitions[0]
}

// truth is the fold of a log's first n records, from offset 0.
func truth(log []fold.Record, window, n int64) map[string]fold.Total {
	f := fold.New(configOf(window).Fold)
	totals := make(map[string]fold.Total)
	for _, r := range log {
		if r.Offset < n && f.Add(r) == fold.Counted {
			_, bot := f.Last()
			t := totals[string(r.Key)]
			t.Add(bot, r.TimeMs)
			totals[string(r.Key)] = t
		}
	}
	return totals
}

// watcher counts how often it was told.
type watcher struct{ told int }

func (w *watcher) Changed() { w.told++ }

// model is a partition with everything that can happen to it, in any order.
type model struct {
	p      *partition
	window int64
	log    []fold.Record
	end    int64
	// next is where the totals of the store stand; it moves on, and falls back when the store loses its last writes.
	next int64

	// The read of totals that is under way.
	asked     []*Watched
	askedLife int

	watched map[*Watched]*watcher
	gone    []*Watched
	told    map[*Watched]Reading
}

func (m *model) append(t *rapid.T) {
	for range rapid.IntRange(1, 6).Draw(t, "records") {
		if rapid.IntRange(0, 9).Draw(t, "hole") == 0 {
			m.end++
		}
		r := clickRecord(m.end, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "link"),
			byte(rapid.IntRange(0, 3).Draw(t, "id")), rapid.Bool().Draw(t, "bot"))
		if rapid.IntRange(0, 9).Draw(t, "poison") == 0 {
			r.Value = nil
		}
		m.log = append(m.log, r)
		m.end++
	}
}

// fetch lets the partition take some of what it has not read.
func (m *model) fetch(t *rapid.T) {
	position := m.p.fold.Position()
	to := rapid.Int64Range(position, max(position, m.end)).Draw(t, "to")
	var chunk []fold.Record
	for _, r := range m.log {
		if r.Offset >= position && r.Offset < to {
			chunk = append(chunk, r)
		}
	}
	before := make(map[*Watched]int)
	for w, watcher := range m.watched {
		before[w] = watcher.told
	}
	m.p.apply(chunk, to)
	for w, watcher := range m.watched {
		reading, ok := w.Read()
		changed := ok && (reading.Count.Count != m.told[w].Count.Count)
		if _, wasKnown := m.told[w]; wasKnown && changed != (watcher.told > before[w]) {
			t.Fatalf("link %s: changed %v, told %d times", w.link, changed, watcher.told-before[w])
		}
		if watcher.told > before[w]+1 {
			t.Fatalf("link %s: told %d times of one chunk", w.link, watcher.told-before[w])
		}
	}
}

func (m *model) watch(t *rapid.T) {
	watcher := new(watcher)
	w := m.p.watch(rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "link"), watcher)
	if _, ok := m.watched[w]; ok {
		w.Release(watcher) // one watcher a link is enough here
		return
	}
	m.watched[w] = watcher
}

func (m *model) pick(t *rapid.T) *Watched {
	for _, link := range rapid.Permutation([]string{"a", "b", "c"}).Draw(t, "links") {
		if w := m.p.links[link]; w != nil {
			return w
		}
	}
	t.Skip("nothing is watched")
	return nil
}

func (m *model) release(t *rapid.T) {
	w := m.pick(t)
	w.Release(m.watched[w])
	delete(m.watched, w)
	delete(m.told, w)
	m.gone = append(m.gone, w)
}

func (m *model) ask(t *rapid.T) {
	if m.asked != nil {
		t.Skip("one read at a time")
	}
	m.asked, m.askedLife = m.p.takeWaiting(maxAsked)
}

// answer lands the totals that the store has: stale, ahead, or what it fell back to.
func (m *model) answer(t *rapid.T) {
	if m.asked == nil {
		t.Skip("nothing was asked")
	}
	if rapid.IntRange(0, 9).Draw(t, "fails") == 0 {
		m.p.askAgain(m.asked)
	} else {
		m.p.land(m.asked, m.askedLife, truth(m.log, m.window, m.next), m.next)
	}
	m.asked = nil
}

func (m *model) storeMovesOn(t *rapid.T) {
	m.next = rapid.Int64Range(m.next, m.end).Draw(t, "totals at")
}

func (m *model) storeFallsBack(t *rapid.T) {
	m.next = rapid.Int64Range(0, m.next).Draw(t, "totals at")
}

// begin is what follows a loss: a new start, as near as the log allows.
func (m *model) begin(*rapid.T) {
	m.p.begin(startAt(0, m.end, m.window))
	m.warmUp()
	m.told = make(map[*Watched]Reading) // all are syncing
}

// warmUp reads the warm-up of a start at once: counting is what the model is about.
func (m *model) warmUp() {
	var chunk []fold.Record
	for _, r := range m.log {
		if r.Offset >= m.p.fold.Position() && r.Offset < m.p.warmUntil {
			chunk = append(chunk, r)
		}
	}
	if m.p.warmUntil > 0 {
		m.p.apply(chunk, m.p.warmUntil)
	}
}

// check holds every reading against the fold of the log up to its seq.
func (m *model) check(t *rapid.T) {
	for w := range m.watched {
		r, ok := w.Read()
		if !ok {
			continue
		}
		want := truth(m.log, m.window, r.Seq)[w.link]
		got := fold.Total{Count: r.Count.Count, Bots: r.Bots, AtMs: r.At}
		if got != want || r.Epoch != 3 {
			t.Fatalf("link %s at %d is %+v, the log says %+v", w.link, r.Seq, got, want)
		}
		if position := m.p.fold.Position(); r.Seq != max(position, w.from) {
			t.Fatalf("link %s: seq %d, position %d, total read at %d", w.link, r.Seq, position, w.from)
		}
		if before, ok := m.told[w]; ok && r.Seq < before.Seq {
			t.Fatalf("link %s: seq fell from %d to %d", w.link, before.Seq, r.Seq)
		}
		m.told[w] = r
	}
	for _, w := range m.gone {
		if _, ok := w.Read(); ok {
			t.Fatalf("link %s was released and still has a count", w.link)
		}
	}
	if len(m.p.links) != len(m.watched) {
		t.Fatalf("%d links are kept, %d are watched", len(m.p.links), len(m.watched))
	}
}

// Whatever the order of appends, fetches, answers (stale, ahead, after a rollback, after a restart), watches and releases:
// a reading is the fold of the log up to its seq.
func TestEveryReadingIsTheFoldOfTheLog(t *testing.T) {
	t.Parallel()
	for range 20 { // a hundred runs each: they are cheap, and a stitch goes wrong only in rare company
		rapid.Check(t, checkReadings)
	}
}

func checkReadings(t *rapid.T) {
	window := rapid.Int64Range(1, 5).Draw(t, "D")
	m := &model{p: alone(t, window), window: window, watched: make(map[*Watched]*watcher), told: make(map[*Watched]Reading)}
	for range rapid.IntRange(0, 5).Draw(t, "before the start") {
		m.append(t)
	}
	m.begin(t)
	t.Repeat(map[string]func(*rapid.T){
		"append":           m.append,
		"fetch":            m.fetch,
		"watch":            m.watch,
		"release":          m.release,
		"ask":              m.ask,
		"answer":           m.answer,
		"answer again":     func(t *rapid.T) { m.ask(t); m.answer(t) },
		"store moves on":   m.storeMovesOn,
		"store falls back": m.storeFallsBack,
		"begin":            m.begin,
		"":                 m.check,
	})
	// After heal and quiet, every watched link has its count.
	m.next = m.end
	m.warmUp()
	m.p.apply(nil, m.p.fold.Position())
	if m.asked != nil {
		m.p.askAgain(m.asked)
	}
	links, life := m.p.takeWaiting(maxAsked)
	if got := m.p.land(links, life, truth(m.log, m.window, m.next), m.next); len(links) > 0 && got != readLanded {
		t.Fatalf("totals at the end of the log: %s", got)
	}
	m.check(t)
	for w := range m.watched {
		if _, ok := w.Read(); !ok {
			t.Fatalf("link %s is still syncing", w.link)
		}
	}
}
