package totalscmd

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/recount"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Side is what one of the two says of a link.
type Side struct {
	Count int64 `json:"count"`
	Bots  int64 `json:"bots"`
	AtMs  int64 `json:"at_ms,omitempty"`
}

// Difference is a number that Redis and the log do not have in common.
type Difference struct {
	Link string `json:"link,omitempty"`
	// Minute is the one in which they differ; nil: in all.
	Minute *time.Time `json:"minute,omitempty"`
	Redis  Side       `json:"redis"`
	Log    Side       `json:"log"`
	// Record tells of a last record that is another one; then nothing else is set.
	Record string `json:"record,omitempty"`
}

// String returns it for people.
func (d Difference) String() string {
	if d.Record != "" {
		return d.Record
	}
	at := ""
	if d.Minute != nil {
		at = d.Minute.Format(" at 2006-01-02T15:04Z")
	}
	return fmt.Sprintf("link %s%s: Redis %v, log %v", d.Link, at, d.Redis, d.Log)
}

// String returns it for people.
func (s Side) String() string {
	text := fmt.Sprintf("%d clicks, %d of bots", s.Count, s.Bots)
	if s.AtMs != 0 {
		text += time.UnixMilli(s.AtMs).UTC().Format(", newest 2006-01-02T15:04:05.000Z")
	}
	return text
}

// counted is what the log says a partition should have.
type counted struct {
	last    totals.Fingerprint
	links   map[string]fold.Total
	minutes map[int64]map[string]fold.Total
}

// countedOf adds what was counted to the totals that it was counted from; nil where that was the start of the log.
func countedOf(base *totals.Dump, res *recount.Result) counted {
	c := counted{links: res.Totals, minutes: res.Minutes}
	if res.Last.Key != nil || res.Last.Value != nil {
		c.last = totals.FingerprintOf(res.Last)
	}
	if base == nil {
		return c
	}
	if c.last.IsZero() {
		c.last = base.Last
	}
	for link, t := range base.Links {
		if sum := t.Total.Plus(c.links[link]); sum != (fold.Total{}) {
			c.links[link] = sum
		}
	}
	for minute, links := range base.Minutes {
		sums := c.minutes[minute]
		if sums == nil {
			sums = make(map[string]fold.Total, len(links))
			c.minutes[minute] = sums
		}
		for link, n := range links {
			sums[link] = fold.Total{Count: n.Count, Bots: n.Bots}.Plus(sums[link])
		}
	}
	return c
}

// minuteMargin is for a clock that differs from Redis's, which decides when a minute is over.
const minuteMargin = 10 * time.Minute

// minutesKept returns the minutes [from, to) that Redis certainly has, if they had clicks, and has from before: those
// at both ends may be there or not.
func minutesKept(now time.Time) (from, to int64) {
	return now.Add(-totals.MinuteRetention+minuteMargin).Unix()/60 + 1, now.Add(minuteMargin).Unix() / 60
}

// compare returns where Redis and the log differ, in order. Of minutes it looks at [from, to).
func compare(d *totals.Dump, c counted, from, to int64, wanted func(link string) bool) (differences []Difference) {
	if d.Last != c.last {
		differences = append(differences, Difference{
			Record: fmt.Sprintf("the record that was counted last: Redis %q, log %q: the topic was created anew, or another log was counted", d.Last, c.last),
		})
	}
	for link := range union(d.Links, c.links) {
		have, want := d.Links[link].Total, c.links[link]
		if have != want && wanted(link) {
			differences = append(differences, Difference{Link: link, Redis: Side(have), Log: Side(want)})
		}
	}
	for minute := range union(d.Minutes, c.minutes) {
		if minute < from || minute >= to {
			continue
		}
		for link := range union(d.Minutes[minute], c.minutes[minute]) {
			n, want := d.Minutes[minute][link], c.minutes[minute][link]
			if have := (fold.Total{Count: n.Count, Bots: n.Bots}); have != want && wanted(link) {
				at := time.Unix(minute*60, 0).UTC()
				differences = append(differences, Difference{Link: link, Minute: &at, Redis: Side(have), Log: Side(want)})
			}
		}
	}
	slices.SortFunc(differences, func(a, b Difference) int {
		return cmp.Or(strings.Compare(a.Link, b.Link), compareMinutes(a.Minute, b.Minute))
	})
	return differences
}

func compareMinutes(a, b *time.Time) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	return a.Compare(*b)
}

// union yields the keys of both.
func union[K comparable, A, B any](a map[K]A, b map[K]B) func(yield func(K) bool) {
	return func(yield func(K) bool) {
		for k := range maps.Keys(a) {
			if !yield(k) {
				return
			}
		}
		for k := range b {
			if _, both := a[k]; !both && !yield(k) {
				return
			}
		}
	}
}
