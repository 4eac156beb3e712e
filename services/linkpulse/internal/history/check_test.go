package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// world is a good history and its log, as an ideal system would make them.
type world struct {
	t      *rapid.T
	log    Log
	events []Event
	links  []string
	nextID byte
}

func drawWorld(t *rapid.T) *world {
	w := &world{t: t, links: []string{"a", "b", "c"}}
	w.log = Log{
		Epoch: 1, Window: 1000, Within: time.Hour,
		Partitions: make([]Partition, rapid.IntRange(1, 3).Draw(t, "partitions")),
	}
	for range rapid.IntRange(4, 25).Draw(t, "clicks") {
		w.click(rapid.SampledFrom(w.links).Draw(t, "link"), rapid.SampledFrom([]Kind{Acked, Unknown}).Draw(t, "outcome"))
	}
	w.click("a", Acked) // so that every mutation finds something to break
	w.click("a", Acked)
	for i := range rapid.IntRange(1, 3).Draw(t, "dashboards") {
		w.dashboard(fmt.Sprintf("d%d", i))
	}
	return w
}

// click appends one click, with the doubles that a retry may leave behind.
func (w *world) click(link string, kind Kind) {
	w.nextID++
	c := click.Record{Bot: rapid.Bool().Draw(w.t, "bot")}
	c.ID[0] = w.nextID
	p := &w.log.Partitions[click.Partition(link, len(w.log.Partitions))]
	times := rapid.IntRange(0, 2).Draw(w.t, "times")
	if kind == Acked {
		times = max(times, 1)
	}
	for range max(times, 1) {
		w.events = append(w.events, Event{At: w.clock(), Kind: Sent, Link: link, ID: c.ID})
	}
	for range times {
		p.Records = append(p.Records, Record{Offset: p.End, TimeMs: 5, Key: []byte(link), Value: c.Append(nil)})
		p.End++
	}
	w.events = append(w.events, Event{At: w.clock(), Kind: kind, Link: link, ID: c.ID})
}

// clock returns a time that rises with every event.
func (w *world) clock() time.Time { return time.UnixMilli(int64(len(w.events))) }

// dashboard watches link a, and maybe others, over one to three connections, the later ones perhaps to a gateway that
// lags behind what the dashboard already shows.
func (w *world) dashboard(client string) {
	f, err := fold(&w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	links := w.links[:rapid.IntRange(1, len(w.links)).Draw(w.t, "links")]
	connections := rapid.IntRange(1, 3).Draw(w.t, "connections")
	for _, link := range links {
		w.events = append(w.events, Event{Kind: Watch, Client: client, Link: link})
		var shown click.Count
		show := func(c click.Count, at bool) {
			if c.Newer(shown) || at && c == shown || shown == (click.Count{}) {
				shown = c
				w.events = append(w.events, Event{Kind: Shown, Client: client, Link: link, Count: c})
			}
		}
		end := f.end(link)
		for n := range connections {
			// What is told first goes as far as the clicks' acknowledgements, or claims nothing.
			beat := func(e Event) {
				e.Kind, e.CompleteTo = Heartbeat, time.UnixMilli(0)
				if e.Count.Seq == end {
					e.CompleteTo = w.clock()
				}
				w.events = append(w.events, e)
			}
			e := Event{Client: client, Gateway: "g", Connection: fmt.Sprintf("%s-%d", client, n), Link: link}
			e.Kind, e.Count = Subscribed, f.at(link, rapid.Int64Range(0, end).Draw(w.t, "subscribed at"))
			if n == connections-1 && link == "a" {
				e.Count = f.at(link, 0) // the last connection tells at least one update
			}
			w.events = append(w.events, e)
			show(e.Count, true)
			beat(e)
			for e.Count.Seq < end {
				next := f.at(link, rapid.Int64Range(e.Count.Seq+1, end).Draw(w.t, "update at"))
				if n == connections-1 && next.Seq == end || next.Count > e.Count.Count {
					e.Kind, e.Delta, e.Count = Update, next.Count-e.Count.Count, next
					w.events = append(w.events, e)
					show(e.Count, false)
					beat(e)
				} else if next.Seq == end {
					break
				}
			}
		}
	}
}

// last returns the index of the last event that fits.
func (w *world) last(fits func(Event) bool) int {
	for i, e := range slices.Backward(w.events) {
		if fits(e) {
			return i
		}
	}
	w.t.Fatalf("the good history has no event to mutate")
	return -1
}

func kind(k Kind) func(Event) bool {
	return func(e Event) bool { return e.Kind == k && e.Link == "a" }
}

func TestGoodHistory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		if rapid.Bool().Draw(t, "guarded") {
			w.guard()
		}
		violations, err := Check(w.events, w.log)
		if err != nil || len(violations) > 0 {
			t.Fatalf("a good history is refused: %v, %v", err, Error(violations))
		}
	})
}

