package totalscmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/totalscmd/backup"
)

// Import are the arguments of `linkpulse totals import`.
type Import struct {
	Connection `embed:""`

	File   string `arg:"" optional:"" help:"Backup to put back, into the partitions that have no totals."`
	Counts string `help:"Instead of a backup, counts of another system: a new epoch with the totals that stand and these beside them, as rebuild --from totals --counts FILE." placeholder:"FILE"`
	Yes    bool   `help:"Do not ask before a new epoch." short:"y"`
}

// Check returns everything that is wrong with the arguments.
func (c *Import) Check() error {
	errs := []error{c.Connection.Check()}
	if (c.File == "") == (c.Counts == "") {
		errs = append(errs, errors.New("either the FILE of a backup or --counts FILE"))
	}
	return errors.Join(errs...)
}

// Run puts a backup back.
func (c *Import) Run(ctx context.Context, env Env) error {
	if c.Counts != "" {
		r := &Rebuild{Connection: c.Connection, From: fromTotals, Counts: c.Counts, Yes: c.Yes}
		return r.Run(ctx, env)
	}
	s, err := connect(ctx, &c.Connection, env)
	if err != nil {
		return cut(ctx, err, exitBad)
	}
	defer s.close()
	file, err := backup.Open(c.File)
	if err != nil {
		return err
	}
	defer file.Close()
	held, holder, err := s.hold(ctx) // a rebuild would leave the epoch that is restored
	if err != nil {
		return cut(ctx, err, exitBad)
	}
	defer holder.release(ctx)
	err = s.read(held)
	if err == nil {
		err = s.suits(&file.Header)
	}
	if err == nil {
		err = s.restore(held, file)
	}
	return cut(ctx, err, exitBad)
}

// restore puts a backup into the partitions that have no totals: all of them, or none where one would be wrong. A
// partition is restored at once, so that a run that is interrupted can be run again.
func (s *session) restore(ctx context.Context, file *backup.File) error {
	out := &printer{w: s.env.Stdout}
	var missing []int32
	var errs []error
	for _, p := range s.partitions() {
		position, err := s.current().Position(ctx, p)
		switch {
		case err == nil:
			out.printf("partition %d has totals, at offset %d: they stay\n", p, position.Next)
		case !errors.Is(err, totals.ErrMissing):
			return err
		default:
			missing = append(missing, p)
			if err := s.suitsLog(ctx, file, p); err != nil {
				errs = append(errs, fmt.Errorf("partition %d: %w", p, err))
			}
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("nothing was changed: %w", errors.Join(errs...))
	}
	if len(missing) == 0 {
		return errors.New("nothing was changed: every partition has totals; `linkpulse totals rebuild --from FILE` replaces them, in a new epoch")
	}
	bar := newProgress(s.env, "partitions", int64(len(missing)))
	defer bar.finish()
	for i, p := range missing {
		d, err := file.Load(p)
		if err != nil {
			return err
		}
		switch err := s.current().Restore(ctx, p, d); {
		case errors.Is(err, totals.ErrExists):
			out.printf("partition %d has totals by now: they stay\n", p)
		case err != nil:
			return err
		default:
			out.printf("partition %d has the totals of offset %d again: %d links\n", p, d.Next, len(d.Links))
		}
		bar.move(int64(i)+1, 0)
	}
	return out.err
}

// suitsLog tells why counting on from a partition of a backup would not be exact.
func (s *session) suitsLog(ctx context.Context, file *backup.File, partition int32) error {
	source := s.source(s.record.Topic)
	c := condition{partition: partition, state: OK, position: file.Sections[partition].Position}
	var err error
	if c.start, c.end, err = source.Bounds(ctx, partition); err != nil {
		return err
	}
	switch c.hold(ctx, source); c.state {
	case OK:
	case Lost:
		return fmt.Errorf("the backup is of offset %d, and the log begins at %d: %d records between are gone. "+
			"`linkpulse totals rebuild --from FILE --accept-loss` goes on without them, in a new epoch", c.position.Next, c.start, c.start-c.position.Next)
	default:
		return fmt.Errorf("the backup does not suit the log: at its offset %d, %s", c.position.Next, c.problem)
	}
	ok, err := s.canGoOn(ctx, &c, c.position.Next)
	if err == nil && !ok {
		err = fmt.Errorf("the backup is of offset %d, and the log begins at %d: what could make later clicks duplicates is gone. "+
			"`linkpulse totals rebuild --from FILE --accept-loss` goes on all the same, in a new epoch", c.position.Next, c.start)
	}
	return err
}
