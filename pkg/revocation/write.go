package revocation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// ErrNotRevoked says that there is nothing to lift.
var ErrNotRevoked = errors.New("it is not revoked")

// Revoke writes a revocation, and returns what stands then: where there was one of the same token, subject or all, one
// that covers both, so that nothing that was revoked becomes good again. What is not said of r is filled in: subjects'
// tokens are those issued until now, and Until is when the longest-lived of them has expired.
//
// An error that wraps [kafkalog.ErrUnknownOutcome] says that it may have been written. It may be called again, and by
// several at once.
func Revoke(ctx context.Context, c *kafkalog.Cluster, r Revocation) (Revocation, error) {
	now := time.Now()
	r.settle(now)
	if err := r.check(now); err != nil {
		return Revocation{}, fmt.Errorf("revoking: %w", err)
	}
	acknowledged := false
	since := int64(math.MaxInt64) // nothing was overwritten yet
	for {
		stand, err := readSince(ctx, c, since, r.key())
		if err != nil {
			return Revocation{}, fmt.Errorf("revoking: %w", err)
		}
		for i := range stand.since {
			r.widen(&stand.since[i])
		}
		since = stand.next
		stands, found := stand.of[r.key()]
		switch {
		case found && stands.covers(&r):
			return stands, nil
		case acknowledged && !found: // somebody has lifted it since, or the leader is new and does not know it yet
			return r, nil
		case found:
			r.widen(&stands)
		}
		err = write(ctx, c, stand, r.key(), &r)
		if err != nil && (!errors.Is(err, kafkalog.ErrUnknownOutcome) || !rest(ctx)) {
			return Revocation{}, fmt.Errorf("revoking: %w", err)
		}
		acknowledged = err == nil
	}
}

// covers tells whether what o revokes r does too, for as long.
func (r *Revocation) covers(o *Revocation) bool {
	return !r.IssuedBefore.Before(o.IssuedBefore) && !r.Until.Before(o.Until)
}

// widen makes r cover o.
func (r *Revocation) widen(o *Revocation) {
	if r.IssuedBefore.Before(o.IssuedBefore) {
		r.IssuedBefore = o.IssuedBefore
	}
	if r.Until.Before(o.Until) {
		r.Until = o.Until
	}
}

// Lift takes a revocation back: that of the token or the subject that is named, or of all. It is [ErrNotRevoked] where none
// stands.
func Lift(ctx context.Context, c *kafkalog.Cluster, of Revocation) error {
	for tried := false; ; tried = true {
		stand, err := read(ctx, c)
		if err != nil {
			return fmt.Errorf("lifting: %w", err)
		}
		if _, found := stand.of[of.key()]; !found {
			if tried {
				return nil // an attempt of whose outcome nobody told
			}
			return ErrNotRevoked
		}
		err = write(ctx, c, stand, of.key(), nil)
		if err == nil {
			return nil
		}
		if !errors.Is(err, kafkalog.ErrUnknownOutcome) || !rest(ctx) {
			return fmt.Errorf("lifting: %w", err)
		}
	}
}

// Standing returns all revocations that stand and are not over, in the order of their keys.
func Standing(ctx context.Context, c *kafkalog.Cluster) ([]Revocation, error) {
	stand, err := read(ctx, c)
	if err != nil {
		return nil, err
	}
	var all []Revocation
	for _, r := range stand.of {
		if r.Until.After(time.Now()) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b Revocation) int { return strings.Compare(a.key().String(), b.key().String()) })
	return all, nil
}

// standing is what the topic says.
type standing struct {
	of   map[key]Revocation // over or not
	next int64              // the offset behind what was read
	// since is what was written of the key that was asked about at the offsets that were asked about, and not lifted.
	since []Revocation
}

func read(ctx context.Context, c *kafkalog.Cluster) (standing, error) {
	return readSince(ctx, c, math.MaxInt64, key{})
}

