package simnet

import (
	"slices"
	"sync/atomic"
	"time"
)

// Path selects connections by their two ends. An empty field selects any.
type Path struct {
	From string // name of the host that dialled
	To   string // name of the host that listens, or the address that it listens on
}

func (p Path) matches(from, to, at string) bool {
	return (p.From == "" || p.From == from) && (p.To == "" || p.To == to || p.To == at)
}

// Way is a set of directions of a connection.
type Way uint8

// The ways of a connection.
const (
	ToListener Way = 1 << iota // what the dialling end writes
	ToDialer                   // what the accepting end writes
	Both       = ToListener | ToDialer
)

// index is the place of a single way in a connection's arrays.
func (w Way) index() int { return int(w) - 1 }

// Fault is a rule that the connections of a path obey, those that are open and those to come, until it is healed.
// Several faults of one connection add up.
type Fault struct {
	Path Path
	// Refuse makes dials fail at once with ECONNREFUSED. Open connections live on.
	Refuse bool
	// BlackHole stops those ways: what is written stays under way (until the buffer is full and the writer blocks), ends
	// of stream included, and dials wait. Once healed, everything arrives: TCP sends again, it never leaves gaps. Both
	// ways at once are what a paused or unplugged machine looks like.
	BlackHole Way
	// Delay is added to the time that each write takes to arrive, and Jitter is the most that chance adds to that. The
	// order of a stream is kept.
	Delay, Jitter time.Duration
	// Chop, where above 0, makes streams fall into pieces: a read returns 1 to Chop bytes.
	Chop int
	// CutWay and CutAfter reset a connection as soon as CutAfter bytes went those ways, counted from the injection, and
	// one more is written: with 0 and ToDialer a request arrives and its response does not. It happens to CutTimes
	// connections in all, 0 meaning one.
	CutWay   Way
	CutAfter int64
	CutTimes int
}

type fault struct {
	Fault
	cuts atomic.Int64 // how many connections are still to be cut
}

// Inject puts a fault in force. The returned function heals it; a second call does nothing.
func (n *Network) Inject(f Fault) (heal func()) {
	in := &fault{Fault: f}
	if f.CutWay != 0 {
		in.cuts.Store(int64(max(f.CutTimes, 1)))
	}
	n.setFaults(func(faults []*fault) []*fault { return append(faults, in) })
	return func() {
		n.setFaults(func(faults []*fault) []*fault {
			return slices.DeleteFunc(faults, func(o *fault) bool { return o == in })
		})
	}
}

// Heal removes every fault.
func (n *Network) Heal() {
	n.setFaults(func([]*fault) []*fault { return nil })
}

func (n *Network) setFaults(change func([]*fault) []*fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = change(slices.Clone(n.faults))
	for c := range n.conns {
		c.obey(n.faults)
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// Cut resets the open connections of a path, as a machine between the ends does that forgot them: what arrived can
// still be read, then both ends get ECONNRESET. It returns how many there were.
func (n *Network) Cut(p Path) int {
	open := n.open(p)
	for _, c := range open {
		c.cut()
	}
	return len(open)
}
