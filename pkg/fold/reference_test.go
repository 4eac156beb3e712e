package fold

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// event is a record of a log as tests write it down.
type event struct {
	offset, time int64
	link         string
	id           byte // 0: none
	bot, poison  bool
}

func (e event) record() Record {
	r := Record{Offset: e.offset, TimeMs: e.time, Key: []byte(e.link)}
	if e.poison {
		r.Value = []byte{0xff}
		return r
	}
	value := click.Record{Bot: e.bot}
	if e.id != 0 {
		value.ID = click.ID{15: e.id}
	}
	r.Value = value.Append(nil)
	return r
}

// parse reads a trace: "a1" is click 1 of link a, "a0" one without an id, "a1b" one by a bot, "a1@90" one at 90 ms, "!" a
// poison record and "." a hole.
func parse(t *testing.T, trace string) (log []event) {
	t.Helper()
	for o, word := range strings.Fields(trace) {
		e := event{offset: int64(o)}
		body, at, hasTime := strings.Cut(word, "@")
		if hasTime {
			ms, err := strconv.ParseInt(at, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			e.time = ms
		}
		switch body {
		case ".":
			continue
		case "!":
			e.poison, e.link = true, "a"
		default:
			e.link, e.id = body[:1], body[1]-'0'
			e.bot = strings.HasSuffix(body, "b")
		}
		log = append(log, e)
	}
	return log
}

// counts is the rule, word for word: log[i] is a duplicate if the same link and id occur at an offset in [o-D, o) with a
// time less than W away.
func counts(log []event, i int, p Params) bool {
	r := log[i]
	if r.poison {
		return false
	}
	for _, q := range log[:i] {
		if r.id != 0 && q.id == r.id && q.link == r.link && !q.poison &&
			q.offset >= r.offset-p.Window && max(q.time-r.time, r.time-q.time) < p.Within.Milliseconds() {
			return false
		}
	}
	return true
}

// referenceVerdict is what the rule says of log[i].
func referenceVerdict(log []event, i int, p Params) Verdict {
	switch {
	case log[i].poison:
		return Poison
	case counts(log, i, p):
		return Counted
	default:
		return Duplicate
	}
}

// referenceCounted lists the counted clicks with offsets in [from, to).
func referenceCounted(log []event, from, to int64, p Params) (list []string) {
	for i, e := range log {
		if e.offset >= from && e.offset < to && counts(log, i, p) {
			list = append(list, describe(e.offset, e.time, e.link, e.bot))
		}
	}
	return list
}

func walk(f *Fold, from, to int64) (list []string) {
	for c := range f.Counted(from, to) {
		list = append(list, describe(c.Offset, c.TimeMs, string(c.Link), c.Bot))
	}
	return list
}

func describe(offset, time int64, link string, bot bool) string {
	return fmt.Sprintf("%d: %s at %d, bot %v", offset, link, time, bot)
}

// addAll folds a log and returns how much of it counted.
func addAll(f *Fold, log []event) (counted int) {
	for _, e := range log {
		if f.Add(e.record()) == Counted {
			counted++
		}
	}
	return counted
}

// warmed returns a fold that knows of log what a reader knows who begins to count at n and has read from from.
func warmed(p Params, log []event, from, n int64) *Fold {
	f := New(p)
	f.Reset(from)
	for _, e := range log {
		if e.offset < n {
			f.Warm(e.record()) // those below from are passed over
		}
	}
	f.Skip(n)
	return f
}

func params(window int64) Params { return Params{Window: window, Within: time.Hour} }

func wantList(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, what string, got, want []string,
) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("%s:\n got %q\nwant %q", what, got, want)
	}
}
