package totals

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

//go:embed apply.lua
var applyScript string

// MinuteRetention is how long the clicks of a minute are kept after it began.
const MinuteRetention = 25 * time.Hour

// Batch is what a stretch of a partition's log counts. It may be used again once Apply has returned, and is then applied
// without an allocation per link; Links and Minutes name each link and minute once.
type Batch struct {
	Partition int32
	// From is where the stretch begins, and where the totals have to be: None creates them. To is where it ends.
	From, To int64
	// Last is of the last record below To that there was.
	Last Fingerprint
	// Links that were clicked in the stretch.
	Links []LinkDelta
	// Minutes of record time in which they were.
	Minutes []MinuteDelta

	// Room for the words of the command, which is used again.
	keys, args words
}

// LinkDelta is what a link gained.
type LinkDelta struct {
	Link string
	// Count is how many clicks, bots included, Bots how many of them were bots.
	Count, Bots int64
	// AtMs is the record time of the newest, Unix milliseconds. It is not used in minutes.
	AtMs int64
}

// MinuteDelta is what links gained in a minute of record time.
type MinuteDelta struct {
	// Minute is its number since 1970: Unix seconds / 60.
	Minute int64
	Links  []LinkDelta
}

// most is the greatest number that is stored: Redis's scripts count in doubles, which are exact up to it.
const most = 1 << 53

// Apply adds a batch to the totals and moves their offset to its end, both or neither. It returns a *[RefusedError]
// where the totals are not at the batch's beginning, a *[RuleError] and a *[KeyError] where they cannot be added to, and
// ErrInvalid for a batch that takes something away; then nothing was changed. After an *[redisconn.AwayError] nobody knows, and the
// same batch is to be applied again: if it was applied already, it is refused, and the totals are at its end.
//
// A batch that creates the totals removes minutes that are left of earlier ones.
func (e *Epoch) Apply(ctx context.Context, b *Batch) error {
	keys, args, err := e.applyWords(b)
	if err == nil {
		e.store.metrics.size(callApply, len(b.Links))
		err = e.store.call(ctx, callApply, func(ctx context.Context, c rueidis.Client) error {
			answer, err := e.store.apply.Exec(ctx, c, keys, args).AsStrSlice()
			if err != nil {
				return err
			}
			return e.applied(answer)
		})
	}
	if err != nil {
		return fmt.Errorf("applying [%d, %d) to partition %d: %w", b.From, b.To, b.Partition, err)
	}
	return nil
}

// applyWords lays a batch out as the script reads it.
func (e *Epoch) applyWords(b *Batch) (keys, args []string, err error) {
	b.keys.reset()
	b.keys.add(e.totalsKey(b.Partition), "")
	minute := e.minutePrefix(b.Partition)
	for i := range b.Minutes {
		b.keys.addInt(minute, b.Minutes[i].Minute)
	}
	if b.From == None {
		from, to := minutesNow()
		for m := from; m < to; m++ {
			b.keys.addInt(minute, m)
		}
	}

	b.args.reset()
	b.args.add(e.rule, "")
	b.args.addInt("", b.From)
	b.args.addInt("", b.To)
	b.args.add(b.Last.String(), "")
	b.args.addInt("", int64(len(b.Minutes)))
	if err := b.args.addDeltas(b.Links); err != nil {
		return nil, nil, err
	}
	b.args.addInt("", int64(len(b.Links)))
	for i := range b.Links {
		b.args.add(prefixAt, b.Links[i].Link)
		b.args.addInt("", b.Links[i].AtMs)
	}
	for i := range b.Minutes {
		m := &b.Minutes[i]
		b.args.addInt("", m.Minute*60+int64(MinuteRetention/time.Second))
		if sameClicks(m.Links, b.Links) {
			b.args.add(sameAsTotals, "")
			continue
		}
		if err := b.args.addDeltas(m.Links); err != nil {
			return nil, nil, err
		}
	}
	return b.keys.strings(), b.args.strings(), nil
}

// sameAsTotals stands for what a minute gains, where it is what the totals gain: most batches are of one minute, and then
// this halves what Redis has to read.
const sameAsTotals = "="

func sameClicks(a, b []LinkDelta) bool {
	return slices.EqualFunc(a, b, func(a, b LinkDelta) bool {
		return a.Count == b.Count && a.Bots == b.Bots && a.Link == b.Link
	})
}

// addDeltas adds how many fields there are, the fields, and by how much each grows.
func (w *words) addDeltas(links []LinkDelta) error {
	n := len(links)
	for i := range links {
		l := &links[i]
		if l.Count < 0 || l.Count > most || l.Bots < 0 || l.Bots > most {
			return fmt.Errorf("%d clicks, %d of bots, on link %s: %w", l.Count, l.Bots, l.Link, ErrInvalid)
		}
		if l.Bots > 0 {
			n++
		}
	}
	w.addInt("", int64(n))
	for i := range links {
		w.add(prefixCount, links[i].Link)
		if links[i].Bots > 0 {
			w.add(prefixBots, links[i].Link)
		}
	}
	for i := range links {
		w.addInt("", links[i].Count)
		if links[i].Bots > 0 {
			w.addInt("", links[i].Bots)
		}
	}
	return nil
}

// applied makes an error of the script's answer where it is one.
func (e *Epoch) applied(answer []string) error {
	if len(answer) == 1 && answer[0] == "applied" {
		return nil
	}
	if len(answer) >= 2 {
		switch answer[0] {
		case "refused":
			have, err := strconv.ParseInt(answer[1], 10, 64)
			if err != nil {
				return fmt.Errorf("the stored offset is %q, which is no number", answer[1])
			}
			return &RefusedError{Have: have}
		case "rule":
			return &RuleError{Have: answer[1], Want: e.rule}
		case "key":
			if len(answer) == 3 {
				return &KeyError{Key: answer[1], Problem: answer[2]}
			}
		}
	}
	return fmt.Errorf("the script answered %q", answer)
}
