package totalscmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/recount"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/exitcode"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/totalscmd/backup"
)

// Verify are the flags of `linkpulse totals verify`.
type Verify struct {
	Connection `embed:""`

	Links     []string `help:"Links to compare; all by default." placeholder:"LINK"`
	Partition *int     `help:"Partition to compare; all by default." placeholder:"N"`
	Base      string   `help:"Backup to count on from, where the log does not start at 0 any more." placeholder:"FILE"`
	JSON      bool     `help:"Print one JSON object per partition."`
}

// Check returns everything that is wrong with the arguments.
func (c *Verify) Check() error {
	errs := []error{c.Connection.Check()}
	for _, link := range c.Links {
		if err := click.CheckLink(link); err != nil {
			errs = append(errs, fmt.Errorf("--links: %q: %w", link, err))
		}
	}
	if len(c.Links) > 0 && c.Partition != nil {
		errs = append(errs, errors.New("--links and --partition: a link says in which partition it is"))
	}
	return errors.Join(errs...)
}

// What verifying came to.
const (
	agree      = "agree"
	differ     = "differ"
	cannotTell = "unknown"
)

// verdict is what verifying a partition came to.
type verdict struct {
	Partition int32  `json:"partition"`
	Verdict   string `json:"verdict"` // agree, differ, unknown
	// Problem is why it could not be told.
	Problem string `json:"problem,omitempty"`
	// Next is the offset at which they were compared, From where counting began: 0, or the backup's offset.
	Next        int64        `json:"next"`
	From        int64        `json:"from"`
	Links       int          `json:"links"`
	Clicks      int64        `json:"clicks"`
	Minutes     int          `json:"minutes"` // how many were compared
	Duplicates  int64        `json:"duplicates"`
	Poison      int64        `json:"poison"`
	Differences []Difference `json:"differences,omitempty"`
}

// verifier is a run.
type verifier struct {
	*session
	cmd    *Verify
	source feed.Source
	base   *backup.File // nil: none was given
	fold   *fold.Fold
	bar    *progress
}

// Run compares and prints.
func (c *Verify) Run(ctx context.Context, env Env) error {
	unknown := func(err error) error { return cut(ctx, &exitcode.Error{Code: exitUnknown, Err: err}, exitUnknown) }
	s, err := connect(ctx, &c.Connection, env)
	if err != nil {
		return unknown(err)
	}
	defer s.close()
	v := &verifier{session: s, cmd: c, source: s.source(s.record.Topic), fold: fold.New(s.record.Fold())}
	partitions, err := v.selected()
	if err != nil {
		return unknown(err)
	}
	if c.Base != "" {
		if v.base, err = backup.Open(c.Base); err != nil {
			return unknown(err)
		}
		defer v.base.Close()
		if err := s.suits(&v.base.Header); err != nil {
			return unknown(fmt.Errorf("--base: %w", err))
		}
	}
	v.bar = newProgress(env, "records", v.records(ctx, partitions))
	defer v.bar.finish()
	tally := map[string]int{}
	for _, p := range partitions {
		verdict := v.verify(ctx, p)
		if ctx.Err() != nil {
			return unknown(context.Cause(ctx))
		}
		tally[verdict.Verdict]++
		if err := v.print(&verdict); err != nil {
			return unknown(fmt.Errorf("printing: %w", err))
		}
	}
	switch {
	case tally[differ] > 0:
		return &exitcode.Error{Code: exitBad, Err: fmt.Errorf("the totals of %d of %d partitions are not what the log says", tally[differ], len(partitions))}
	case tally[cannotTell] > 0:
		return unknown(fmt.Errorf("of %d of %d partitions it could not be told whether they are what the log says", tally[cannotTell], len(partitions)))
	}
	return nil
}

// selected returns the partitions to compare.
func (v *verifier) selected() ([]int32, error) {
	all := v.partitions()
	switch p := v.cmd.Partition; {
	case p != nil && (*p < 0 || *p >= len(all)):
		return nil, fmt.Errorf("--partition: there are %d, from 0", len(all))
	case p != nil:
		return all[*p : *p+1], nil
	case len(v.cmd.Links) == 0:
		return all, nil
	}
	var some []int32
	for _, link := range v.cmd.Links {
		some = append(some, click.Partition(link, len(all)))
	}
	slices.Sort(some)
	return slices.Compact(some), nil
}

// records is about how many records there are to count.
func (v *verifier) records(ctx context.Context, partitions []int32) (n int64) {
	if !v.env.Terminal {
		return 0 // nobody sees it
	}
	for _, p := range partitions {
		start, end, err := v.source.Bounds(ctx, p)
		if err != nil {
			continue // it is told when the partition is compared
		}
		if start > 0 && v.base != nil {
			start = max(start, v.base.Sections[p].Next)
		}
		n += end - start
	}
	return n
}