// Each mutation breaks one promise of a good history. The rule must be among those reported: a broken number often
// breaks others along with it.
func TestPlantedViolations(t *testing.T) {
	t.Parallel()
	plantAll(t, map[string]plant{
		"an acknowledged click never reached the log": {RuleLost, func(w *world) {
			w.events = append(w.events, Event{Kind: Acked, Link: "a", ID: click.ID{255}})
		}},
		"an acknowledged click lies in another link's partition": {RuleLost, func(w *world) {
			i := w.last(func(e Event) bool { return e.Kind == Acked })
			for _, p := range w.log.Partitions {
				for r := range p.Records {
					if c, err := click.Decode(p.Records[r].Key, p.Records[r].Value); err == nil && c.ID == w.events[i].ID {
						p.Records[r].Key = []byte("zz")
					}
				}
			}
		}},
		"an acknowledged click came again after the window": {RuleOnce, func(w *world) {
			w.appendAgain(Acked)
		}},
		"a click of unknown outcome came again after the window": {RuleTwice, func(w *world) {
			w.events = append(w.events, Event{Kind: Unknown, Link: "a", ID: click.ID{254}})
			w.appendRecord("a", click.ID{254}, 0)
			w.appendAgain(Unknown)
		}},
		"a retry behind the client's back leaves a copy": {RuleRepeated, func(w *world) {
			w.events = append(w.events, Event{Kind: Sent, Link: "a", ID: click.ID{248}}, Event{Kind: Acked, Link: "a", ID: click.ID{248}})
			w.appendRecord("a", click.ID{248}, 0)
			w.appendRecord("a", click.ID{248}, 0)
		}},
		"a click that nobody sent": {RuleInvented, func(w *world) {
			w.appendRecord("a", click.ID{253}, 0)
		}},
		"an update tells one too many": {RuleCount, func(w *world) {
			w.events[w.last(kind(Update))].Count.Count++
		}},
		"a bot is told as a person": {RuleCount, func(w *world) {
			w.events[w.last(kind(Update))].Count.Bots++
		}},
		"the first number of a subscription is wrong": {RuleCount, func(w *world) {
			w.events[w.last(kind(Subscribed))].Count.Count++
		}},
		"a dashboard shows another number": {RuleCount, func(w *world) {
			w.events[w.last(kind(Shown))].Count.Count++
		}},
		"an answer over plain HTTP is wrong": {RuleCount, func(w *world) {
			e := w.events[w.last(kind(Shown))]
			e.Kind, e.Gateway = Read, "g"
			e.Count.Count++
			w.events = append(w.events, e)
		}},
		"a store is ahead of its own offset": {RuleCount, func(w *world) {
			i := w.last(kind(Update))
			e := w.events[i]
			e.Kind, e.Gateway = Read, "redis"
			e.Count.Seq = 0
			w.events = append(w.events, e)
		}},
		"the seq is beyond the log": {RuleCount, func(w *world) {
			w.events[w.last(kind(Update))].Count.Seq += 1000
		}},
		"another epoch": {RuleEpoch, func(w *world) {
			w.events[w.last(kind(Update))].Count.Epoch++
		}},
		"a wrong delta": {RuleDelta, func(w *world) {
			w.events[w.last(kind(Update))].Delta++
		}},
		"an update is lost on the way": {RuleDelta, func(w *world) {
			e := w.events[w.last(kind(Update))]
			for id := range byte(2) {
				w.events = append(w.events, Event{Kind: Acked, Link: "a", ID: click.ID{250 + id}})
				w.appendRecord("a", click.ID{250 + id}, 0)
			}
			e.Count, e.Delta = w.at("a", w.end("a")), 1
			w.events = append(w.events, e)
		}},
		"an update is told twice": {RuleOrder, func(w *world) {
			i := w.last(kind(Update))
			again := w.events[i]
			again.Delta = 0
			w.events = slices.Insert(w.events, i+1, again)
		}},
		"an update overtakes its subscribed": {RuleUninvited, func(w *world) {
			i := w.last(kind(Update))
			w.events[i].Connection = "stranger"
		}},
		"an update after unsubscribed": {RuleUninvited, func(w *world) {
			i := w.last(kind(Update))
			e := w.events[i]
			e.Kind = Unsubscribed
			w.events = slices.Insert(w.events, i, e)
		}},
		"a dashboard believes a gateway that lags": {RuleBack, func(w *world) {
			e := w.events[w.last(kind(Shown))]
			e.Count = w.at("a", 0)
			w.events = append(w.events, e)
		}},
		"a dashboard shows what it reckoned itself": {RuleUntold, func(w *world) {
			w.events = append(w.events, Event{Kind: Watch, Client: "dreamer", Link: "a"},
				Event{Kind: Shown, Client: "dreamer", Link: "a", Count: w.at("a", w.end("a"))})
		}},
		"a heartbeat claims what is not told": {RuleWatermark, func(w *world) {
			beat := w.events[w.last(kind(Update))]
			w.events = append(w.events, Event{At: w.clock(), Kind: Acked, Link: "a", ID: click.ID{249}})
			w.appendRecord("a", click.ID{249}, 0)
			beat.Kind, beat.CompleteTo = Heartbeat, w.clock()
			w.events = append(w.events, beat)
			beat.At, beat.CompleteTo = w.clock().Add(Grace+time.Second), time.UnixMilli(0)
			w.events = append(w.events, beat) // the connection lives, and the update did not come
		}},
		"a dashboard never heard the last click": {RuleFinal, func(w *world) {
			w.events = append(w.events, Event{Kind: Acked, Link: "a", ID: click.ID{252}})
			w.appendRecord("a", click.ID{252}, 0)
		}},
		"a dashboard never heard anything": {RuleFinal, func(w *world) {
			w.events = append(w.events, Event{Kind: Watch, Client: "deaf", Link: "a"})
		}},
	})
}

