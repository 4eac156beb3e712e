package history

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// Rule is a promise that a history can break.
type Rule string

// The rules. Each stands alone: a planted violation of one is reported under its name.
const (
	// RuleLost: an acknowledged click is in the log, in its link's partition.
	RuleLost Rule = "an acknowledged click is missing from the log"
	// RuleOnce: an acknowledged click counts exactly once.
	RuleOnce Rule = "an acknowledged click does not count exactly once"
	// RuleTwice: a click of unknown outcome counts at most once.
	RuleTwice Rule = "a click of unknown outcome counts more than once"
	// RuleRepeated: a click lies in the log at most as often as it was sent: retries behind ingest leave no copies, even
	// though readers would take them out.
	RuleRepeated Rule = "a click lies in the log more often than it was sent"
	// RuleInvented: every counted click was sent by somebody.
	RuleInvented Rule = "a click counts that nobody sent"
	// RuleCount: what is told or shown is the fold of the log up to the seq that is told with it.
	RuleCount Rule = "a count is not the fold of the log up to its seq"
	// RuleEpoch: only numbers of the log's epoch are told.
	RuleEpoch Rule = "a count carries another epoch than the log"
	// RuleDelta: the count told before on this connection, plus delta, is the count.
	RuleDelta Rule = "previous count + delta is not the count"
	// RuleOrder: on a connection, each update of a link is true at a later place in the log than what was told before.
	RuleOrder Rule = "an update does not go forward in the log"
	// RuleUninvited: updates of a link come only on a connection that was told that it is subscribed.
	RuleUninvited Rule = "a link is told on a connection that is not subscribed to it"
	// RuleBack: what a dashboard shows never goes back within an epoch.
	RuleBack Rule = "a dashboard's count went back"
	// RuleUntold: a dashboard shows only what a gateway told it.
	RuleUntold Rule = "a dashboard shows what it was not told"
	// RuleWatermark: what was acknowledged before the watermark of a heartbeat is in the counts told on that connection,
	// or on its way for less than [Grace]: an update of a hot link waits for a moment, a heartbeat does not. The rule
	// compares the clock of the clients with that of the gateways: the same one, or it accuses the clocks.
	RuleWatermark Rule = "a heartbeat claims clicks that were not told"
	// RuleFinal: once the system is healed and quiet, every dashboard shows the total of each link that it watches.
	RuleFinal Rule = "after heal and quiet a dashboard does not show the total"
)

// Grace is how long after a heartbeat the updates that it vouches for may arrive.
const Grace = 2 * time.Second

// Violation is a broken promise.
type Violation struct {
	Rule   Rule
	Event  int    // index of the event that shows it, or -1 where it is something that is missing
	Detail string // for people
}

// Error joins violations to one error, at most ten of them in words; nil for none.
func Error(violations []Violation) error {
	if len(violations) == 0 {
		return nil
	}
	const most = 10
	var b strings.Builder
	fmt.Fprintf(&b, "%d violations:", len(violations))
	for i, v := range violations {
		if i == most {
			fmt.Fprintf(&b, "\n  and %d more", len(violations)-most)
			break
		}
		fmt.Fprintf(&b, "\n  %s: %s", v.Rule, v.Detail)
		if v.Event >= 0 {
			fmt.Fprintf(&b, " (event %d)", v.Event)
		}
	}
	return errors.New(b.String())
}

// Check judges events, in their order, by the log as it stands at the end of the run, and returns every violation.
// Call it when the system was healed and quiet for long enough that everything told could arrive: [RuleFinal] needs it.
// The error is about the log itself ([ErrLog]): with it there is no judgement.
func Check(events []Event, log Log) ([]Violation, error) {
	if len(log.Partitions) == 0 {
		return nil, fmt.Errorf("%w: no partitions", ErrLog)
	}
	f, err := fold(&log)
	if err != nil {
		return nil, err
	}
	c := &checker{
		folded:  f,
		clicks:  make(map[clickKey]Kind),
		sent:    make(map[clickKey]int64),
		told:    make(map[connLink]click.Count),
		heard:   make(map[clientLink]map[click.Count]bool),
		shown:   make(map[clientLink]click.Count),
		watched: make(map[clientLink]bool),
		acks:    f.acks(events),
		vouched: make(map[string][]vouch),
		access:  newAccess(f, events),
	}
	for i, e := range events {
		c.event(i, e)
	}
	c.judgeClicks()
	c.judgeFinal()
	c.judgeAlike()
	return c.violations, nil
}

