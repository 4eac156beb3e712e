package follower

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// partition follows one partition.
type partition struct {
	id        int32
	epoch     int64
	window    int64
	source    feed.Source
	snapshots Snapshotter
	patience  time.Duration
	log       *zap.Logger
	metrics   *metrics
	trouble   *trouble
	position  prometheus.Gauge
	lag       prometheus.Gauge

	// wake tells the goroutine that reads totals that links are waiting.
	wake chan struct{}
	// reading is how the last read of totals ended, proven the life in which totals were seen to be of this log. Both
	// belong to that goroutine.
	reading string
	proven  int

	caughtUp   atomic.Bool
	completeTo atomic.Int64 // Unix nanoseconds; 0: the end of the log was never reached

	// mu guards what follows. It is held for a chunk of the log or for a stride of a stitch, never across I/O or a wait.
	mu   sync.Mutex
	fold *fold.Fold
	// warmUntil ends the warm-up: records below it enter the window and count nothing.
	warmUntil int64
	// life numbers the times from which on all totals are read again: the starts of the fold, and stops; 0: it was not
	// started yet. An answer that was asked for in an earlier life is not applied.
	life int
	// stopped is why the log is taken for another one than that of the counts, empty while it is not: no total is read.
	stopped string
	// origin is the log that the counts of all lives are of, zero while that is not known.
	origin feed.LogID
	// read is the trail of this life. The goroutine that follows the log alone writes to it, to its last record under mu.
	read    *trail
	links   map[string]*Watched
	waiting map[*Watched]struct{} // to be asked for next
	touched []*Watched            // changed in the chunk at hand; empty between chunks
}

func newPartition(id int32, cfg Config, deps Deps, m *metrics, t *trouble) *partition {
	return &partition{
		id:        id,
		epoch:     cfg.Epoch,
		window:    cfg.Fold.Window,
		source:    deps.Source,
		snapshots: deps.Snapshots,
		patience:  cfg.Patience,
		log:       deps.Log.With(zap.Int32("partition", id)),
		metrics:   m,
		trouble:   t,
		reading:   readLanded,
		position:  m.position.WithLabelValues(partitionLabel(id)),
		lag:       m.lag.WithLabelValues(partitionLabel(id)),
		wake:      make(chan struct{}, 1),
		read:      new(trail),
		fold:      fold.New(cfg.Fold),
		links:     make(map[string]*Watched),
		waiting:   make(map[*Watched]struct{}),
	}
}

func (p *partition) watch(link string, watcher Watcher) *Watched {
	w, isNew := p.addWatcher(link, watcher)
	if isNew {
		p.wakeReader()
	}
	return w
}

func (p *partition) addWatcher(link string, watcher Watcher) (w *Watched, isNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.links[link]
	if !ok {
		w = &Watched{p: p, link: link}
		p.links[link] = w
		p.enqueue(w)
		p.metrics.watched.Inc()
		p.metrics.waiting.Inc()
	}
	w.watchers = append(w.watchers, watcher)
	return w, !ok
}

// drop forgets a link. The caller holds p.mu.
func (p *partition) drop(w *Watched) {
	delete(p.links, w.link)
	delete(p.waiting, w)
	p.metrics.watched.Dec()
	if w.state != known {
		p.metrics.waiting.Dec()
	}
	w.state = released
}

// enqueue puts a link among those whose total is to be read. The caller holds p.mu.
func (p *partition) enqueue(w *Watched) {
	w.state = waiting
	p.waiting[w] = struct{}{}
}

func (p *partition) wakeReader() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// begin starts the fold anew at an offset. All totals are read again: what they were stitched to is gone.
func (p *partition) begin(from, warmUntil int64) {
	p.mu.Lock()
	p.fold.Reset(from)
	p.warmUntil = warmUntil
	p.forget()
	p.mu.Unlock()
	p.wakeReader()
}

// forget begins a new life, in which every total is read again. The caller holds p.mu.
func (p *partition) forget() {
	p.life++
	for _, w := range p.links {
		wasKnown := w.state == known
		p.enqueue(w)
		if wasKnown {
			p.metrics.waiting.Inc()
			w.changed()
		}
	}
}

// verdicts counts the records of a chunk.
type verdicts struct{ warm, counted, duplicate, poison int }

// apply folds a chunk and tells the watchers whose links changed.
func (p *partition) apply(records []fold.Record, next int64) (v verdicts) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range records {
		r := &records[i]
		if r.Offset < p.warmUntil {
			p.fold.Warm(*r)
			v.warm++
			continue
		}
		switch p.fold.Add(*r) {
		case fold.Counted:
			v.counted++
			if w := p.links[string(r.Key)]; w != nil {
				p.count(w, r)
			}
		case fold.Duplicate:
			v.duplicate++
		case fold.Poison:
			v.poison++
		case fold.Stale: // a reader never goes back
		}
	}
	p.fold.Skip(next)
	for i, w := range p.touched {
		w.touched = false
		w.changed()
		p.touched[i] = nil
	}
	p.touched = p.touched[:0]
	return v
}

// count adds the click that the fold took last to a watched link. The caller holds p.mu.
func (p *partition) count(w *Watched, r *fold.Record) {
	if w.state != known || r.Offset < w.from {
		return // its total comes later, and the ring has the click; or it is in the total already
	}
	_, bot := p.fold.Last()
	w.total.Add(bot, r.TimeMs)
	if !w.touched {
		w.touched = true
		p.touched = append(p.touched, w)
	}
}
