package follower

import (
	"slices"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
)

// Reading is a count and the record time of the newest click in it.
type Reading struct {
	click.Count
	// At is the record time of the newest counted click, Unix milliseconds; 0 where it is not known.
	At int64
}

// Watched is the count of a link that somebody watches. All watchers of a link share one. It is safe for concurrent use.
type Watched struct {
	p    *partition
	link string

	// What follows is guarded by p.mu.

	watchers []Watcher
	state    state
	total    fold.Total
	// from is the offset at which the total was true when it was read: live records below it are in it.
	from int64
	// touched marks a link that is on its partition's list of changed ones.
	touched bool
}

// state of a link's total.
type state uint8

const (
	waiting state = iota // for the next read
	asked                // in the read that is under way
	known
	released // by its last watcher: nothing may be applied to it any more
)

// Link returns the link's id.
func (w *Watched) Link() string { return w.link }

// Read returns the link's count and where in the log it is true, all of one moment. It returns false while the total is
// not there: the link is syncing. It does not allocate.
func (w *Watched) Read() (Reading, bool) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	if w.state != known {
		return Reading{}, false
	}
	return w.reading(), true
}

// reading is the count of now. The caller holds p.mu, and the total is known.
func (w *Watched) reading() Reading {
	return Reading{
		Count: click.Count{
			Epoch: w.p.epoch,
			Seq:   max(w.p.fold.Position(), w.from),
			Count: w.total.Count,
			Bots:  w.total.Bots,
		},
		At: w.total.AtMs,
	}
}

// Release ends what a call of Watch with the same watcher began. With the last watcher goes everything that was kept of
// the link. It does nothing for a watcher that is not there.
func (w *Watched) Release(watcher Watcher) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	i := slices.Index(w.watchers, watcher)
	if i < 0 {
		return
	}
	w.watchers = slices.Delete(w.watchers, i, i+1)
	if len(w.watchers) == 0 {
		w.p.drop(w)
	}
}

// changed tells the watchers. The caller holds p.mu.
func (w *Watched) changed() {
	for _, watcher := range w.watchers {
		watcher.Changed()
	}
}
