package tail

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/tail/accesslog"
)

const (
	// pollEvery is how often a log is looked at that had nothing new.
	pollEvery = 250 * time.Millisecond
	// chunkSize is how much of a log is read and delivered at once, and the longest line that is read.
	chunkSize = 256 << 10
	// startLooks is how often a rotation that is under way is waited for at the start.
	startLooks = 20
)

// follower reads a log through its rotations and delivers what it finds.
type follower struct {
	log      string // absolute
	name     string // part of the event ids
	position string // where the position is kept
	mapping  accesslog.Mapping
	poster   *client.Poster
	report   *report

	current *source   // at the log's path, nil: there is none now
	old     []*source // rotated away and not done with, the oldest first
	anchors []anchor  // generations that are done with, the one that was let go last at the end
	wanted  []wanted  // generations that are still to be found
	unsure  bool      // there may be generations that nobody has looked for
	strict  bool      // none of those that a kept position names was found yet
	buf     []byte
}

// start opens the log, where the kept position says if there is one.
func (f *follower) start() error {
	f.buf = make([]byte, chunkSize)
	p, err := loadPosition(f.position, f.log)
	if err != nil {
		return err
	}
	if p != nil {
		err = f.resume(p)
	} else {
		err = f.passHistory()
	}
	if err != nil {
		return err
	}
	// What is wanted is looked for before the log itself is opened, which may be it.
	for range startLooks {
		if err = f.scan(); !errors.Is(err, errMoved) {
			break
		}
	}
	if err == nil {
		err = f.look()
	}
	if err != nil {
		return err
	}
	return f.save() // if it is rotated before anything is acknowledged, the next start knows where it began
}

func (f *follower) close() {
	for _, s := range f.sources() {
		_ = s.file.Close() // it was only read
	}
}

// follow delivers what is there and what comes, until ctx ends.
func (f *follower) follow(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		if err := f.once(ctx); err != nil {
			return err
		}
		f.report.show(f.behind(), false)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.look(); err != nil {
			f.report.warn("%v; trying again", err) // a log that is being made may not be readable yet
		}
		f.retire()
	}
}

// once delivers what is there.
func (f *follower) once(ctx context.Context) error {
	for _, s := range f.sources() {
		for {
			more, err := f.step(ctx, s)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// sources returns what is being read, the oldest first.
func (f *follower) sources() []*source {
	all := append([]*source{}, f.old...)
	if f.current != nil {
		all = append(all, f.current)
	}
	return all
}

func (f *follower) behind() (n int64) {
	for _, s := range f.sources() {
		n += s.behind()
	}
	return n
}

// step reads, delivers and takes one chunk of a source. It waits for as long as ingest does not take the clicks: nothing is
// dropped, and the position does not move before they are acknowledged.
func (f *follower) step(ctx context.Context, s *source) (more bool, err error) {
	if same, err := s.unchanged(); err != nil || !same {
		return false, err // look finds out
	}
	c, err := s.read(f.buf)
	if err != nil {
		return false, fmt.Errorf("reading the log: %w", err)
	}
	if c.next == s.offset {
		return false, nil
	}
	// Truncated and written anew while it was read: the lines may be of either generation.
	if same, err := s.unchanged(); err != nil || !same {
		return false, err
	}
	clicks := f.clicks(s, c)
	if len(clicks) > 0 {
		_, err := f.poster.Deliver(ctx, clicks, client.Delivery{
			OnTrouble: func(err error, wait time.Duration) { f.report.trouble(err, wait, f.behind()) },
			OnRefused: func(_ int, err error) { f.report.refuse(err) },
		})
		if err != nil {
			return false, err
		}
	}
	s.take(c)
	f.report.count(c, len(clicks))
	if err := f.save(); err != nil {
		return false, err
	}
	f.report.show(f.behind(), false)
	return true, ctx.Err()
}

// clicks turns lines into clicks.
func (f *follower) clicks(s *source, c chunk) []client.Click {
	var clicks []client.Click
	for i, line := range c.lines {
		e, err := accesslog.Parse(line)
		if err != nil {
			f.report.skip(accesslog.ReasonFormat, c.offsets[i])
			continue
		}
		link, reason := f.mapping.Link(e)
		if reason != "" {
			f.report.skip(reason, c.offsets[i])
			continue
		}
		k := client.Click{
			Link: link, ID: eventID(f.name, s.print, c.offsets[i], line), At: e.Time,
			Referrer: e.Referrer, UserAgent: e.UserAgent,
		}
		if e.Method == http.MethodHead { // link checkers and previews look with HEAD; people follow with GET
			k.Bot = new(true)
		}
		clicks = append(clicks, k)
	}
	return clicks
}

// save keeps the position.
func (f *follower) save() error {
	p := position{Version: positionVersion, File: f.log, Sources: []place{}}
	for _, a := range f.anchors {
		if !slices.ContainsFunc(f.sources(), func(s *source) bool { return s.begun && s.print == a.print }) {
			p.Sources = append(p.Sources, place{Fingerprint: a.print.String(), Offset: a.offset, Done: true})
		}
	}
	for _, s := range f.sources() {
		if s.begun {
			done := s != f.current && s.behind() == 0
			p.Sources = append(p.Sources, place{Fingerprint: s.print.String(), Offset: s.offset, Done: done})
		}
	}
	return p.save(f.position)
}
