package totalstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Tally brings the totals of a partition on to the offset to, or to the end of the log where that is below 0, and creates
// them where there are none. It is the slow and simple tally: it folds the log from its start, which must be 0, and so
// knows nothing of how the one of the service does it. Where the totals are further on already it does nothing.
func Tally(ctx context.Context, e *totals.Epoch, source feed.Source, p fold.Params, partition int32, to int64) error {
	_, end, err := source.Bounds(ctx, partition)
	if err != nil {
		return err
	}
	if to < 0 || to > end {
		to = end
	}
	pos, err := e.Position(ctx, partition)
	if errors.Is(err, totals.ErrMissing) {
		if err := e.Apply(ctx, &totals.Batch{Partition: partition, From: totals.None, To: 0}); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if pos.Next >= to {
		return nil
	}
	batch, err := fill(ctx, source, p, partition, pos.Next, to)
	if err != nil {
		return fmt.Errorf("folding partition %d to %d: %w", partition, to, err)
	}
	return e.Apply(ctx, batch)
}

// fill folds [0, to) and returns what [from, to) counts.
func fill(ctx context.Context, source feed.Source, p fold.Params, partition int32, from, to int64) (*totals.Batch, error) {
	f := fold.New(p)
	links := make(map[string]*totals.LinkDelta)
	minutes := make(map[int64]map[string]*totals.LinkDelta)
	last := totals.Fingerprint{}
	reader := feed.NewReader(source, partition, 0)
	defer reader.Close()
	for f.Position() < to {
		chunk, err := reader.Next(ctx)
		if err != nil {
			return nil, err
		}
		for _, r := range chunk.Records {
			if r.Offset >= to {
				break
			}
			last = totals.FingerprintOf(r)
			if f.Add(r) != fold.Counted || r.Offset < from {
				continue
			}
			_, bot := f.Last()
			count(links, string(r.Key), bot, r.TimeMs)
			minute := r.TimeMs / 60_000
			if minutes[minute] == nil {
				minutes[minute] = make(map[string]*totals.LinkDelta)
			}
			count(minutes[minute], string(r.Key), bot, 0)
		}
		f.Skip(min(chunk.Next, to))
	}
	b := &totals.Batch{Partition: partition, From: from, To: to, Last: last, Links: values(links)}
	for minute, links := range minutes {
		b.Minutes = append(b.Minutes, totals.MinuteDelta{Minute: minute, Links: values(links)})
	}
	return b, nil
}

func count(links map[string]*totals.LinkDelta, link string, bot bool, atMs int64) {
	d := links[link]
	if d == nil {
		d = &totals.LinkDelta{Link: link}
		links[link] = d
	}
	d.Count++
	if bot {
		d.Bots++
	}
	d.AtMs = atMs
}

func values(links map[string]*totals.LinkDelta) (list []totals.LinkDelta) {
	for _, d := range links {
		list = append(list, *d)
	}
	slices.SortFunc(list, func(a, b totals.LinkDelta) int { return strings.Compare(a.Link, b.Link) })
	return list
}
