package totalscmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/recount"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/totalscmd/backup"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/totalscmd/counts"
)

// rebuild is a run.
type rebuild struct {
	*session
	cmd    *Rebuild
	holder *holder

	next    deployment.Record
	source  feed.Source  // of the next epoch
	backup  *backup.File // nil: the totals are not those of a file
	counts  *counts.File // nil: there are none to add
	left    []int32      // partitions that an aborted rebuild has left totals of
	records int64        // to count
	lost    int64        // records that nobody has counted and that are gone
	notes   []string
	fold    *fold.Fold // nil until it is needed
}

func (r *rebuild) close() {
	if r.backup != nil {
		_ = r.backup.Close() // it was only read
	}
}

// isNewLog tells whether offsets of the totals that stand mean nothing in the log of the next epoch.
func (r *rebuild) isNewLog() bool { return r.cmd.Topic != "" }

// plan finds out what is to be done. It changes nothing, and what it refuses it refuses for all partitions at once.
func (r *rebuild) plan(ctx context.Context) (err error) {
	r.next = r.record
	r.next.Epoch++
	if r.cmd.Topic != "" {
		r.next.Topic = r.cmd.Topic
	}
	if r.cmd.Window != 0 {
		r.next.Window = r.cmd.Window
	}
	if r.cmd.Within != 0 {
		r.next.Within = r.cmd.Within
	}
	if err := r.next.Check(); err != nil {
		return err
	}
	r.source = r.session.source(r.next.Topic)
	if r.left, err = r.leftovers(ctx, r.next.Epoch); err != nil {
		return err
	}
	if len(r.left) > 0 && !r.cmd.Discard {
		return fmt.Errorf("%d partitions have totals of epoch %d, which has not begun: a rebuild was aborted. Add --discard to remove them",
			len(r.left), r.next.Epoch)
	}
	if err := r.open(); err != nil {
		return err
	}
	var errs []error
	for _, p := range r.partitions() {
		if err := r.planPartition(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("partition %d: %w", p, err))
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return errors.Join(errs...)
}

// open opens the files.
func (r *rebuild) open() (err error) {
	if r.cmd.From != fromLog && r.cmd.From != fromTotals {
		if r.backup, err = backup.Open(r.cmd.From); err != nil {
			return fmt.Errorf("--from: %w", err)
		}
		h := r.backup.Header
		h.Epoch = r.record.Epoch // any will do
		if r.isNewLog() {
			h.Topic = r.record.Topic // whose offsets mean nothing here
		}
		if err := r.suits(&h); err != nil {
			return fmt.Errorf("--from: %w", err)
		}
	}
	if r.cmd.Counts == "" {
		return nil
	}
	if r.counts, err = counts.Open(r.cmd.Counts); err != nil {
		return err
	}
	for _, p := range r.partitions() {
		if _, err := r.counts.Partition(p, r.record.Partitions); err != nil {
			return err
		}
	}
	return nil
}

// planPartition finds out what becomes of a partition.
func (r *rebuild) planPartition(ctx context.Context, partition int32) error {
	c := condition{partition: partition, state: OK, position: totals.Position{Next: totals.None}}
	var err error
	if r.isNewLog() {
		if c.start, c.end, err = r.source.Bounds(ctx, partition); err != nil {
			return err
		}
		_, err := r.current().Position(ctx, partition)
		if totals.IsAway(err) || (err != nil && r.cmd.From == fromTotals) {
			return err
		}
		if err != nil {
			c.state = Missing // or of no use
		}
	} else {
		if c = examine(ctx, r.source, r.current(), partition); c.state == Unknown {
			return errors.New(c.problem)
		}
		if c.state == Recreated {
			return fmt.Errorf("%s. --topic %s begins with the new log; with --from totals besides, the counts of before are carried over "+
				"as counts of another system", c.problem, r.next.Topic)
		}
	}
	if r.cmd.From == fromLog || r.isNewLog() {
		if r.cmd.From == fromLog {
			r.records += c.end - c.start
			r.noteImports(&c)
		}
		return r.lose(c.start, "the log begins at %d, so it cannot be counted from its start", c.start)
	}
	if r.backup != nil {
		c = condition{partition: partition, state: OK, start: c.start, end: c.end, position: r.backup.Sections[partition].Position}
		c.hold(ctx, r.source)
	}
	return r.planCopy(ctx, &c)
}

// noteImports notes that counts of another system cannot be carried over, where that may be so.
func (r *rebuild) noteImports(c *condition) {
	switch c.state {
	case Waiting, Missing, OtherRule, ForeignKey:
		r.note("partition %d: there are no old totals that could be read; if counts of another system were in them, give them again with --counts",
			c.partition)
	default:
	}
}

// planCopy finds out whether totals can be gone on from.
func (r *rebuild) planCopy(ctx context.Context, c *condition) error {
	switch c.state {
	case OK:
	case Lost:
		return r.lose(c.start-c.position.Next, "%s", c.problem)
	case Waiting:
		return errors.New("redis has no totals of it yet: wait for the tally, or count the log with --from log")
	default:
		return errors.New(c.problem)
	}
	ok, err := r.canGoOn(ctx, c, c.position.Next)
	if err != nil || ok {
		return err
	}
	if r.cmd.AcceptLoss {
		r.note("partition %d: what could make clicks from offset %d on duplicates is gone, they may count twice", c.partition, c.position.Next)
		return nil
	}
	return fmt.Errorf("the totals are those at offset %d, and the log begins at %d: what could make later clicks duplicates is gone, so they may count twice. "+
		"Take a younger backup, or go on all the same with --accept-loss", c.position.Next, c.start)
}

// lose takes a loss into account, or refuses it.
func (r *rebuild) lose(records int64, format string, args ...any) error {
	if records == 0 {
		return nil
	}
	if !r.cmd.AcceptLoss {
		return fmt.Errorf(format+". Take totals from where they are whole (--from totals, or --from FILE with a backup), "+
			"or go on without %d records with --accept-loss", append(args, records)...)
	}
	r.lost += records
	return nil
}

func (r *rebuild) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}