// Totals returns how many clicks count for each link that has any.
func Totals(log Log) (map[string]int64, error) {
	f, err := fold(&log)
	if err != nil {
		return nil, err
	}
	totals := make(map[string]int64, len(f.steps))
	for link := range f.steps {
		totals[link] = f.total(link).Count
	}
	return totals, nil
}

type (
	clickKey struct {
		link string
		id   click.ID
	}
	connLink   struct{ conn, link string }
	clientLink struct{ client, link string }
)

type checker struct {
	*folded
	clicks     map[clickKey]Kind                   // Acked once it was acknowledged, Unknown else
	sent       map[clickKey]int64                  // how often, as far as it was recorded
	told       map[connLink]click.Count            // the last count told; absent: not subscribed
	heard      map[clientLink]map[click.Count]bool // everything that a dashboard was told
	shown      map[clientLink]click.Count          // the last count shown
	watched    map[clientLink]bool                 // what dashboards want
	acks       map[string][]ack                    // of each link, by time
	vouched    map[string][]vouch                  // of each connection, what heartbeats claim and was not told yet
	access     access
	violations []Violation
}

func (c *checker) report(rule Rule, event int, format string, args ...any) {
	c.violations = append(c.violations, Violation{Rule: rule, Event: event, Detail: fmt.Sprintf(format, args...)})
}

func (c *checker) event(i int, e Event) {
	watch := clientLink{e.Client, e.Link}
	if e.Connection != "" {
		c.judgeVouched(e)
	}
	c.judgeAccess(i, e)
	switch e.Kind {
	case Sent:
		c.sent[clickKey{e.Link, e.ID}]++
	case Acked:
		c.clicks[clickKey{e.Link, e.ID}] = Acked
	case Unknown:
		if k := (clickKey{e.Link, e.ID}); c.clicks[k] != Acked {
			c.clicks[k] = Unknown
		}
	case Watch:
		c.watched[watch] = true
	case Unwatch:
		delete(c.watched, watch)
		delete(c.shown, watch) // forgotten: shown again only after a new subscribe, which starts afresh
	case Subscribed:
		c.judgeCount(i, e)
		c.hear(e)
	case Update:
		c.judgeCount(i, e)
		c.judgeUpdate(i, e)
		c.hear(e)
	case Read:
		c.judgeCount(i, e)
	case Unsubscribed:
		delete(c.told, connLink{e.Connection, e.Link})
	case Heartbeat:
		c.hearHeartbeat(i, e)
	case Shown:
		c.judgeCount(i, e)
		c.judgeShown(i, e)
		c.shown[watch] = e.Count
	default: // it is about who may see what
	}
}

func (c *checker) hear(e Event) {
	c.told[connLink{e.Connection, e.Link}] = e.Count
	k := clientLink{e.Client, e.Link}
	if c.heard[k] == nil {
		c.heard[k] = make(map[click.Count]bool)
	}
	c.heard[k][e.Count] = true
}

// judgeCount compares a reading with the fold of the log up to its seq.
func (c *checker) judgeCount(i int, e Event) {
	if e.Count.Epoch != c.log.Epoch {
		c.report(RuleEpoch, i, "%v; the log's epoch is %d", e, c.log.Epoch)
		return
	}
	if end := c.end(e.Link); e.Count.Seq < 0 || e.Count.Seq > end {
		c.report(RuleCount, i, "%v; the log ends at %d", e, end)
		return
	}
	if want := c.at(e.Link, e.Count.Seq); e.Count != want {
		c.report(RuleCount, i, "%v; the fold is %s", e, reading(e.Link, want))
	}
}

