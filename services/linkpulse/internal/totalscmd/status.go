package totalscmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Status are the flags of `linkpulse totals status`.
type Status struct {
	Connection `embed:""`

	JSON bool `help:"Print one JSON object."`
}

// statusReport is what it says.
type statusReport struct {
	Topic      string            `json:"topic"`
	Epoch      int64             `json:"epoch"`
	Since      time.Time         `json:"since"`
	Rule       string            `json:"rule"` // window/within_ms/fold version
	Partitions []statusPartition `json:"partitions"`
	// Leftovers is how many partitions have totals of the next epoch, which has not begun.
	Leftovers int `json:"leftovers"`
}

type statusPartition struct {
	Partition int32  `json:"partition"`
	State     State  `json:"state"`
	Problem   string `json:"problem,omitempty"`
	Next      *int64 `json:"next"` // nil: there are no totals that can be read
	LogStart  int64  `json:"log_start"`
	LogEnd    int64  `json:"log_end"`
	Lag       *int64 `json:"lag"` // records that are not in the totals yet
	Links     int64  `json:"links"`
	// NewestMinute is the last minute with clicks, nil where none is kept any more.
	NewestMinute *time.Time `json:"newest_minute"`
}

// Run prints how the totals are.
func (c *Status) Run(ctx context.Context, env Env) error {
	s, err := connect(ctx, &c.Connection, env)
	if err != nil {
		return cut(ctx, err, exitUnknown)
	}
	defer s.close()
	report, stopped, err := s.status(ctx)
	if err != nil {
		return cut(ctx, err, exitUnknown)
	}
	if c.JSON {
		err = json.NewEncoder(env.Stdout).Encode(report)
	} else {
		err = report.print(env.Stdout)
	}
	if err == nil && stopped > 0 {
		err = fmt.Errorf("the totals of %d of %d partitions stand still", stopped, len(report.Partitions))
	}
	return err
}

func (s *session) status(ctx context.Context) (r statusReport, stopped int, err error) {
	rule := totals.RuleOf(s.record.Fold())
	r = statusReport{Topic: s.record.Topic, Epoch: s.record.Epoch, Since: s.record.CreatedAt.UTC(), Rule: rule.String()}
	for _, p := range s.partitions() {
		line, err := s.statusOf(ctx, p)
		if err != nil {
			return r, 0, err
		}
		if line.State.isStopped() {
			stopped++
		}
		r.Partitions = append(r.Partitions, line)
	}
	leftovers, err := s.leftovers(ctx, s.record.Epoch+1)
	if err != nil && stopped == 0 { // a Redis that is away was told of already
		return r, 0, err
	}
	r.Leftovers = len(leftovers)
	return r, stopped, nil
}

func (s *session) statusOf(ctx context.Context, partition int32) (statusPartition, error) {
	c := examine(ctx, s.source(s.record.Topic), s.current(), partition)
	if c.state == OK {
		switch ok, err := s.canGoOn(ctx, &c, c.position.Next); {
		case err != nil:
			c.is(Unknown, "%v", err)
		case !ok:
			c.is(Lost, "the totals are those at offset %d, and the log begins at %d: what could make later clicks duplicates is gone, "+
				"and a tally that has not seen it stops. Begin a new epoch with `linkpulse totals rebuild`", c.position.Next, c.start)
		}
	}
	if ctx.Err() != nil {
		return statusPartition{}, context.Cause(ctx)
	}
	line := statusPartition{Partition: partition, State: c.state, Problem: c.problem, LogStart: c.start, LogEnd: c.end}
	if c.position.Next == totals.None {
		return line, nil
	}
	line.Next, line.Lag = new(c.position.Next), new(max(c.end-c.position.Next, 0))
	switch survey, err := s.current().Survey(ctx, partition); {
	case err != nil:
		line.State, line.Problem = Unknown, err.Error()
	case survey.NewestMinute > 0:
		line.NewestMinute = new(time.Unix(survey.NewestMinute*60, 0).UTC())
		fallthrough
	default:
		line.Links = survey.Links
	}
	return line, nil
}

// print prints a table, and what is wrong under it.
func (r *statusReport) print(w io.Writer) error {
	out := &printer{w: w}
	out.printf("topic %s, %d partitions, epoch %d since %s, rule %s (window/within_ms/fold version)\n\n",
		r.Topic, len(r.Partitions), r.Epoch, r.Since.Format(time.RFC3339), r.Rule)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	rows := &printer{w: table}
	rows.printf("partition\tnext\tlog start\tlog end\tlag\tlinks\tnewest\tstate\t\n")
	for i := range r.Partitions {
		p := &r.Partitions[i]
		newest := "-"
		if p.NewestMinute != nil {
			newest = max(time.Since(*p.NewestMinute), 0).Truncate(time.Minute).String()
		}
		rows.printf("%d\t%s\t%d\t%d\t%s\t%d\t%s\t%s\t\n",
			p.Partition, orNone(p.Next), p.LogStart, p.LogEnd, orNone(p.Lag), p.Links, newest, p.State)
	}
	if err := table.Flush(); rows.err == nil {
		rows.err = err
	}
	for _, p := range r.Partitions {
		if p.Problem != "" {
			out.printf("\npartition %d (%s): %s\n", p.Partition, p.State, p.Problem)
		}
	}
	if r.Leftovers > 0 {
		out.printf("\n%d partitions have totals of epoch %d, which has not begun: a rebuild is under way or was aborted. "+
			"`linkpulse totals rebuild --discard` removes them\n", r.Leftovers, r.Epoch+1)
	}
	if rows.err != nil {
		return rows.err
	}
	return out.err
}

func orNone(n *int64) string {
	if n == nil {
		return "-"
	}
	return strconv.FormatInt(*n, 10)
}

// printer prints until the first error, which it keeps.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// Write implements io.Writer.
func (p *printer) Write(b []byte) (n int, err error) {
	if p.err == nil {
		n, p.err = p.w.Write(b)
	}
	return n, p.err
}