// suits tells why a backup is not of the totals that stand.
func (s *session) suits(h *backup.Header) error {
	rule := totals.RuleOf(s.record.Fold()).String()
	switch {
	case h.Partitions != s.record.Partitions:
		return fmt.Errorf("the backup has %d partitions, the deployment %d: links are in others", h.Partitions, s.record.Partitions)
	case h.Rule != rule:
		return fmt.Errorf("the backup was counted by the rule %s, the deployment counts by %s: they do not mix", h.Rule, rule)
	case h.Topic != s.record.Topic:
		return fmt.Errorf("the backup is of topic %s, the deployment is of %s", h.Topic, s.record.Topic)
	case h.Epoch != s.record.Epoch:
		return fmt.Errorf("the backup is of epoch %d, epoch %d stands; `linkpulse totals rebuild --from FILE` begins a new epoch with a backup of another",
			h.Epoch, s.record.Epoch)
	}
	return nil
}

// verify compares a partition at the offset that Redis states.
func (v *verifier) verify(ctx context.Context, partition int32) verdict {
	r := verdict{Partition: partition, Verdict: cannotTell, Next: totals.None}
	since, to := minutesKept(time.Now())
	d, err := v.current().Dump(ctx, partition)
	if err != nil {
		c := examine(ctx, v.source, v.current(), partition)
		r.Problem = c.problem
		switch {
		case c.state == Waiting && c.end == 0:
			r.Verdict, r.Next = agree, 0 // nothing was counted of nothing
		case c.state == Waiting:
			r.Problem = "redis has no totals yet; the tally counts the log from its start when it runs"
		case r.Problem == "":
			r.Problem = err.Error()
		}
		return r
	}
	r.Next = d.Next
	base, err := v.baseFor(ctx, partition, d.Next)
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	if base != nil {
		r.From = base.Next
	}
	v.bar.begin(r.From)
	res, err := recount.Run(ctx, v.source, v.fold, recount.Request{
		Partition: partition, From: r.From, Until: &d.Next, Window: v.record.Window, MinutesSince: since, Progress: v.bar.move,
	})
	if err == nil && res.From != r.From {
		err = fmt.Errorf("%w: the log begins at %d by now", feed.ErrLost, res.Start)
	}
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	r.Duplicates, r.Poison = res.Duplicates, res.Poison
	want := countedOf(base, &res)
	r.Differences = compare(d, want, since, to, v.isWanted)
	r.count(d, since, to, v.isWanted)
	r.Verdict = agree
	if len(r.Differences) > 0 {
		r.Verdict = differ
	}
	return r
}

func (v *verifier) isWanted(link string) bool {
	return len(v.cmd.Links) == 0 || slices.Contains(v.cmd.Links, link)
}

// count tells how much was compared.
func (r *verdict) count(d *totals.Dump, from, to int64, wanted func(string) bool) {
	for link, t := range d.Links {
		if t.Total.Count > 0 && wanted(link) {
			r.Links++
			r.Clicks += t.Total.Count
		}
	}
	for minute := range d.Minutes {
		if minute >= from && minute < to {
			r.Minutes++
		}
	}
}

// baseFor returns the totals to count on from; nil where the log has everything from its start.
func (v *verifier) baseFor(ctx context.Context, partition int32, next int64) (*totals.Dump, error) {
	c := condition{partition: partition, position: totals.Position{Next: next}, state: OK}
	var err error
	if c.start, c.end, err = v.source.Bounds(ctx, partition); err != nil {
		return nil, err
	}
	if c.hold(ctx, v.source); c.state != OK { // the last record is compared in the end
		return nil, errors.New(c.problem)
	}
	switch {
	case c.start == 0:
		return nil, nil //nolint:nilnil // from the start is from nothing
	case v.base == nil:
		return nil, fmt.Errorf("the log begins at %d: what it adds up to cannot be counted from its start. "+
			"With --base a backup of `linkpulse totals export` can be counted on from, which must be of the offset %d or later", c.start, c.start)
	}
	section := v.base.Sections[partition]
	if section.Next > next {
		return nil, fmt.Errorf("the backup is of offset %d and Redis has the totals of %d: it was taken back since", section.Next, next)
	}
	c.position = section.Position
	if c.hold(ctx, v.source); c.state != OK {
		return nil, fmt.Errorf("the backup does not suit the log: at its offset %d, %s", section.Next, c.problem)
	}
	ok, err := v.canGoOn(ctx, &c, section.Next)
	if err == nil && !ok {
		err = fmt.Errorf("the backup is of offset %d and the log begins at %d: what could make later records duplicates is gone; "+
			"a younger backup is needed", section.Next, c.start)
	}
	if err != nil {
		return nil, err
	}
	return v.base.Load(partition)
}

// print prints a verdict.
func (v *verifier) print(r *verdict) error {
	if v.cmd.JSON {
		return json.NewEncoder(v.env.Stdout).Encode(r)
	}
	out := &printer{w: v.env.Stdout}
	v.bar.clear()
	switch r.Verdict {
	case cannotTell:
		out.printf("partition %d: cannot tell: %s\n", r.Partition, r.Problem)
		return out.err
	case agree:
		out.printf("partition %d at %d: agree", r.Partition, r.Next)
	default:
		out.printf("partition %d at %d: DIFFER in %d", r.Partition, r.Next, len(r.Differences))
	}
	out.printf(" (%d clicks of %d links, %d minutes", r.Clicks, r.Links, r.Minutes)
	if r.From > 0 {
		out.printf("; counted on from the backup at %d", r.From)
	}
	out.printf(")\n")
	for _, d := range r.Differences {
		out.printf("  %v\n", d)
	}
	return out.err
}
