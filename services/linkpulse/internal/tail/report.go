package tail

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/tail/accesslog"
)

// reasonTooLong is why a line is no click that was not even read.
const reasonTooLong accesslog.Reason = "too_long"

// report counts what became of every line, and says it.
type report struct {
	stdout, stderr io.Writer
	terminal, json bool

	lines, clicks, refused, lost int64
	skipped                      map[accesslog.Reason]int64
	pending                      int64 // refused ones of the chunk that is being delivered
	begun                        time.Time

	shown       time.Time // when progress was shown last
	shownLines  int64     // and of how many lines
	drawn       bool      // there is a progress line to clear
	lastTrouble time.Time
	lastWarning string
}

func newReport(env Env, asJSON bool) *report {
	r := &report{
		stdout: env.Stdout, stderr: env.Stderr, terminal: env.Terminal, json: asJSON,
		begun: time.Now(), shown: time.Now(), skipped: map[accesslog.Reason]int64{reasonTooLong: 0},
	}
	for _, reason := range accesslog.Reasons() {
		r.skipped[reason] = 0
	}
	return r
}

// skip counts a line that is no click. Of those that should perhaps be one, the first is pointed at.
func (r *report) skip(reason accesslog.Reason, offset int64) {
	r.skipped[reason]++
	if r.skipped[reason] == 1 && (reason == accesslog.ReasonFormat || reason == accesslog.ReasonLink) {
		r.warn("the line at byte %d is no click (%s); more of that kind are only counted", offset, reason)
	}
}

// refuse counts a click that ingest does not take.
func (r *report) refuse(err error) {
	r.pending++
	if r.refused == 0 && r.pending == 1 {
		r.warn("a click is refused, more are only counted: %v", err)
	}
}

// count takes a chunk into account that was delivered, with so many clicks.
func (r *report) count(c chunk, clicks int) {
	r.lines += int64(len(c.lines) + c.tooLong)
	r.skipped[reasonTooLong] += int64(c.tooLong)
	r.refused += r.pending
	r.clicks += int64(clicks) - r.pending
	r.pending = 0
}

// lose counts and tells a loss.
func (r *report) lose(format string, args ...any) {
	r.lost++
	r.warn(format, args...)
}

// warn tells something once, until something else was told.
func (r *report) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if text == r.lastWarning {
		return
	}
	r.lastWarning = text
	r.clear()
	_, _ = fmt.Fprintf(r.stderr, "linkpulse tail: %s\n", text) // there is nobody else to tell
}

// troubleEvery is how often an outage of ingest is told of.
const troubleEvery = 10 * time.Second

// trouble tells that ingest does not take clicks, and that they wait.
func (r *report) trouble(err error, wait time.Duration, behind int64) {
	if wait == 0 || !r.lastTrouble.IsZero() && time.Since(r.lastTrouble) < troubleEvery {
		return
	}
	r.lastTrouble = time.Now()
	r.clear()
	_, _ = fmt.Fprintf(r.stderr, "linkpulse tail: %v; waiting, %s behind\n", err, size(behind)) // there is nobody else to tell
}

// How often progress is shown: on a terminal it replaces itself, in a file every line stays.
const (
	showEvery     = time.Second / 4
	showEveryLine = 10 * time.Second
)

// summary is what the command prints with --json.
type summary struct {
	Lines   int64                      `json:"lines"`
	Clicks  int64                      `json:"clicks"`  // acknowledged by ingest
	Refused int64                      `json:"refused"` // by ingest
	Skipped map[accesslog.Reason]int64 `json:"skipped"` // lines that are no clicks, by reason
	Lost    int64                      `json:"lost"`    // gaps in the log: see what was told of each
	Behind  int64                      `json:"behind"`  // bytes that are not delivered yet
	Done    bool                       `json:"done"`    // the last one
}

// show shows how far it is, if it is time to; final shows it in any case.
func (r *report) show(behind int64, final bool) {
	every := showEveryLine
	if r.terminal && !r.json {
		every = showEvery
	}
	if !final && (time.Since(r.shown) < every || r.shownLines == r.lines) {
		return
	}
	rate := float64(r.lines-r.shownLines) / max(time.Since(r.shown).Seconds(), 1e-3)
	if final {
		rate = float64(r.lines) / max(time.Since(r.begun).Seconds(), 1e-3)
	}
	r.shown, r.shownLines = time.Now(), r.lines
	if r.json {
		_ = json.NewEncoder(r.stdout).Encode(summary{ // who does not read it any more does not miss it
			Lines: r.lines, Clicks: r.clicks, Refused: r.refused, Skipped: r.skipped, Lost: r.lost, Behind: behind, Done: final,
		})
		return
	}
	text := r.text(rate, behind)
	r.clear()
	switch {
	case final:
		_, _ = io.WriteString(r.stdout, text+"\n") // see above
	case r.terminal:
		_, _ = io.WriteString(r.stderr, text)
		r.drawn = true
	default:
		_, _ = io.WriteString(r.stderr, text+"\n")
	}
}

func (r *report) text(rate float64, behind int64) string {
	parts := []string{fmt.Sprintf("%d lines", r.lines), fmt.Sprintf("%d clicks", r.clicks), fmt.Sprintf("%.0f lines/s", rate)}
	var skipped []string
	for _, reason := range append(accesslog.Reasons(), reasonTooLong) {
		if n := r.skipped[reason]; n > 0 {
			skipped = append(skipped, fmt.Sprintf("%s %d", reason, n))
		}
	}
	if len(skipped) > 0 {
		parts = append(parts, "no clicks: "+strings.Join(skipped, ", "))
	}
	if r.refused > 0 {
		parts = append(parts, fmt.Sprintf("%d refused", r.refused))
	}
	if r.lost > 0 {
		parts = append(parts, fmt.Sprintf("%d gaps", r.lost))
	}
	if behind > 0 {
		parts = append(parts, size(behind)+" behind")
	}
	return strings.Join(parts, " · ")
}

func (r *report) clear() {
	if r.drawn {
		_, _ = io.WriteString(r.stderr, "\r\x1b[K") // there is nobody else to tell
		r.drawn = false
	}
}

// size returns a number of bytes for people.
func size(n int64) string {
	const kib = 1024
	switch {
	case n >= kib*kib*kib:
		return fmt.Sprintf("%.1f GiB", float64(n)/(kib*kib*kib))
	case n >= kib*kib:
		return fmt.Sprintf("%.1f MiB", float64(n)/(kib*kib))
	case n >= kib:
		return fmt.Sprintf("%.1f KiB", float64(n)/kib)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
