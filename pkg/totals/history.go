package totals

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/redis/rueidis"
)

//go:embed history.lua
var historyScript string

// Minute is the clicks of a link in one minute of record time.
type Minute struct {
	// Minute is its number since 1970: Unix seconds / 60.
	Minute int64
	// Count is how many clicks count, bots included; Bots is how many of them were bots.
	Count, Bots int64
}

// History is the clicks of a link by minute.
type History struct {
	// Next is the offset at which Minutes are true.
	Next int64
	// Minutes has one entry per minute that was asked for, in order, also for those without clicks.
	Minutes []Minute
}

// History returns the clicks of a link in the minutes [from, to), all of one moment. Minutes older than
// [MinuteRetention] are empty. Errors are those of [Epoch.Position].
func (e *Epoch) History(ctx context.Context, partition int32, link string, from, to int64) (History, error) {
	keys := make([]string, 1, 1+max(to-from, 0))
	keys[0] = e.totalsKey(partition)
	for m := from; m < to; m++ {
		keys = append(keys, e.minuteKey(partition, m))
	}
	var h History
	err := e.store.call(ctx, "history", func(ctx context.Context, c rueidis.Client) error {
		values, err := e.store.history.Exec(ctx, c, keys, []string{link}).ToArray()
		if err != nil {
			return e.readError(partition, err)
		}
		h, err = e.readHistory(partition, from, values)
		return err
	})
	if err != nil {
		return History{}, fmt.Errorf("reading the history of a link in partition %d: %w", partition, err)
	}
	return h, nil
}

func (e *Epoch) readHistory(partition int32, from int64, values []rueidis.RedisMessage) (h History, err error) {
	if h.Next, err = e.next(partition, values[0], values[1]); err != nil {
		return History{}, err
	}
	values = values[2:]
	h.Minutes = make([]Minute, len(values)/2)
	for i := range h.Minutes {
		m := Minute{Minute: from + int64(i)}
		for j, n := range []*int64{&m.Count, &m.Bots} {
			if *n, err = values[2*i+j].AsInt64(); err != nil && !rueidis.IsRedisNil(err) {
				return History{}, &KeyError{Key: e.minuteKey(partition, m.Minute), Problem: fmt.Sprintf("a field is no number: %v", err)}
			}
		}
		h.Minutes[i] = m
	}
	return h, nil
}
