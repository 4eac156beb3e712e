package watchcmd

import (
	"time"

	"github.com/linkpulse/linkpulse/pkg/client"
)

const (
	// rateWindow is what the rate is an average of: short enough to show that something happens, long enough to be read.
	rateWindow = 10 * time.Second
	// fade is how long a delta is shown, brightFade how long it is bright.
	fade       = 3 * time.Second
	brightFade = time.Second
)

// row is what the table shows of a link.
type row struct {
	update client.Update
	// delta is the sum of what came lately, and deltaAt when the last of it came.
	delta   int64
	deltaAt time.Time
	recent  []gain // within rateWindow
}

// gain is clicks that were told at a moment.
type gain struct {
	at time.Time
	n  int64
}

// board is what is known of every link, in the order in which they were asked for. It is not safe for concurrent use.
type board struct {
	links []string
	rows  map[string]*row
	state client.State
	shown int // changes of counts
}

func newBoard(links []string) *board {
	b := &board{rows: make(map[string]*row, len(links))}
	for _, link := range links {
		if _, twice := b.rows[link]; !twice {
			b.links = append(b.links, link)
			b.rows[link] = &row{update: client.Update{Link: link}}
		}
	}
	return b
}

// apply takes an update.
func (b *board) apply(u client.Update, now time.Time) {
	r := b.rows[u.Link]
	if r == nil {
		return
	}
	if u.Known && u.Status == client.LinkLive {
		b.shown++
	}
	if u.Delta != 0 {
		if now.Sub(r.deltaAt) > brightFade {
			r.delta = 0
		}
		r.delta += u.Delta
		r.deltaAt = now
		r.recent = append(r.recent, gain{now, u.Delta})
	}
	r.update = u
	r.forget(now)
}

// forget lets go of what is too old for the rate.
func (r *row) forget(now time.Time) {
	n := 0
	for n < len(r.recent) && now.Sub(r.recent[n].at) >= rateWindow {
		n++
	}
	r.recent = r.recent[n:]
}

// rate returns clicks per second over the last rateWindow.
func (r *row) rate(now time.Time) float64 {
	r.forget(now)
	sum := int64(0)
	for _, g := range r.recent {
		sum += g.n
	}
	return float64(sum) / rateWindow.Seconds()
}
