package fold

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// Version numbers this function of the log. Whoever changes what counts raises it; totals of two versions do not mix, and
// the deployment record says which one a deployment uses.
const Version = 1

// MaxWindow is the largest window: with link ids of full length its keys still fit 32-bit positions.
const MaxWindow = 1 << 24

// Params are part of a deployment's data: two parties that fold one log with different ones disagree about its counts.
type Params struct {
	// Window is how many offsets back a record can be a duplicate of another: [o-Window, o).
	Window int64
	// Within is how far apart, in record time, two duplicates are at most (exclusive).
	Within time.Duration
}

// Check reports parameters that no fold can have.
func (p Params) Check() error {
	var errs []error
	if p.Window < 1 || p.Window > MaxWindow {
		errs = append(errs, fmt.Errorf("window is %d offsets, must be 1 to %d", p.Window, MaxWindow))
	}
	if p.Within < time.Millisecond {
		errs = append(errs, fmt.Errorf("within is %v, must be at least 1ms", p.Within))
	}
	return errors.Join(errs...)
}

// Record is a record of the log. Key and Value are only borrowed: a Fold keeps copies of what it needs.
type Record struct {
	Offset int64
	// TimeMs is the record's timestamp in Unix milliseconds: when ingest received the click.
	TimeMs     int64
	Key, Value []byte
}

// Verdict is what a fold says of a record.
type Verdict uint8

// The verdicts.
const (
	// Counted is a click that counts.
	Counted Verdict = iota
	// Duplicate is a click that the window has seen.
	Duplicate
	// Poison is a record that is no click: see [click.Scan].
	Poison
	// Stale is a record below the fold's position, which changed nothing: a fetch answers with whole batches.
	Stale
)

// String returns the verdict as metrics name it.
func (v Verdict) String() string {
	switch v {
	case Counted:
		return "counted"
	case Duplicate:
		return "duplicate"
	case Poison:
		return "poison"
	default:
		return "stale"
	}
}

// Total is what a stretch of the log adds up to for one link.
type Total struct {
	// Count is how many clicks count, bots included; Bots is how many of them were bots.
	Count, Bots int64
	// AtMs is the record time of the newest counted click in log order, Unix milliseconds; 0 where it is not known.
	AtMs int64
}

// Add counts one click more.
func (t *Total) Add(bot bool, atMs int64) {
	t.Count++
	if bot {
		t.Bots++
	}
	t.AtMs = atMs
}

// Plus returns t followed in the log by o.
func (t Total) Plus(o Total) Total {
	t.Count += o.Count
	t.Bots += o.Bots
	if o.AtMs != 0 {
		t.AtMs = o.AtMs
	}
	return t
}

// Fold folds one partition. It is not safe for concurrent use.
type Fold struct {
	window

	within uint64 // milliseconds

	// warmed is where warm-up ended: of the records below it, nothing is known about what counted.
	warmed int64
	// last is the entry of the record that was added last; nil where it has none.
	last *entry
}

// New returns a fold that expects the record at offset 0. It panics where p.Check reports an error: parameters come from
// the deployment record, which was checked when it was read.
func New(p Params) *Fold {
	if err := p.Check(); err != nil {
		panic(fmt.Sprintf("fold: %v", err))
	}
	return &Fold{window: newWindow(int(p.Window)), within: uint64(p.Within.Milliseconds())} //nolint:gosec // at least 1 ms
}

// Reset forgets everything; the next record is expected at from.
func (f *Fold) Reset(from int64) {
	f.reset(max(from, 0))
	f.warmed = f.position
	f.last = nil
}

// Position is the next offset: records [.., Position) were folded.
func (f *Fold) Position() int64 { return f.position }

// Floor is the oldest offset from which the fold can tell what was counted: [Fold.Counted] is complete from there on. A
// fold that was just reset has a floor too, its position: nothing was counted there, and that is known.
func (f *Fold) Floor() int64 { return max(f.warmed, f.position-f.size()) }

// Warm enters a record in the window without counting it: later records can be its duplicates, and Counted never yields
// it. Records below the position change nothing.
func (f *Fold) Warm(r Record) {
	if f.enter(r, false) != Stale {
		f.warmed = f.position
	}
}

// Add folds a record. A gap between the position and the record is taken for a hole, as [Fold.Skip] does: the caller has
// made sure that nothing is there.
func (f *Fold) Add(r Record) Verdict { return f.enter(r, true) }

// Skip moves the position to next over offsets that hold no record. It does nothing if next is not ahead.
func (f *Fold) Skip(next int64) {
	if next > f.position {
		f.skip(next)
		f.last = nil
	}
}

// Last returns the link and the bot flag of the click that Add or Warm took last; the link is nil after a record that is
// no click. It is valid until the next call of a method that changes the fold.
func (f *Fold) Last() (link []byte, bot bool) {
	if f.last == nil {
		return nil, false
	}
	return f.link(f.last), f.last.flags&flagBot != 0
}

// Click is a counted click, as [Fold.Counted] yields it.
type Click struct {
	Offset, TimeMs int64
	// Link is only borrowed until the iteration goes on.
	Link []byte
	Bot  bool
}

// Counted yields the clicks counted in [from, to), in log order. It yields what the ring holds: whoever needs all of them
// makes sure that from is not below [Fold.Floor]. The fold must not change meanwhile.
func (f *Fold) Counted(from, to int64) iter.Seq[Click] {
	return func(yield func(Click) bool) {
		from, to := max(from, f.position-f.size(), 0), min(to, f.position)
		for o := from; o < to; o++ {
			e := f.at(o)
			if e.flags&flagCounted == 0 {
				continue
			}
			if !yield(Click{Offset: o, TimeMs: e.time, Link: f.link(e), Bot: e.flags&flagBot != 0}) {
				return
			}
		}
	}
}

func (f *Fold) enter(r Record, count bool) Verdict {
	if r.Offset < f.position {
		return Stale
	}
	f.Skip(r.Offset)
	id, bot, err := click.Scan(r.Key, r.Value)
	if err != nil {
		f.pushNothing()
		f.last = nil
		return Poison
	}
	e := entry{time: r.TimeMs}
	if bot {
		e.flags = flagBot
	}
	key := f.keyOf(id, r.Key)
	verdict := Counted
	if !id.IsZero() {
		e.tag, e.prev = f.chain(key)
		if count && f.seen(&e, key, f.within) {
			verdict = Duplicate
		}
	}
	if count && verdict == Counted {
		e.flags |= flagCounted
	}
	f.last = f.push(e, key)
	return verdict
}
