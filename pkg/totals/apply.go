package totals

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"
)

//go:embed apply.lua
var applyScript string

// MinuteRetention is how long the clicks of a minute are kept after it began.
const MinuteRetention = 25 * time.Hour

// Batch is what a stretch of a partition's log counts. It may be used again once Apply has returned; Links and Minutes
// name each link and minute once.
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

// Apply adds a batch to the totals and moves their offset to its end, both or neither. It returns a *[RefusedError]
// where the totals are not at the batch's beginning, a *[RuleError] and a *[KeyError] where they cannot be added to; then
// nothing was changed. After any other error nobody knows, and the same batch is to be applied again: if it was applied
// already, it is refused, and the totals are at its end.
func (e *Epoch) Apply(ctx context.Context, b *Batch) error {
	keys := make([]string, 1, 1+len(b.Minutes))
	keys[0] = e.totalsKey(b.Partition)
	for _, m := range b.Minutes {
		keys = append(keys, e.minuteKey(b.Partition, m.Minute))
	}
	args := e.applyArgs(b)
	err := e.store.call(ctx, "apply", func(ctx context.Context, c rueidis.Client) error {
		answer, err := e.store.apply.Exec(ctx, c, keys, args).AsStrSlice()
		if err != nil {
			return err
		}
		return e.applied(answer)
	})
	if err != nil {
		return fmt.Errorf("applying [%d, %d) to partition %d: %w", b.From, b.To, b.Partition, err)
	}
	return nil
}

// applyArgs lays a batch out as the script reads it.
func (e *Epoch) applyArgs(b *Batch) []string {
	n := 5 + 4*len(b.Links)
	for i := range b.Minutes {
		n += 2 + 3*len(b.Minutes[i].Links)
	}
	args := append(make([]string, 0, n), e.rule, decimal(b.From), decimal(b.To), b.Last.String(), strconv.Itoa(len(b.Links)))
	for i := range b.Links {
		l := &b.Links[i]
		args = append(args, l.Link, decimal(l.Count), decimal(l.Bots), decimal(l.AtMs))
	}
	for i := range b.Minutes {
		m := &b.Minutes[i]
		expires := m.Minute*60 + int64(MinuteRetention/time.Second)
		args = append(args, decimal(expires), strconv.Itoa(len(m.Links)))
		for j := range m.Links {
			l := &m.Links[j]
			args = append(args, l.Link, decimal(l.Count), decimal(l.Bots))
		}
	}
	return args
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

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