// tell says what will be done and what it means.
func (r *rebuild) tell() error {
	out := &printer{w: r.env.Stdout}
	out.printf("rebuild of the totals of %d partitions: epoch %d begins after epoch %d\n", r.record.Partitions, r.next.Epoch, r.record.Epoch)
	switch {
	case r.cmd.From == fromLog:
		out.printf("- topic %s is counted from its start: %d records\n", r.next.Topic, r.records)
	case r.isNewLog():
		out.printf("- what %s counted is carried over as counts of another system; clicks by minute are not\n", r.origin())
	default:
		out.printf("- the totals are %s, at their offsets\n", r.origin())
	}
	if r.isNewLog() {
		out.printf("- the clicks are those of topic %s from its start: offsets and counts of the log before mean nothing in it\n", r.next.Topic)
	}
	if r.next.Topic != r.record.Topic {
		out.printf("- ingests end and are to be started again, as Kubernetes does: they append to one topic all their life\n")
	}
	if r.next.Window != r.record.Window || r.next.Within != r.record.Within {
		out.printf("- duplicates are looked for within %d records and %v; it was %d and %v\n",
			r.next.Window, r.next.Within, r.record.Window, r.record.Within)
	}
	if r.counts != nil {
		out.printf("- counts of another system: %d clicks of %d links, in the place of what was imported for these\n", r.counts.Clicks, r.counts.Links)
	}
	if r.lost > 0 {
		out.printf("- LOST: %d records are gone from the log and will not be in the totals\n", r.lost)
	}
	for _, n := range r.notes {
		out.printf("- %s\n", n)
	}
	if len(r.left) > 0 {
		out.printf("- what an aborted rebuild has left in %d partitions is removed\n", len(r.left))
	}
	out.printf("- until then nothing changes; then every dashboard is told goodbye, connects again within seconds and starts afresh: " +
		"its numbers may be lower than before\n")
	out.printf("- the totals of epoch %d stay for %v\n", r.record.Epoch, keepFor)
	return out.err
}