// readSince reads all that stands, and keeps what was written of a key from an offset on, though something else may stand by
// now. A writer asks for it after its own write, from where it had read before: what others wrote between the two it has
// overwritten without knowing. Of two writers at once one would otherwise make good again what the other had revoked.
func readSince(ctx context.Context, c *kafkalog.Cluster, since int64, of key) (s standing, err error) {
	s.of = map[key]Revocation{}
	s.next, err = c.ReadAll(ctx, deployment.ControlTopic, 0, func(batch feed.Batch) error {
		var rec fold.Record
		for batch.Next(&rec) {
			k, ours, err := parseKey(rec.Key)
			if !ours || err != nil {
				continue
			}
			late := k == of && rec.Offset >= since
			if len(rec.Value) == 0 {
				delete(s.of, k)
				if late {
					s.since = nil
				}
			} else if r, err := decode(k, rec.Value); err == nil {
				s.of[k] = r
				if late {
					s.since = append(s.since, r)
				}
			}
		}
		return batch.Err()
	})
	if errors.Is(err, kafkalog.ErrNoTopic) {
		err = fmt.Errorf("the topic %s is not there: run `linkpulse init`: %w", deployment.ControlTopic, err)
	}
	return s, err
}

const (
	// tidyAfter is for how long a record must be over before it is removed: whoever removes it may have a clock that is
	// ahead.
	tidyAfter = 7 * 24 * time.Hour
	// tidyMost bounds how many records one writer removes.
	tidyMost = 1000
)

// write writes what r says, or lifts what k says where r is nil. It removes records that are over as well, which is how the
// topic stays about as small as the list.
func write(ctx context.Context, c *kafkalog.Cluster, s standing, k key, r *Revocation) (err error) {
	now := time.Now()
	msgs := []kafkalog.Message{{TimeMs: now.UnixMilli(), Key: []byte(k.String())}}
	if r != nil {
		if msgs[0].Value, err = r.encode(); err != nil {
			return err
		}
	}
	removed := map[key]bool{}
	for old, r := range s.of {
		if old != k && r.Until.Before(now.Add(-tidyAfter)) && len(removed) < tidyMost {
			removed[old] = true
			msgs = append(msgs, kafkalog.Message{TimeMs: now.UnixMilli(), Key: []byte(old.String())})
		}
	}
	p, err := c.NewProducer(ctx, kafkalog.ProducerConfig{Topic: deployment.ControlTopic, Partitions: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close(ctx)) }()
	_ = p.Append(msgs) // what became of the first matters; the others are removed another time
	if len(removed) > 0 && msgs[0].Offset != s.next {
		if err := putBack(ctx, c, p, s.next, removed); err != nil {
			return fmt.Errorf("putting back what was revoked meanwhile: %w", err)
		}
	}
	return msgs[0].Err
}

// putBack writes again what somebody else has written of keys that were removed, since the offset up to which the topic was
// known when that was decided: it may lie below the removal, and nothing that was revoked may become good again.
func putBack(ctx context.Context, c *kafkalog.Cluster, p *kafkalog.Producer, from int64, removed map[key]bool) error {
	lost := map[key]kafkalog.Message{}
	for f := c.Follow(deployment.ControlTopic, 0, from); ; {
		batch, err := f.Fetch(ctx)
		if err != nil {
			return err
		}
		var rec fold.Record
		for batch.Next(&rec) {
			if k, _, err := parseKey(rec.Key); err == nil && removed[k] && rec.Offset >= from && len(rec.Value) > 0 {
				lost[k] = kafkalog.Message{TimeMs: rec.TimeMs, Key: slices.Clone(rec.Key), Value: slices.Clone(rec.Value)}
			}
		}
		if m := batch.Marks(); m.Next >= m.End {
			break
		}
	}
	if len(lost) == 0 {
		return nil
	}
	return p.Append(slices.Collect(maps.Values(lost)))
}
