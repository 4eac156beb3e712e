package totals

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"
)

// Survey is about how much a partition has.
type Survey struct {
	// Links is how many links were clicked. While their number grows it may be told too high.
	Links int64
	// NewestMinute is the last minute with clicks that there is, Unix seconds / 60; 0 where there is none.
	NewestMinute int64
}

const (
	// surveyFields is how many fields are looked at at a time, so that Redis is not held up.
	surveyFields = 1000
	// surveyMinutes is how many minutes are asked for at a time.
	surveyMinutes = 60
)

// Survey looks at a partition a little at a time, so that it is in nobody's way and not of one moment. It counts as it
// goes and keeps nothing.
func (e *Epoch) Survey(ctx context.Context, partition int32) (s Survey, err error) {
	err = e.store.callLong(ctx, callSurvey, func(ctx context.Context, c rueidis.Client) error {
		if s.Links, err = e.countLinks(ctx, c, partition); err != nil {
			return readError(e.totalsKey(partition), err)
		}
		s.NewestMinute, err = e.newestMinute(ctx, c, partition)
		return err
	})
	if err != nil {
		return Survey{}, fmt.Errorf("surveying partition %d: %w", partition, err)
	}
	return s, nil
}

func (e *Epoch) countLinks(ctx context.Context, c rueidis.Client, partition int32) (links int64, err error) {
	for cursor := uint64(0); ; {
		page, err := c.Do(ctx, c.B().Hscan().Key(e.totalsKey(partition)).Cursor(cursor).Match(prefixCount+"*").
			Count(surveyFields).Build()).AsScanEntry()
		if err != nil {
			return 0, err
		}
		links += int64(len(page.Elements) / 2) // each is followed by its value
		if cursor = page.Cursor; cursor == 0 {
			return links, nil
		}
	}
}

func (e *Epoch) newestMinute(ctx context.Context, c rueidis.Client, partition int32) (int64, error) {
	from, to := minutesNow()
	for ; to > from; to -= surveyMinutes {
		cmds := make(rueidis.Commands, 0, surveyMinutes)
		for m := to - 1; m >= to-surveyMinutes; m-- {
			cmds = append(cmds, c.B().Exists().Key(e.minuteKey(partition, m)).Build())
		}
		for i, r := range c.DoMulti(ctx, cmds...) {
			switch n, err := r.AsInt64(); {
			case err != nil:
				return 0, err
			case n > 0:
				return to - 1 - int64(i), nil
			}
		}
	}
	return 0, nil
}