// plant is a mutation and the rule that it breaks.
type plant struct {
	rule   Rule
	mutate func(w *world)
}

func plantAll(t *testing.T, plants map[string]plant) {
	t.Helper()
	for name, m := range plants {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				w := drawWorld(t)
				m.mutate(w)
				violations, err := Check(w.events, w.log)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(violations, func(v Violation) bool { return v.Rule == m.rule }) {
					t.Fatalf("not caught: %s; reported: %v", m.rule, Error(violations))
				}
			})
		})
	}
}

func (w *world) at(link string, seq int64) click.Count {
	f, err := fold(&w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	return f.at(link, seq)
}

func (w *world) end(link string) int64 {
	return w.log.Partitions[click.Partition(link, len(w.log.Partitions))].End
}

// appendRecord appends a record of link, gap offsets after the end of its partition.
func (w *world) appendRecord(link string, id click.ID, gap int64) {
	p := &w.log.Partitions[click.Partition(link, len(w.log.Partitions))]
	c := click.Record{ID: id}
	p.Records = append(p.Records, Record{Offset: p.End + gap, TimeMs: 5, Key: []byte(link), Value: c.Append(nil)})
	p.End += gap + 1
}

// appendAgain appends the last click of that outcome again, too late to be recognised.
func (w *world) appendAgain(k Kind) {
	e := w.events[w.last(func(e Event) bool { return e.Kind == k })]
	w.appendRecord(e.Link, e.ID, 2*w.log.Window)
}

func TestAckAfterUnknownIsAnAck(t *testing.T) {
	t.Parallel()
	id := click.ID{1}
	for _, events := range [][]Event{
		{{Kind: Unknown, Link: "a", ID: id}, {Kind: Acked, Link: "a", ID: id}},
		{{Kind: Acked, Link: "a", ID: id}, {Kind: Unknown, Link: "a", ID: id}},
	} {
		violations, err := Check(events, Log{Window: 1, Within: time.Hour, Partitions: []Partition{{}}})
		if err != nil || len(violations) != 1 || violations[0].Rule != RuleLost {
			t.Errorf("%v: %v, %v; want the click reported as lost", events, violations, err)
		}
	}
}

func TestAnUpdateMayFollowItsHeartbeatSoon(t *testing.T) {
	t.Parallel()
	log := Log{Epoch: 1, Window: 5, Within: time.Hour, Partitions: []Partition{partition(rec{"a", 1, 0, false})}}
	now, before := click.Count{Epoch: 1, Seq: 1, Count: 1}, click.Count{Epoch: 1}
	acked, beat := time.UnixMilli(1000), time.UnixMilli(2000)
	on := func(at time.Time, k Kind, c click.Count, delta int64) Event {
		return Event{At: at, Kind: k, Client: "d", Connection: "c", Link: "a", Count: c, Delta: delta, CompleteTo: beat}
	}
	for delay, want := range map[time.Duration]int{Grace: 0, Grace + 1: 1} {
		violations, err := Check([]Event{
			on(acked, Subscribed, before, 0),
			{At: acked, Kind: Acked, Link: "a", ID: click.ID{1}},
			on(beat, Heartbeat, click.Count{}, 0), on(beat.Add(delay), Update, now, 1),
		}, log)
		if err != nil || len(violations) != want {
			t.Errorf("an update %v after its heartbeat: %v, %v; want %d violations", delay, err, Error(violations), want)
		}
	}
}

func TestWatchingAfreshMayShowLess(t *testing.T) {
	t.Parallel()
	log := Log{Epoch: 1, Window: 5, Within: time.Hour, Partitions: []Partition{partition(rec{"a", 1, 0, false})}}
	now, before := click.Count{Epoch: 1, Seq: 1, Count: 1}, click.Count{Epoch: 1}
	on := func(k Kind, c click.Count, delta int64) Event {
		return Event{Kind: k, Client: "d", Connection: "c", Link: "a", Count: c, Delta: delta}
	}
	violations, err := Check([]Event{
		{Kind: Acked, Link: "a", ID: click.ID{1}},
		on(Watch, click.Count{}, 0), on(Subscribed, now, 0), on(Shown, now, 0), on(Unwatch, click.Count{}, 0),
		on(Watch, click.Count{}, 0), on(Subscribed, before, 0), on(Shown, before, 0), on(Update, now, 1), on(Shown, now, 0),
	}, log)
	if err != nil || len(violations) != 0 {
		t.Fatalf("%v, %v", err, Error(violations))
	}
}

func TestErrorStaysReadable(t *testing.T) {
	t.Parallel()
	if Error(nil) != nil {
		t.Fatal("no violations are an error")
	}
	many := slices.Repeat([]Violation{{Rule: RuleDelta, Event: 3, Detail: "x"}}, 25)
	msg := Error(many).Error()
	if !strings.Contains(msg, "25 violations") || !strings.Contains(msg, "and 15 more") || strings.Count(msg, "\n") != 11 {
		t.Fatalf("report: %s", msg)
	}
}

func TestRecorder(t *testing.T) {
	t.Parallel()
	var r Recorder
	var wg sync.WaitGroup
	for i := range byte(8) {
		wg.Go(func() {
			for range 50 {
				r.Acked("a", click.ID{i})
				r.Unknown("b", click.ID{i})
			}
		})
	}
	wg.Wait()
	events := r.Events()
	if len(events) != 800 || events[0].At.IsZero() {
		t.Fatalf("%d events, first %+v; want 800 with times", len(events), events[0])
	}
	events[0].Link = "changed"
	if r.Events()[0].Link == "changed" {
		t.Fatal("Events does not copy")
	}
	var b bytes.Buffer
	if err := WriteEvents(&b, events); err != nil {
		t.Fatal(err)
	}
	var line struct{ Kind, Link, ID string }
	if err := json.NewDecoder(&b).Decode(&line); err != nil || line.Kind == "" || line.Link != "changed" || len(line.ID) != 36 && line.ID != "" {
		t.Fatalf("first line: %+v, %v", line, err)
	}
}
