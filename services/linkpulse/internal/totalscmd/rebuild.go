package totalscmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Rebuild are the flags of `linkpulse totals rebuild`.
type Rebuild struct {
	Connection `embed:""`

	From       string        `help:"Where the totals come from: log, which is counted from its start; totals, those that stand, at their offsets; or the FILE of a backup." default:"log" placeholder:"log|totals|FILE"`
	Window     int64         `help:"How many records back a duplicate is looked for from now on; only with --from log." default:"0"`
	Within     time.Duration `help:"How far apart in time duplicates are at most from now on; only with --from log." default:"0"`
	Topic      string        `help:"Topic of the clicks from now on: another one, or the same name where it was created anew. Counts of the old one are carried over, as counts of another system, with --from totals or FILE." placeholder:"NAME"`
	Counts     string        `help:"Counts of another system to add: NDJSON or CSV with link, count and perhaps bots. A link's replace what was imported for it before." placeholder:"FILE"`
	AcceptLoss bool          `help:"Go on although clicks are gone from the log that the new totals should have. It is said how many."`
	Discard    bool          `help:"Remove what an aborted rebuild has left."`
	Yes        bool          `help:"Do not ask." short:"y"`
}

// Check returns everything that is wrong with the arguments.
func (c *Rebuild) Check() error {
	errs := []error{c.Connection.Check()}
	if (c.Window != 0 || c.Within != 0) && c.From != fromLog {
		errs = append(errs, errors.New("--window and --within: totals that were counted by one rule are not those of another; only --from log counts again"))
	}
	if c.From == "" {
		errs = append(errs, errors.New("--from: log, totals or the file of a backup"))
	}
	return errors.Join(errs...)
}

// Where totals can come from, beside a file.
const (
	fromLog    = "log"
	fromTotals = "totals"
)

// keepFor is for how long the keys of the epoch before are kept.
const keepFor = 24 * time.Hour

// Run says what it will do, asks, and does it.
func (c *Rebuild) Run(ctx context.Context, env Env) error {
	s, err := connect(ctx, &c.Connection, env)
	if err != nil {
		return cut(ctx, err, exitBad)
	}
	defer s.close()
	held, holder, err := s.hold(ctx)
	if err != nil {
		return cut(ctx, err, exitBad)
	}
	defer holder.release(ctx)
	if err := s.read(held); err != nil { // what stood before the lock was taken may be over
		return cut(ctx, err, exitBad)
	}
	r := &rebuild{session: s, cmd: c, holder: holder}
	defer r.close()
	if err := r.run(held); err != nil {
		if cause := context.Cause(held); cause != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", cause, err) // the lock was lost
		}
		return cut(ctx, err, exitBad)
	}
	return nil
}

func (r *rebuild) run(ctx context.Context) error {
	if err := r.plan(ctx); err != nil {
		return err
	}
	if err := r.tell(); err != nil {
		return err
	}
	if !r.cmd.Yes {
		if err := confirm(ctx, r.env); err != nil {
			return err
		}
	}
	for _, p := range r.left {
		if err := r.epoch(r.next.Epoch).Remove(ctx, p); err != nil {
			return fmt.Errorf("removing leftovers: %w", err)
		}
	}
	began, err := r.fillAndBegin(ctx)
	if err != nil {
		return err
	}
	return r.finish(ctx, began)
}

// fillAndBegin writes the totals of the next epoch and begins it. What it has written it removes where the epoch has not
// begun for certain.
func (r *rebuild) fillAndBegin(ctx context.Context) (deployment.Record, error) {
	written, err := r.fillAll(ctx)
	if err == nil {
		var began deployment.Record
		if began, err = r.begin(ctx); err == nil {
			return began, nil
		}
	}
	if errors.Is(err, kafkalog.ErrUnknownOutcome) {
		return deployment.Record{}, fmt.Errorf("whether epoch %d has begun is not known, look with `linkpulse totals status`: %w", r.next.Epoch, err)
	}
	if undoErr := r.undo(ctx, written); undoErr != nil {
		err = errors.Join(err, fmt.Errorf("what was written is left; the next rebuild removes it with --discard: %w", undoErr))
	}
	return deployment.Record{}, err
}