func (c *checker) judgeUpdate(i int, e Event) {
	before, ok := c.told[connLink{e.Connection, e.Link}]
	if !ok {
		c.report(RuleUninvited, i, "%v", e)
		return
	}
	if before.Count+e.Delta != e.Count.Count {
		c.report(RuleDelta, i, "%v; %d was told before", e, before.Count)
	}
	if !e.Count.Newer(before) {
		c.report(RuleOrder, i, "%v; %s was told before", e, reading(e.Link, before))
	}
}

// vouch is a claim of a heartbeat that the counts told have still to make good.
type vouch struct {
	connLink
	next  int64 // the seq that must be told
	due   time.Time
	event int
}

// hearHeartbeat notes what a heartbeat claims beyond what was told.
func (c *checker) hearHeartbeat(i int, e Event) {
	for k, told := range c.told {
		if k.conn != e.Connection {
			continue
		}
		acks := c.acks[k.link]
		n := sort.Search(len(acks), func(n int) bool { return !acks[n].at.Before(e.CompleteTo) })
		if n > 0 && acks[n-1].next > told.Seq {
			c.vouched[k.conn] = append(c.vouched[k.conn], vouch{k, acks[n-1].next, e.At.Add(Grace), i})
		}
	}
}

// judgeVouched looks, when something was heard on a connection, at what should have been heard on it before.
func (c *checker) judgeVouched(e Event) {
	c.vouched[e.Connection] = slices.DeleteFunc(c.vouched[e.Connection], func(v vouch) bool {
		told, subscribed := c.told[v.connLink]
		late := subscribed && told.Seq < v.next && e.At.After(v.due)
		if late {
			c.report(RuleWatermark, v.event, "connection %s was told %s, and %v later not of a click before seq %d that was acknowledged",
				v.conn, reading(v.link, told), Grace, v.next)
		}
		return late || !subscribed || told.Seq >= v.next
	})
}

func (c *checker) judgeShown(i int, e Event) {
	k := clientLink{e.Client, e.Link}
	if !c.heard[k][e.Count] {
		c.report(RuleUntold, i, "%v", e)
	}
	before, ok := c.shown[k]
	if ok && before.Epoch == e.Count.Epoch && (e.Count.Seq < before.Seq || e.Count.Count < before.Count || e.Count.Bots < before.Bots) {
		c.report(RuleBack, i, "%v; it showed %s before", e, reading(e.Link, before))
	}
}

// judgeClicks compares what was sent with what counts.
func (c *checker) judgeClicks() {
	for k, kind := range c.clicks {
		seen, counted := c.seen[k.link][k.id], c.times[k.link][k.id]
		switch {
		case kind == Acked && seen == 0:
			c.report(RuleLost, -1, "click %s on %q", k.id, k.link)
		case kind == Acked && counted != 1:
			c.report(RuleOnce, -1, "click %s on %q: in the log %d times, counted %d times", k.id, k.link, seen, counted)
		case kind == Unknown && counted > 1:
			c.report(RuleTwice, -1, "click %s on %q: in the log %d times, counted %d times", k.id, k.link, seen, counted)
		}
	}
	for k, sent := range c.sent {
		if seen := c.seen[k.link][k.id]; seen > sent {
			c.report(RuleRepeated, -1, "click %s on %q: sent %d times, in the log %d times", k.id, k.link, sent, seen)
		}
	}
	for link, ids := range c.times {
		for id := range ids {
			k := clickKey{link, id}
			if _, known := c.clicks[k]; !known && c.sent[k] == 0 {
				c.report(RuleInvented, -1, "click %s on %q", id, link)
			}
		}
	}
}

func (c *checker) judgeFinal() {
	for _, k := range slices.SortedFunc(maps.Keys(c.watched), func(a, b clientLink) int {
		return strings.Compare(a.client+" "+a.link, b.client+" "+b.link)
	}) {
		total := c.total(k.link)
		shown, ok := c.shown[k]
		switch {
		case !ok:
			c.report(RuleFinal, -1, "dashboard %s shows nothing for %q; the total is %d", k.client, k.link, total.Count)
		case shown.Count != total.Count || shown.Bots != total.Bots:
			c.report(RuleFinal, -1, "dashboard %s shows %s; the total is %d (%d bots)",
				k.client, reading(k.link, shown), total.Count, total.Bots)
		}
	}
}
