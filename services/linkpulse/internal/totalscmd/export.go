package totalscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/totalscmd/backup"
)

// Export are the arguments of `linkpulse totals export`.
type Export struct {
	Connection `embed:""`

	File string `arg:"" optional:"" help:"Where to write it, whole or not at all; - is standard output."`
}

// Check returns everything that is wrong with the arguments.
func (c *Export) Check() error {
	errs := []error{c.Connection.Check()}
	if c.File == "" {
		errs = append(errs, errors.New("FILE: where to write the backup; - is standard output"))
	}
	return errors.Join(errs...)
}

// Run writes a backup.
func (c *Export) Run(ctx context.Context, env Env) error {
	s, err := connect(ctx, &c.Connection, env)
	if err != nil {
		return cut(ctx, err, exitBad)
	}
	defer s.close()
	if c.File == "-" {
		links, err := s.export(ctx, env.Stdout)
		return cut(ctx, s.exported(err, links, "standard output"), exitBad)
	}
	file, err := backup.Create(c.File)
	if err != nil {
		return err
	}
	links, err := s.export(ctx, file)
	if err != nil {
		return cut(ctx, errors.Join(err, file.Abort()), exitBad)
	}
	return s.exported(file.Commit(), links, c.File)
}

// exported says that it is done.
func (s *session) exported(err error, links int64, where string) error {
	if err == nil {
		_, err = fmt.Fprintf(s.env.Stderr, "epoch %d, %d partitions, %d links are in %s\n", s.record.Epoch, s.record.Partitions, links, where)
	}
	return err
}

// export writes a backup of what stands.
func (s *session) export(ctx context.Context, to io.Writer) (links int64, err error) {
	w, err := backup.NewWriter(to, backup.Header{
		Topic: s.record.Topic, Partitions: s.record.Partitions, Epoch: s.record.Epoch,
		Rule: totals.RuleOf(s.record.Fold()).String(), At: time.Now(),
	})
	if err != nil {
		return 0, err
	}
	bar := newProgress(s.env, "partitions", int64(s.record.Partitions))
	defer bar.finish()
	for _, p := range s.partitions() {
		d, err := s.dump(ctx, p)
		if err != nil {
			return 0, err
		}
		if err := w.Partition(d); err != nil {
			return 0, err
		}
		bar.move(int64(p)+1, 0)
	}
	epoch := s.record.Epoch
	if err := s.read(ctx); err != nil {
		return 0, err
	}
	if s.record.Epoch != epoch {
		return 0, fmt.Errorf("epoch %d began meanwhile: what was read is of one that is over", s.record.Epoch)
	}
	return w.Links(), w.Close()
}

// dump returns all of a partition. Where nothing was counted yet and the log has everything, that is nothing.
func (s *session) dump(ctx context.Context, partition int32) (*totals.Dump, error) {
	d, err := s.current().Dump(ctx, partition)
	if !errors.Is(err, totals.ErrMissing) {
		return d, err
	}
	start, _, boundsErr := s.source(s.record.Topic).Bounds(ctx, partition)
	if boundsErr != nil {
		return nil, boundsErr
	}
	if start > 0 {
		return nil, fmt.Errorf("%w, and the log begins at %d: put an older backup back with `linkpulse totals import`, "+
			"a new one would lack what it has", err, start)
	}
	return &totals.Dump{}, nil
}