// fillAll writes the totals of the next epoch, where nobody reads yet, and returns the partitions that it has perhaps
// written.
func (r *rebuild) fillAll(ctx context.Context) (written []int32, err error) {
	bar := newProgress(r.env, "records", r.records)
	defer bar.finish()
	epoch := r.store.Epoch(r.next.Epoch, totals.RuleOf(r.next.Fold()))
	for _, p := range r.partitions() {
		d, err := r.fill(ctx, p, bar)
		if err != nil {
			return written, err
		}
		err = epoch.Restore(ctx, p, d)
		if errors.Is(err, totals.ErrExists) {
			return written, fmt.Errorf("somebody else writes totals of epoch %d: %w", r.next.Epoch, err)
		}
		written = append(written, p)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// begin begins the epoch, while nobody else can have touched what was written for it.
func (r *rebuild) begin(ctx context.Context) (deployment.Record, error) {
	sure, cancel, err := r.holder.sure(ctx)
	if err != nil {
		return deployment.Record{}, err
	}
	defer cancel()
	return deployment.Begin(sure, r.cluster, r.record, r.next)
}

// undo removes what was written. After the lock was lost that may be somebody else's, whose epoch may have begun.
func (r *rebuild) undo(ctx context.Context, written []int32) error {
	late, cancel := afterwards(ctx)
	defer cancel()
	late, cancelSure, err := r.holder.sure(late)
	if err != nil {
		return err
	}
	defer cancelSure()
	for _, p := range written {
		if err := r.epoch(r.next.Epoch).Remove(late, p); err != nil {
			return err
		}
	}
	return nil
}

// finish lets the keys of the epochs before go. The epoch has begun: whatever is wrong now is only told.
func (r *rebuild) finish(ctx context.Context, began deployment.Record) error {
	late, cancel := afterwards(ctx)
	defer cancel()
	out := &printer{w: r.env.Stdout}
	out.printf("epoch %d has begun\n", began.Epoch)
	if began.Topic != r.record.Topic || began.Window != r.record.Window || began.Within != r.record.Within {
		out.printf("`linkpulse init` refuses what differs from the record: from now on give it --topic %s --window %d --within %v\n",
			began.Topic, began.Window, began.Within)
	}
	// That of the epoch before the last is done again: a rebuild that was killed here did not.
	for epoch := max(r.record.Epoch-1, 1); epoch <= r.record.Epoch; epoch++ {
		for _, p := range r.partitions() {
			if err := r.expire(late, epoch, p); err != nil {
				out.printf("the keys of epoch %d stay, until the next rebuild: %v\n", epoch, err)
				return out.err
			}
		}
	}
	return out.err
}

// expire lets the totals of a partition go. What is no totals is somebody else's.
func (r *rebuild) expire(ctx context.Context, epoch int64, partition int32) error {
	e := r.epoch(epoch)
	_, err := e.Position(ctx, partition)
	if totals.IsAway(err) {
		return err
	}
	if _, foreign := errors.AsType[*totals.KeyError](err); foreign {
		return nil
	}
	return e.Expire(ctx, partition, keepFor)
}

// errNotConfirmed says that nobody agreed.
var errNotConfirmed = errors.New("nothing was changed")

// confirm asks whoever is there.
func confirm(ctx context.Context, env Env) error {
	if !env.Interactive {
		return fmt.Errorf("%w: there is nobody to ask; --yes goes on without", errNotConfirmed)
	}
	if _, err := fmt.Fprint(env.Stdout, "Go on? Type yes: "); err != nil {
		return err
	}
	answer := make(chan string, 1) // whoever reads a terminal cannot be told to stop
	go func() {
		line, _ := bufio.NewReader(env.Stdin).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case line := <-answer:
		if line != "yes" {
			return errNotConfirmed
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNotConfirmed, context.Cause(ctx))
	}
}
