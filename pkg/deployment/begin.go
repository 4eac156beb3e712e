package deployment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// ErrOvertaken says that another record stands than the one that was to be followed by a new epoch. Nothing was changed,
// or what was is without effect.
var ErrOvertaken = errors.New("another deployment record was written meanwhile")

// Read returns the record that stands. It is ErrMissing where there is none.
func Read(ctx context.Context, c *kafkalog.Cluster) (Record, error) {
	s, _, err := read(ctx, c)
	switch {
	case errors.Is(err, kafkalog.ErrNoTopic):
		return Record{}, fmt.Errorf("%w: the topic %s is not there", ErrMissing, ControlTopic)
	case err != nil:
		return Record{}, err
	case s.err != nil:
		return Record{}, s.err
	case !s.found:
		return Record{}, ErrMissing
	}
	return s.record, nil
}

// Begin begins the epoch after that of current, which stands, by writing a record that all services will follow, and
// returns that. Of next it takes the topic, the window and the time within which duplicates are known; links stay where
// they are, so the number of partitions cannot change.
//
// It returns an error that wraps ErrOvertaken where current does not stand any more, also where somebody else began the
// same epoch at the same time and was first: the first record of an epoch decides, and Begin makes sure that it is the one
// that stands. An error that wraps [kafkalog.ErrUnknownOutcome] says that the epoch may have begun.
func Begin(ctx context.Context, c *kafkalog.Cluster, current, next Record) (Record, error) {
	next.Epoch, next.Partitions, next.FoldVersion = current.Epoch+1, current.Partitions, current.FoldVersion
	next.CreatedAt = time.UnixMilli(time.Now().UnixMilli()) // as it will be read
	if err := next.Check(); err != nil {
		return Record{}, fmt.Errorf("beginning epoch %d: %w", next.Epoch, err)
	}
	stands, err := Read(ctx, c)
	if err == nil && !stands.same(current) {
		err = fmt.Errorf("%w: epoch %d stands", ErrOvertaken, stands.Epoch)
	}
	if err != nil {
		return Record{}, fmt.Errorf("beginning epoch %d: %w", next.Epoch, err)
	}
	if err := settle(ctx, c, next); err != nil {
		return Record{}, fmt.Errorf("beginning epoch %d: %w", next.Epoch, err)
	}
	return next, nil
}

// settle writes next and looks whether it is what all will follow, until that is known.
func settle(ctx context.Context, c *kafkalog.Cluster, next Record) error {
	err := write(ctx, c, next)
	if err != nil && !errors.Is(err, kafkalog.ErrUnknownOutcome) {
		return err
	}
	acknowledged := err == nil
	for {
		s, _, readErr := read(ctx, c)
		switch {
		case readErr != nil:
			if rest(ctx) {
				continue
			}
			return fmt.Errorf("%w: %w", kafkalog.ErrUnknownOutcome, readErr)
		case s.first.Epoch < next.Epoch && acknowledged && rest(ctx): // its leader is new and does not know how far its log is
			continue
		case s.first.Epoch < next.Epoch:
			return fmt.Errorf("%w: it was not there when it was looked for", kafkalog.ErrUnknownOutcome)
		case s.first.Epoch > next.Epoch:
			return fmt.Errorf("%w: epoch %d stands", ErrOvertaken, s.first.Epoch)
		}
		// It is the first that compaction must leave, whoever wrote it.
		if s.err != nil || !s.record.same(s.first) {
			if err := write(ctx, c, s.first); err != nil && !errors.Is(err, kafkalog.ErrUnknownOutcome) {
				return fmt.Errorf("%w: %w", kafkalog.ErrUnknownOutcome, err)
			}
			continue
		}
		if !s.first.same(next) {
			return fmt.Errorf("%w: it began epoch %d", ErrOvertaken, next.Epoch)
		}
		return nil
	}
}

// same tells whether two records are one: two that say the same and were written at different times are not.
func (r Record) same(o Record) bool {
	return r.Epoch == o.Epoch && r.CreatedAt.Equal(o.CreatedAt) && r.conflict(o) == nil
}
