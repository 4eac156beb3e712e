package totals

import (
	"context"
	_ "embed"
	"fmt"
	"time"

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

// maxHistory is how many minutes there can be.
const maxHistory = int64((MinuteRetention + 2*minuteMargin) / time.Minute)

// History returns the clicks of a link in the minutes [from, to), all of one moment and in one round trip. Minutes older
// than [MinuteRetention] are empty; ErrTooMany is for more minutes than can be kept. Other errors are those of
// [Epoch.Position].
func (e *Epoch) History(ctx context.Context, partition int32, link string, from, to int64) (h History, err error) {
	switch {
	case to-from > maxHistory:
		err = fmt.Errorf("%d minutes: %w", to-from, ErrTooMany)
	default:
		err = e.store.call(ctx, callHistory, func(ctx context.Context, c rueidis.Client) error {
			values, err := e.store.history.Exec(ctx, c, e.historyKeys(partition, from, to), []string{
				prefixCount + link, prefixBots + link,
			}).ToArray()
			if err != nil {
				return err
			}
			h, err = e.readHistory(partition, from, to, values)
			return err
		})
	}
	if err != nil {
		return History{}, fmt.Errorf("reading the history of a link in partition %d: %w", partition, err)
	}
	return h, nil
}

func (e *Epoch) historyKeys(partition int32, from, to int64) []string {
	var keys words
	keys.add(e.totalsKey(partition), "")
	minute := e.minutePrefix(partition)
	for m := from; m < to; m++ {
		keys.addInt(minute, m)
	}
	return keys.strings()
}

func (e *Epoch) readHistory(partition int32, from, to int64, values []rueidis.RedisMessage) (h History, err error) {
	if len(values) == 1 {
		key, err := values[0].ToString()
		if err != nil {
			return History{}, err
		}
		return History{}, &KeyError{Key: key, Problem: "it is no hash"}
	}
	if h.Next, err = e.next(partition, values[0], values[1]); err != nil {
		return History{}, err
	}
	h.Minutes = make([]Minute, max(to-from, 0))
	for i := range h.Minutes {
		m := Minute{Minute: from + int64(i)}
		for j, n := range []*int64{&m.Count, &m.Bots} {
			if *n, err = values[2+2*i+j].AsInt64(); err != nil && !rueidis.IsRedisNil(err) {
				return History{}, &KeyError{Key: e.minuteKey(partition, m.Minute), Problem: "a field is no number"}
			}
		}
		h.Minutes[i] = m
	}
	return h, nil
}
