package totals

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/linkpulse/linkpulse/pkg/fold"
)

// Epoch is the totals of one epoch. Every key has the epoch in it, so a writer that has not heard of a new epoch writes
// where nobody reads. It is safe for concurrent use.
type Epoch struct {
	store *Store
	epoch int64
	rule  string
}

// Epoch returns the totals of an epoch, counted by a rule. It does no I/O.
func (s *Store) Epoch(epoch int64, rule Rule) *Epoch {
	return &Epoch{store: s, epoch: epoch, rule: rule.String()}
}

// Position is how far a partition was folded.
type Position struct {
	// Next is the offset at which the totals are true: they are the fold of [0, Next).
	Next int64
	// Last is of the last record below Next that there was, the zero value where there was none yet.
	Last Fingerprint
}

// Names of fields. Links' fields have a prefix, so that no link can be taken for one of the others: "next" is a legal id.
const (
	fieldNext = "next"
	fieldRule = "rule"
	fieldLast = "last"

	prefixCount        = "c:"  // clicks, bots included
	prefixBots         = "b:"  // bots; missing is 0
	prefixAt           = "t:"  // record time of the newest counted click, Unix milliseconds
	prefixImported     = "i:"  // clicks that another system had counted; the tally never touches them
	prefixImportedBots = "ib:" // bots among those
)

// The braces hold what Redis Cluster hashes: all keys of a partition lie in one slot, so one script can use all of them.
func (e *Epoch) key(partition int32, name string) string {
	return fmt.Sprintf("%s:{%d:%d}:%s", e.store.cfg.Prefix, e.epoch, partition, name)
}

func (e *Epoch) totalsKey(partition int32) string { return e.key(partition, "totals") }

func (e *Epoch) minutePrefix(partition int32) string { return e.key(partition, "minute:") }

func (e *Epoch) minuteKey(partition int32, minute int64) string {
	return e.minutePrefix(partition) + decimal(minute)
}

// Position returns how far a partition was folded. It returns ErrMissing where there is nothing, a *[RuleError] where
// that was counted by another rule, and a *[KeyError] where it cannot be read.
func (e *Epoch) Position(ctx context.Context, partition int32) (Position, error) {
	var pos Position
	err := e.store.call(ctx, callPosition, func(ctx context.Context, c rueidis.Client) error {
		fields, err := c.Do(ctx, c.B().Hmget().Key(e.totalsKey(partition)).Field(fieldNext, fieldRule, fieldLast).Build()).ToArray()
		if err != nil {
			return readError(e.totalsKey(partition), err)
		}
		pos, err = e.position(partition, fields[0], fields[1], fields[2])
		return err
	})
	if err != nil {
		return Position{}, fmt.Errorf("reading the position of partition %d: %w", partition, err)
	}
	return pos, nil
}

// position makes sense of the fields next, rule and last.
func (e *Epoch) position(partition int32, next, rule, last rueidis.RedisMessage) (pos Position, err error) {
	if pos.Next, err = e.next(partition, next, rule); err != nil {
		return Position{}, err
	}
	text, err := last.ToString()
	if err != nil && !rueidis.IsRedisNil(err) {
		return Position{}, err
	}
	if pos.Last, err = ParseFingerprint(text); err != nil {
		return Position{}, &KeyError{Key: e.totalsKey(partition), Problem: fmt.Sprintf("field %s: %v", fieldLast, err)}
	}
	return pos, nil
}

// next makes sense of the fields next and rule.
func (e *Epoch) next(partition int32, next, rule rueidis.RedisMessage) (int64, error) {
	text, err := next.ToString()
	if rueidis.IsRedisNil(err) {
		return 0, ErrMissing
	}
	if err != nil {
		return 0, err
	}
	stored, err := rule.ToString()
	if err != nil && !rueidis.IsRedisNil(err) {
		return 0, err
	}
	if stored != e.rule {
		return 0, &RuleError{Have: stored, Want: e.rule}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, &KeyError{Key: e.totalsKey(partition), Problem: fmt.Sprintf("field %s is %q, which is no offset", fieldNext, text)}
	}
	return n, nil
}

// readError tells a key of another type from a Redis that could not answer.
func readError(key string, err error) error {
	if answer, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(answer.Error(), "WRONGTYPE") {
		return &KeyError{Key: key, Problem: "it is no hash"}
	}
	return err
}

const (
	// fieldsPerLink is how many fields are read for a link.
	fieldsPerLink = 5
	// indexAt is which of them is a time.
	indexAt = 2
	// linkLength is how long a link's field is about, in bytes.
	linkLength = 16
)

// Totals returns the totals of links, imported counts included, and the position at which they are true. A link that has
// none is not in the answer. All of it is read in one command. Errors are those of [Epoch.Position].
func (e *Epoch) Totals(
	ctx context.Context, partition int32, links []string,
) (totals map[string]fold.Total, pos Position, err error) {
	var fields words
	fields.grow(3+fieldsPerLink*len(links), fieldsPerLink*linkLength*len(links))
	fields.add(fieldNext, "")
	fields.add(fieldRule, "")
	fields.add(fieldLast, "")
	for _, l := range links {
		fields.add(prefixCount, l)
		fields.add(prefixBots, l)
		fields.add(prefixAt, l)
		fields.add(prefixImported, l)
		fields.add(prefixImportedBots, l)
	}
	e.store.metrics.size(callTotals, len(links))
	err = e.store.call(ctx, callTotals, func(ctx context.Context, c rueidis.Client) error {
		values, err := c.Do(ctx, c.B().Hmget().Key(e.totalsKey(partition)).Field(fields.strings()...).Build()).ToArray()
		if err != nil {
			return readError(e.totalsKey(partition), err)
		}
		if pos, err = e.position(partition, values[0], values[1], values[2]); err != nil {
			return err
		}
		totals, err = e.linkTotals(partition, links, values[3:])
		return err
	})
	if err != nil {
		return nil, Position{}, fmt.Errorf("reading totals of partition %d: %w", partition, err)
	}
	return totals, pos, nil
}

// linkTotals makes sense of the fields of links.
func (e *Epoch) linkTotals(partition int32, links []string, values []rueidis.RedisMessage) (map[string]fold.Total, error) {
	totals := make(map[string]fold.Total, len(links))
	for i, link := range links {
		var n [fieldsPerLink]int64
		for j := range n {
			v, err := values[i*fieldsPerLink+j].AsInt64()
			clicks := j != indexAt
			if err != nil && !rueidis.IsRedisNil(err) || clicks && (v < 0 || v > most) {
				return nil, &KeyError{Key: e.totalsKey(partition), Problem: fmt.Sprintf("a field of link %s is no number", link)}
			}
			n[j] = v
		}
		if t := (fold.Total{Count: n[0] + n[3], Bots: n[1] + n[4], AtMs: n[2]}); t != (fold.Total{}) {
			totals[link] = t
		}
	}
	return totals, nil
}
