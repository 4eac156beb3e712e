// Package recount computes totals the slow way that needs nobody's word: it folds a partition of the log. It is how totals
// are read where no store keeps them, how totals that a store keeps are verified, and how they are made anew.
package recount

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// Request says what to count. The zero value counts everything that there is in partition 0.
type Request struct {
	Partition int32
	// Links to count; nil counts every link, and then memory grows with their number.
	Links []string
	// From is where counting begins. The fold is warmed up with what the log has of the window before it. Below the first
	// offset of the log it begins there.
	From int64
	// Until is where counting ends, exclusive; nil is the end that the log has at the call. A log that ends below it is an
	// error that wraps [feed.ErrBeyondEnd].
	Until *int64
	// MinutesSince is the first minute, Unix seconds / 60, whose clicks are counted by minute too; 0 counts none so.
	MinutesSince int64
	// Window is how far before From the fold is warmed up: that of its parameters. It is not used where From is 0.
	Window int64
	// Progress, if not nil, is called after each chunk with the position and the end that is to be reached.
	Progress func(position, end int64)
}

// Result is what the log held.
type Result struct {
	// Totals by link, of the records [From, Next). A link without clicks is not in it.
	Totals map[string]fold.Total
	// Minutes since Request.MinutesSince by number, and in each its links; no AtMs is known there.
	Minutes map[int64]map[string]fold.Total
	// Start is the first offset of the log.
	Start int64
	// From is where counting began: Request.From, or Start where that is later. If it is neither 0 nor what was asked
	// for, the totals are those of what retention has left, not of the link's whole life.
	From int64
	// Next is the offset at which the totals are true: Until, or at least the end that the log had at the call.
	Next int64
	// Log is the log that all of it is of, zero where the source does not know.
	Log feed.LogID
	// Last is a copy of the last record in [From, Next); its key is nil where there was none.
	Last fold.Record
	// Duplicates, Poison and Holes are how many offsets of [From, Next) did not count, and why.
	Duplicates, Poison, Holes int64
}

// Run folds a stretch of a partition's log. It takes f for it, which saves the memory of a new one, and leaves it at
// Next. Errors of the source are returned as they come: nothing is tried again. It uses f and source until it returns.
func Run(ctx context.Context, source feed.Source, f *fold.Fold, req Request) (Result, error) {
	start, end, err := source.Bounds(ctx, req.Partition)
	if err != nil {
		return Result{}, fmt.Errorf("recounting partition %d: %w", req.Partition, err)
	}
	c := counter{fold: f, req: req, end: end, totals: make(map[string]*fold.Total, len(req.Links))}
	if req.Until != nil {
		if *req.Until > end {
			return Result{}, fmt.Errorf("recounting partition %d to %d: %w: it ends at %d", req.Partition, *req.Until, feed.ErrBeyondEnd, end)
		}
		c.end, c.cut = *req.Until, true
	}
	for _, link := range req.Links {
		c.totals[link] = new(fold.Total)
	}
	c.res = Result{Start: start, From: max(start, req.From), Minutes: make(map[int64]map[string]fold.Total)}
	c.res.Next = c.res.From
	if err := c.run(ctx, source); err != nil {
		return Result{}, fmt.Errorf("recounting: %w", err)
	}
	c.res.Totals = make(map[string]fold.Total, len(c.totals))
	for link, t := range c.totals {
		if t.Count > 0 {
			c.res.Totals[link] = *t
		}
	}
	return c.res, nil
}

// counter is a run.
type counter struct {
	fold   *fold.Fold
	req    Request
	end    int64
	cut    bool // the end is where counting ends, whatever the chunk has behind it
	totals map[string]*fold.Total
	res    Result
}

func (c *counter) run(ctx context.Context, source feed.Source) error {
	at := c.res.From
	if c.req.From > 0 {
		at = max(c.res.Start, c.res.From-c.req.Window)
	}
	c.fold.Reset(at)
	reader := feed.NewReader(source, c.req.Partition, at)
	defer reader.Close()
	for c.res.Next < c.end {
		chunk, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if err := c.sameLog(chunk.Marks.Log); err != nil {
			return err
		}
		c.count(chunk)
		if c.req.Progress != nil {
			c.req.Progress(c.res.Next, c.end)
		}
	}
	return nil
}

// errOtherLog reports a topic that was created anew while it was counted.
var errOtherLog = errors.New("the topic was created anew meanwhile")

// sameLog makes sure that the stretch is of one log.
func (c *counter) sameLog(log feed.LogID) error {
	if c.res.Log.IsZero() {
		c.res.Log = log
	}
	if c.res.Log != log {
		return errOtherLog
	}
	return nil
}

func (c *counter) count(chunk *feed.Chunk) {
	next := chunk.Next
	if c.cut {
		next = min(next, c.end)
	}
	var last *fold.Record
	records := int64(0)
	for i := range chunk.Records {
		rec := &chunk.Records[i]
		if rec.Offset >= next {
			break
		}
		if rec.Offset < c.res.From {
			c.fold.Warm(*rec)
			continue
		}
		records++
		last = rec
		switch c.fold.Add(*rec) {
		case fold.Counted:
			c.add(rec)
		case fold.Duplicate:
			c.res.Duplicates++
		case fold.Poison:
			c.res.Poison++
		case fold.Stale: // a reader never goes back
		}
	}
	c.fold.Skip(next)
	if next <= c.res.Next {
		return
	}
	c.res.Holes += next - c.res.Next - records
	c.res.Next = next
	if last != nil {
		c.res.Last = *last
		c.res.Last.Key, c.res.Last.Value = bytes.Clone(last.Key), bytes.Clone(last.Value)
	}
}

// add counts a click.
func (c *counter) add(rec *fold.Record) {
	t := c.totals[string(rec.Key)]
	if t == nil {
		if c.req.Links != nil {
			return
		}
		t = new(fold.Total)
		c.totals[string(rec.Key)] = t
	}
	_, bot := c.fold.Last()
	t.Add(bot, rec.TimeMs)
	minute := rec.TimeMs / 60_000
	if c.req.MinutesSince == 0 || minute < c.req.MinutesSince {
		return
	}
	links := c.res.Minutes[minute]
	if links == nil {
		links = make(map[string]fold.Total)
		c.res.Minutes[minute] = links
	}
	m := links[string(rec.Key)]
	m.Add(bot, 0)
	links[string(rec.Key)] = m
}
