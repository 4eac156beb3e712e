package totals

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/rueidis"
)

//go:embed restore.lua
var restoreScript string

const (
	// stagedFor is how long what was staged outlives a restore that came to no end.
	stagedFor = time.Hour
	// stagedFields is how many fields go into one command, so that none of them holds up Redis.
	stagedFields = 1000
)

// Restore stores all of a partition that has no totals, at once: what it writes before that has other keys. Minutes that
// have expired are left out, and others that are there go. It returns ErrExists where there are totals and ErrInvalid for
// numbers that cannot be; then nothing was changed. After an *[redisconn.AwayError] it may have been done: then it returns ErrExists
// when it is tried again.
func (e *Epoch) Restore(ctx context.Context, partition int32, d *Dump) error {
	err := d.check()
	if err == nil {
		err = e.store.callLong(ctx, callRestore, func(ctx context.Context, c rueidis.Client) error {
			return e.restore(ctx, c, partition, d)
		})
	}
	if err != nil {
		return fmt.Errorf("restoring partition %d: %w", partition, err)
	}
	return nil
}

// check keeps numbers out that the tally could not add to.
func (d *Dump) check() error {
	valid := func(n ...int64) bool { return slices.Min(n) >= 0 && slices.Max(n) <= most }
	if !valid(d.Next) {
		return fmt.Errorf("the offset %d: %w", d.Next, ErrInvalid)
	}
	for link, t := range d.Links {
		if !valid(t.Total.Count, t.Total.Bots, t.Imported.Count, t.Imported.Bots) {
			return fmt.Errorf("link %s: %w", link, ErrInvalid)
		}
	}
	for minute, links := range d.Minutes {
		for link, c := range links {
			if !valid(c.Count, c.Bots) {
				return fmt.Errorf("link %s in minute %d: %w", link, minute, ErrInvalid)
			}
		}
	}
	return nil
}

var errStagedGone = errors.New("it took so long that its beginning has expired")

func (e *Epoch) restore(ctx context.Context, c rueidis.Client, partition int32, d *Dump) error {
	staged := "staged:" + rand.Text() + ":"
	keys := []string{e.key(partition, staged+"totals"), e.totalsKey(partition)}
	if err := stage(ctx, c, keys[0], e.fields(d)); err != nil {
		return err
	}
	var expiries []string
	for _, minute := range slices.Sorted(maps.Keys(d.Minutes)) {
		expires := time.Unix(minute*60, 0).Add(MinuteRetention)
		if len(d.Minutes[minute]) == 0 || !expires.After(time.Now()) {
			continue
		}
		from := e.key(partition, staged+decimal(minute))
		if err := stage(ctx, c, from, minuteFields(d.Minutes[minute])); err != nil {
			return err
		}
		keys = append(keys, from, e.minuteKey(partition, minute))
		expiries = append(expiries, decimal(expires.Unix()))
	}
	from, to := minutesNow()
	for m := from; m < to; m++ {
		keys = append(keys, e.minuteKey(partition, m))
	}
	switch answer, err := e.store.restore.Exec(ctx, c, keys, expiries).ToString(); {
	case err != nil:
		return err
	case answer == "exists":
		return ErrExists
	case answer != "done":
		return errStagedGone
	}
	return nil
}

// stage writes a hash under a key that expires by itself.
func stage(ctx context.Context, c rueidis.Client, key string, fields []string) error {
	for chunk := range slices.Chunk(fields, 2*stagedFields) {
		set := c.B().Hset().Key(key).FieldValue()
		for i := 0; i < len(chunk); i += 2 {
			set = set.FieldValue(chunk[i], chunk[i+1])
		}
		expire := c.B().Expire().Key(key).Seconds(int64(stagedFor / time.Second)).Build()
		for _, r := range c.DoMulti(ctx, set.Build(), expire) {
			if err := r.Error(); err != nil {
				return err
			}
		}
	}
	return nil
}

// fields returns the fields of the totals, each followed by its value.
func (e *Epoch) fields(d *Dump) []string {
	fields := []string{fieldNext, decimal(d.Next), fieldRule, e.rule, fieldLast, d.Last.String()}
	add := func(prefix, link string, n int64) {
		if n != 0 {
			fields = append(fields, prefix+link, decimal(n))
		}
	}
	for link, t := range d.Links {
		add(prefixCount, link, t.Total.Count)
		add(prefixBots, link, t.Total.Bots)
		add(prefixAt, link, t.Total.AtMs)
		add(prefixImported, link, t.Imported.Count)
		add(prefixImportedBots, link, t.Imported.Bots)
	}
	return fields
}

func minuteFields(links map[string]Clicks) []string {
	fields := make([]string, 0, 2*len(links))
	for link, c := range links {
		fields = append(fields, prefixCount+link, decimal(c.Count))
		if c.Bots != 0 {
			fields = append(fields, prefixBots+link, decimal(c.Bots))
		}
	}
	return fields
}

// Expire lets everything of a partition go after a while. Whoever still reads or writes it meanwhile is not disturbed.
func (e *Epoch) Expire(ctx context.Context, partition int32, after time.Duration) error {
	err := e.store.call(ctx, callExpire, func(ctx context.Context, c rueidis.Client) error {
		seconds := int64(after / time.Second)
		return c.Do(ctx, c.B().Expire().Key(e.totalsKey(partition)).Seconds(seconds).Build()).Error()
	})
	if err != nil { // the minutes expire by themselves
		return fmt.Errorf("letting partition %d expire: %w", partition, err)
	}
	return nil
}

// Remove removes everything of a partition.
func (e *Epoch) Remove(ctx context.Context, partition int32) error {
	from, to := minutesNow()
	keys := []string{e.totalsKey(partition)}
	for m := from; m < to; m++ {
		keys = append(keys, e.minuteKey(partition, m))
	}
	err := e.store.callLong(ctx, callRemove, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Unlink().Key(keys...).Build()).Error()
	})
	if err != nil {
		return fmt.Errorf("removing partition %d: %w", partition, err)
	}
	return nil
}
