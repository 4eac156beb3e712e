package totals

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// Dump is everything that is stored of a partition, of one moment.
type Dump struct {
	Position
	// Links by id.
	Links map[string]LinkTotal
	// Minutes by number since 1970, and in each its links by id.
	Minutes map[int64]map[string]Clicks
}

// LinkTotal is what is stored of a link.
type LinkTotal struct {
	// Total is the fold of the log, and nothing else.
	Total fold.Total
	// Imported is what another system had counted.
	Imported Clicks
}

// Clicks is a number of clicks, bots included, and how many of them were bots.
type Clicks struct{ Count, Bots int64 }

// minuteMargin is for clocks that differ: minutes are looked for that far ahead, and before what is kept.
const minuteMargin = 10 * time.Minute

// minutesNow returns the minutes [from, to) that can be stored now.
func minutesNow() (from, to int64) {
	now := time.Now()
	return now.Add(-MinuteRetention-minuteMargin).Unix() / 60, now.Add(minuteMargin).Unix()/60 + 1
}

// Dump returns everything that is stored of a partition, of one moment: in a transaction, which holds up Redis for about
// a second per million links. Errors are those of [Epoch.Position].
func (e *Epoch) Dump(ctx context.Context, partition int32) (*Dump, error) {
	from, to := minutesNow()
	var d *Dump
	err := e.store.callLong(ctx, callDump, func(ctx context.Context, c rueidis.Client) error {
		answer, err := e.readAll(ctx, c, partition, from, to)
		if err != nil {
			return err
		}
		d, err = e.parseDump(partition, from, answer)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading all of partition %d: %w", partition, err)
	}
	return d, nil
}

// readAll reads the totals and the minutes [from, to) in one transaction. The first command binds the connection to the
// cluster's node that has them.
func (e *Epoch) readAll(
	ctx context.Context, client rueidis.Client, partition int32, from, to int64,
) (answer []rueidis.RedisMessage, err error) {
	err = client.Dedicated(func(c rueidis.DedicatedClient) error {
		cmds := rueidis.Commands{
			c.B().Exists().Key(e.totalsKey(partition)).Build(),
			c.B().Multi().Build(),
			c.B().Hgetall().Key(e.totalsKey(partition)).Build(),
		}
		for m := from; m < to; m++ {
			cmds = append(cmds, c.B().Hgetall().Key(e.minuteKey(partition, m)).Build())
		}
		results := c.DoMulti(ctx, append(cmds, c.B().Exec().Build())...)
		answer, err = results[len(results)-1].ToArray()
		return err
	})
	return answer, err
}

func (e *Epoch) parseDump(partition int32, from int64, answer []rueidis.RedisMessage) (*Dump, error) {
	fields, err := answer[0].AsStrMap()
	if err != nil {
		return nil, readError(e.totalsKey(partition), err)
	}
	d := &Dump{Links: make(map[string]LinkTotal, len(fields)/2), Minutes: make(map[int64]map[string]Clicks)}
	if d.Position, err = e.parsePosition(partition, fields); err != nil {
		return nil, err
	}
	for field, value := range fields {
		if err := d.takeField(field, value); err != nil {
			return nil, &KeyError{Key: e.totalsKey(partition), Problem: err.Error()}
		}
	}
	for i := range answer[1:] {
		minute := from + int64(i)
		fields, err := answer[1+i].AsStrMap()
		if err != nil {
			return nil, readError(e.minuteKey(partition, minute), err)
		}
		if len(fields) == 0 {
			continue
		}
		if d.Minutes[minute], err = parseMinute(fields); err != nil {
			return nil, &KeyError{Key: e.minuteKey(partition, minute), Problem: err.Error()}
		}
	}
	return d, nil
}

func (e *Epoch) parsePosition(partition int32, fields map[string]string) (pos Position, err error) {
	next, ok := fields[fieldNext]
	if !ok {
		return Position{}, ErrMissing
	}
	if rule := fields[fieldRule]; rule != e.rule {
		return Position{}, &RuleError{Have: rule, Want: e.rule}
	}
	if pos.Next, err = strconv.ParseInt(next, 10, 64); err == nil {
		pos.Last, err = ParseFingerprint(fields[fieldLast])
	}
	if err != nil {
		return Position{}, &KeyError{Key: e.totalsKey(partition), Problem: err.Error()}
	}
	return pos, nil
}

// errField reports a field that this package has not written.
var errField = errors.New("it has a field that does not belong there")

// takeField enters a field of the totals.
func (d *Dump) takeField(field, value string) error {
	prefix, link, isLink := strings.Cut(field, ":")
	if !isLink {
		switch field {
		case fieldNext, fieldRule, fieldLast:
			return nil
		}
		return fmt.Errorf("%w: %s", errField, field)
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return fmt.Errorf("field %s: %w", field, err)
	}
	t := d.Links[link]
	switch prefix + ":" {
	case prefixCount:
		t.Total.Count = n
	case prefixBots:
		t.Total.Bots = n
	case prefixAt:
		t.Total.AtMs = n
	case prefixImported:
		t.Imported.Count = n
	case prefixImportedBots:
		t.Imported.Bots = n
	default:
		return fmt.Errorf("%w: %s", errField, field)
	}
	d.Links[link] = t
	return nil
}

func parseMinute(fields map[string]string) (map[string]Clicks, error) {
	links := make(map[string]Clicks, len(fields))
	for field, value := range fields {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("field %s: %w", field, err)
		}
		prefix, link, _ := strings.Cut(field, ":")
		c := links[link]
		switch prefix + ":" {
		case prefixCount:
			c.Count = n
		case prefixBots:
			c.Bots = n
		default:
			return nil, fmt.Errorf("%w: %s", errField, field)
		}
		links[link] = c
	}
	return links, nil
}