// origin is where totals are copied from.
func (r *rebuild) origin() string {
	if r.backup != nil {
		return fmt.Sprintf("those of a backup of epoch %d, %s", r.backup.Epoch, r.backup.At.Format(time.RFC3339))
	}
	return fmt.Sprintf("those of epoch %d", r.record.Epoch)
}

// fill makes the totals of a partition of the next epoch.
func (r *rebuild) fill(ctx context.Context, partition int32, bar *progress) (d *totals.Dump, err error) {
	switch {
	case r.cmd.From == fromLog:
		d, err = r.fillFromLog(ctx, partition, bar)
	case r.backup != nil:
		d, err = r.backup.Load(partition)
	default:
		d, err = r.current().Dump(ctx, partition)
	}
	if err == nil && r.cmd.From != fromLog {
		err = r.place(ctx, partition, d)
	}
	if err != nil || r.counts == nil {
		return d, err
	}
	imported, err := r.counts.Partition(partition, r.record.Partitions)
	for link, n := range imported {
		t := d.Links[link]
		t.Imported = n
		d.Links[link] = t
	}
	return d, err
}

// fillFromLog counts a partition.
func (r *rebuild) fillFromLog(ctx context.Context, partition int32, bar *progress) (*totals.Dump, error) {
	if r.fold == nil {
		r.fold = fold.New(r.next.Fold())
	}
	bar.begin(0)
	since := time.Now().Add(-totals.MinuteRetention-minuteMargin).Unix() / 60
	res, err := recount.Run(ctx, r.source, r.fold, recount.Request{Partition: partition, MinutesSince: since, Progress: bar.move})
	if err == nil && res.From > 0 && !r.cmd.AcceptLoss {
		err = fmt.Errorf("%w: partition %d begins at %d by now", feed.ErrLost, partition, res.From)
	}
	if err != nil {
		return nil, err
	}
	d := &totals.Dump{
		Position: totals.Position{Next: res.Next},
		Links:    make(map[string]totals.LinkTotal, len(res.Totals)), Minutes: make(map[int64]map[string]totals.Clicks, len(res.Minutes)),
	}
	if res.Last.Key != nil || res.Last.Value != nil {
		d.Last = totals.FingerprintOf(res.Last)
	}
	for link, t := range res.Totals {
		d.Links[link] = totals.LinkTotal{Total: t}
	}
	for minute, links := range res.Minutes {
		clicks := make(map[string]totals.Clicks, len(links))
		for link, t := range links {
			clicks[link] = totals.Clicks{Count: t.Count, Bots: t.Bots}
		}
		d.Minutes[minute] = clicks
	}
	return d, r.carryImports(ctx, partition, d)
}

// carryImports takes over the counts of another system that the epoch before had, where they can be read.
func (r *rebuild) carryImports(ctx context.Context, partition int32, d *totals.Dump) error {
	old, err := r.current().Dump(ctx, partition)
	if totals.IsAway(err) {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // it was said that they cannot be read
	}
	for link, t := range old.Links {
		if t.Imported != (totals.Clicks{}) {
			sum := d.Links[link]
			sum.Imported = t.Imported
			d.Links[link] = sum
		}
	}
	return nil
}

// place puts totals where the log of the next epoch goes on.
func (r *rebuild) place(ctx context.Context, partition int32, d *totals.Dump) error {
	start, _, err := r.source.Bounds(ctx, partition)
	if err != nil {
		return err
	}
	if r.isNewLog() {
		for link, t := range d.Links {
			t.Imported.Count += t.Total.Count
			t.Imported.Bots += t.Total.Bots
			t.Total = fold.Total{}
			d.Links[link] = t
		}
		d.Position = totals.Position{}
		clear(d.Minutes)
	}
	if d.Next < start {
		if !r.cmd.AcceptLoss {
			return fmt.Errorf("%w: partition %d begins at %d by now", feed.ErrLost, partition, start)
		}
		d.Position = totals.Position{Next: start}
	}
	return nil
}
