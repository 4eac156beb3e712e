package devcmd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/traffic"
)

// progress shows, once a second, what came in and what went out: drawn over itself on a terminal, a line every ten seconds
// elsewhere.
type progress struct {
	out      io.Writer
	terminal bool
	sender   *client.Sender
	visits   *traffic.Stats // nil: nobody is made up
	metrics  prometheus.Gatherer

	delivered int64
	frames    float64
}

const (
	drawEvery  = time.Second
	printEvery = 10 * time.Second
)

func (p *progress) run(ctx context.Context) {
	every := printEvery
	if p.terminal {
		every = drawEvery
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			if p.terminal {
				_, _ = fmt.Fprintln(p.out)
			}
			return
		case <-ticker.C:
			line := p.line(every)
			if p.terminal {
				line = "\r\x1b[K  " + line
			} else {
				line += "\n"
			}
			_, _ = io.WriteString(p.out, line) // whoever closed the terminal does not read it
		}
	}
}

func (p *progress) line(every time.Duration) string {
	st := p.sender.Stats()
	sums := p.sums()
	frames := sums["linkpulse_gateway_frames_sent_total"]
	seconds := every.Seconds()
	parts := []string{
		fmt.Sprintf("%d clicks (%.0f/s)", st.Delivered, float64(st.Delivered-p.delivered)/seconds),
		fmt.Sprintf("%.0f dashboards", sums["linkpulse_gateway_sessions"]),
		fmt.Sprintf("%.0f frames/s", (frames-p.frames)/seconds),
	}
	p.delivered, p.frames = st.Delivered, frames
	if st.Pending > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting", st.Pending))
	}
	for reason, n := range st.Dropped {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d dropped (%s)", n, reason))
		}
	}
	if p.visits != nil {
		if n := p.visits.Failed.Load() + p.visits.Skipped.Load(); n > 0 {
			parts = append(parts, fmt.Sprintf("%d visits failed", n))
		}
	}
	return strings.Join(parts, " · ")
}

// sums returns each counter and gauge, summed over its labels.
func (p *progress) sums() map[string]float64 {
	families, err := p.metrics.Gather()
	if err != nil {
		return nil // a part is restarting
	}
	sums := make(map[string]float64, len(families))
	for _, f := range families {
		for _, m := range f.GetMetric() {
			// A metric has one of the two, or neither; the getters of what is not there return 0.
			sums[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sums
}
