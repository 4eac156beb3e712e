package hub

import (
	"context"
	"errors"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// Config of a hub.
type Config struct {
	// Gateway is the name that `ready` states.
	Gateway string
	// Epoch of the deployment. All counts of a hub are of one epoch; a new one takes a new hub.
	Epoch int64
	// Heartbeat is the interval of heartbeat and ping. A peer that is silent for two of them is dead.
	Heartbeat time.Duration
	// Loops is how many event loops there are; 0 is one per core that the process may use.
	Loops int
	// Counts is where counts come from.
	Counts Counts
	// Revoked tells whether an identity has been revoked; nil: none ever is. It is called by the loops, concurrently, for each
	// session that joins or refreshes, and must be quick. See [Hub.Revoke].
	Revoked func(id *auth.Identity) bool
	// TimeOfDay is the clock that identities end by; nil is the system's. It may jump: all else goes by the monotonic clock.
	TimeOfDay func() time.Time
	// Metrics takes what happens.
	Metrics *Metrics
}

// Hub delivers counts to sessions. Its methods are safe for concurrent use.
type Hub struct {
	cfg       Config
	metrics   *Metrics
	beatEvery int64        // milliseconds
	names     maphash.Seed // of the names of connections
	loops     []*loop
	next      atomic.Uint64
	draining  atomic.Bool
}

// ErrDraining tells that the hub takes no new session.
var ErrDraining = errors.New("the gateway is draining")

// New returns a hub that takes sessions; they are served once Run runs.
func New(cfg Config) *Hub {
	if cfg.Loops <= 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	h := &Hub{cfg: cfg, metrics: cfg.Metrics, beatEvery: max(1, cfg.Heartbeat.Milliseconds()), names: maphash.MakeSeed()}
	for range cfg.Loops {
		h.loops = append(h.loops, newLoop(h))
	}
	return h
}

// Run serves the sessions until ctx ends. Then it drops those that are left and returns.
func (h *Hub) Run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, l := range h.loops {
		wg.Go(func() { l.run(ctx) })
	}
	wg.Wait()
	h.draining.Store(true)
}

// Join makes conn a session: `ready` goes out at once. id, which is never nil, says which links it may see. The connection
// must report its end by [Session.Gone].
func (h *Hub) Join(conn Conn, id *auth.Identity) (*Session, error) {
	if h.draining.Load() {
		return nil, ErrDraining
	}
	l := h.loops[h.next.Add(1)%uint64(len(h.loops))]
	s := &Session{loop: l, conn: conn, id: id}
	s.Heard()
	if !l.mail.put(post{session: s, kind: postJoin}) {
		return nil, ErrDraining
	}
	return s, nil
}

// Drain takes no new session, tells each one goodbye for the reason at a random moment within over, closes it, and
// returns when none is left or ctx ends. What happens to those that are left is Run's affair. Only the first call counts.
func (h *Hub) Drain(ctx context.Context, reason string, over time.Duration) error {
	h.draining.Store(true)
	var waits []*drainRequest
	for _, l := range h.loops {
		d := &drainRequest{reason: reason, over: over.Milliseconds(), gone: make(chan struct{})}
		if l.mail.put(post{kind: postDrain, drain: d}) {
			waits = append(waits, d)
		} else {
			close(d.gone)
		}
	}
	for i, d := range waits {
		select {
		case <-d.gone:
		case <-h.loops[i].ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
