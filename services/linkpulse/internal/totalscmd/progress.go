package totalscmd

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress draws a bar. Its zero value draws none.
type progress struct {
	bar *progressbar.ProgressBar
	at  int64 // of the partition that is being counted
}

// drawEvery keeps a terminal from being what a count waits for.
const drawEvery = 100 * time.Millisecond

// newProgress returns a bar on standard error, if that is a terminal.
func newProgress(env Env, what string, total int64) *progress {
	if !env.Terminal || total == 0 {
		return &progress{}
	}
	return &progress{bar: progressbar.NewOptions64(total, progressbar.OptionSetWriter(env.Stderr), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(drawEvery))}
}

// begin begins a partition at an offset.
func (p *progress) begin(offset int64) { p.at = offset }

// move moves on to an offset. It has the form of recount's progress.
func (p *progress) move(offset, _ int64) {
	if p.bar != nil {
		_ = p.bar.Add64(offset - p.at) // a bar that cannot be drawn is no reason to stop
	}
	p.at = offset
}

// clear removes the bar for a line that is printed in its place; the next move draws it again.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// finish removes the bar.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
