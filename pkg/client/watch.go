package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// Update is what there is to show of a link. Of updates that a reader is too slow for, it gets the newest.
type Update struct {
	Link string
	// Known tells that there is a count. Without one a display shows nothing, never 0.
	Known bool
	// Count is how many clicks count, those of bots included; Bots is how many of them known bots made.
	Count, Bots int64
	// Epoch and Seq say where in the log both are true. They alone order two counts of a link.
	Epoch, Seq int64
	// Delta is how much Count changed since the Update before from the same iterator; 0 in the first one and in the first
	// one of an epoch.
	Delta int64
	// At is when ingest received the newest click in it, zero if that is not known.
	At time.Time
	// Status is how the link stands on the connection of now. What is not [LinkLive] is not up to date.
	Status LinkStatus
}

// WatchOptions configures a [Watcher]. The zero value is a good one.
type WatchOptions struct {
	// Interval is the least time between two updates of a link, at most [wire.MaxInterval]; 0 is none.
	Interval time.Duration
	// StaleAfter is how far behind a gateway's counts may be before the phase is [PhaseStale]; default 10 s.
	StaleAfter time.Duration
	// ConnectTimeout bounds the making of a connection up to the gateway's first message; default 10 s.
	ConnectTimeout time.Duration
	// Tokens, if set, says who the client is: a token goes with each handshake, and is replaced in-band before it expires.
	// It goes as a header, so only https keeps it from whoever is between.
	Tokens TokenSource
	// HTTPClient makes the connections. Its Transport must speak HTTP/1.1 and return writable bodies for upgrades, as
	// http.Transport does. Default is one of the Watcher's own.
	HTTPClient *http.Client
	// OnState, if set, is told of each new state, in order and one at a time. OnMessage, if set, is given every message
	// before the client acts on it. Both are called by the Watcher's own goroutine: they must be quick and must not call
	// Close.
	OnState   func(State)
	OnMessage func(wire.ServerMessage)
}

// Watcher follows links on whichever of its gateways answers, for as long as it is open: it connects, resumes on another
// gateway when a connection is lost, and shows no number that is older than what it has shown. It keeps the client rules
// of PROTOCOL.md sections 3.3, 6 and 8.
//
// A Watcher is safe for concurrent use. Close it to end its goroutines.
type Watcher struct {
	opts   WatchOptions
	urls   []string
	own    *http.Transport // nil: the transport is the caller's
	wake   chan struct{}   // the ledger may have something to send
	done   chan struct{}   // closed when the Watcher has ended
	cancel context.CancelFunc
	pass   pass          // of the run goroutine
	ahead  time.Duration // how far the last gateway's clock was ahead; of the run goroutine

	mu     sync.Mutex // guards what follows; held briefly, never while waiting or calling back
	ledger ledger
	feeds  []*feed
	state  State
	stats  WatchStats
}

// WatchStats counts what a [Watcher] met.
type WatchStats struct {
	Connections int64 // that got as far as `ready`
	Messages    int64
	// Discarded are numbers that were older than what was shown, as a gateway that lags tells them. Violations are deltas
	// that did not add up; each is a defect of a gateway, and was healed by subscribing again. OldEpochs are connections
	// that were refused because their epoch was older than one seen before. Errors are `error` messages.
	Discarded, Violations, OldEpochs, Errors int64
	// LastError is the latest `error` message.
	LastError wire.Error
}

// NewWatcher returns a Watcher of the gateways at urls, like "http://gw.example:8081". It connects when there is a link to
// watch. Several URLs are tried in turn, from a random one on.
func NewWatcher(urls []string, opts WatchOptions) (*Watcher, error) {
	if len(urls) == 0 {
		return nil, errors.New("watching needs the URL of a gateway")
	}
	if opts.Interval < 0 || opts.Interval > wire.MaxInterval {
		return nil, fmt.Errorf("the interval must be from 0 to %v", wire.MaxInterval)
	}
	if opts.StaleAfter == 0 {
		opts.StaleAfter = 10 * time.Second
	}
	if opts.ConnectTimeout == 0 {
		opts.ConnectTimeout = 10 * time.Second
	}
	w := &Watcher{opts: opts, wake: make(chan struct{}, 1), done: make(chan struct{}), ledger: newLedger()}
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil || !slices.Contains([]string{"http", "https", "ws", "wss"}, u.Scheme) || u.Host == "" {
			return nil, fmt.Errorf("the address of a gateway must be a URL like http://127.0.0.1:8081, not %q", raw)
		}
		w.urls = append(w.urls, u.JoinPath("ws").String())
	}
	if opts.HTTPClient == nil {
		w.own = &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 5 * time.Second}
		w.opts.HTTPClient = &http.Client{Transport: w.own}
	}
	w.state = State{Phase: PhaseIdle, Since: time.Now()}
	ctx, cancel := context.WithCancel(context.Background()) //nolint:forbidigo // the Watcher's own life: Close ends it
	w.cancel = cancel
	go w.run(ctx)
	return w, nil
}

// ErrTooManyLinks says that a Watcher would watch more links than a connection may.
var ErrTooManyLinks = fmt.Errorf("a connection may watch at most %d links", wire.MaxSubscriptions)

// Add begins to watch links. Those that are watched already stay as they are. On an error, which is [ErrTooManyLinks] or a
// *[click.LinkError], none is added.
func (w *Watcher) Add(links ...string) error {
	for _, link := range links {
		if err := click.CheckLink(link); err != nil {
			return fmt.Errorf("watching %q: %w", link, err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	fresh := 0
	for _, link := range slices.Compact(slices.Sorted(slices.Values(links))) {
		if e := w.ledger.entries[link]; e == nil || !e.wanted {
			fresh++
		}
	}
	if w.ledger.wanted+fresh > wire.MaxSubscriptions {
		return ErrTooManyLinks
	}
	for _, link := range links {
		if w.ledger.add(link) {
			w.changed(link)
		}
	}
	w.nudge()
	return nil
}

// Remove ends watching links. No update of them follows but what an iterator is yielding at this moment.
func (w *Watcher) Remove(links ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, link := range links {
		w.ledger.remove(link)
	}
	w.nudge()
}

// nudge wakes the writer, or the run loop where there is no connection. It never waits.
func (w *Watcher) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Get returns what is to be shown of a link now, without a Delta. False: it is not watched.
func (w *Watcher) Get(link string) (Update, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ledger.read(link)
}

// State returns the state of now.
func (w *Watcher) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Stats returns the counters.
func (w *Watcher) Stats() WatchStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	st := w.stats
	st.Discarded, st.Violations = w.ledger.discarded, w.ledger.violations
	return st
}

// Close ends the Watcher, its connection and its iterators, and waits for its goroutines. It may be called again.
func (w *Watcher) Close() {
	w.cancel()
	<-w.done
	if w.own != nil {
		w.own.CloseIdleConnections()
	}
}

// Updates iterates over changes for as long as ctx lasts: first what is known of each watched link, then each change. A
// reader that is slow gets the newest of each link, however many there were. It ends without an error when ctx or the
// Watcher ends; the only error that it yields is a *[StoppedError], once and last.
func (w *Watcher) Updates(ctx context.Context) iter.Seq2[Update, error] {
	return func(yield func(Update, error) bool) {
		f := w.open()
		defer w.leave(f)
		for {
			ended := w.ended()
			for u, ok := w.take(f); ok; u, ok = w.take(f) {
				if ctx.Err() != nil || !yield(u, nil) {
					return
				}
			}
			if ended {
				if stopped := (*StoppedError)(nil); errors.As(w.State().Err, &stopped) {
					yield(Update{}, stopped)
				}
				return
			}
			select {
			case <-f.wake:
			case <-w.done:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (w *Watcher) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// feed is one iterator: the links that changed since it looked, each once.
type feed struct {
	wake  chan struct{}
	dirty []string
	marks map[string]struct{} // the links in dirty
	// last is what was yielded of each link, which deltas count from.
	last map[string]click.Count
}

func (w *Watcher) open() *feed {
	f := &feed{wake: make(chan struct{}, 1), marks: make(map[string]struct{}), last: make(map[string]click.Count)}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.feeds = append(w.feeds, f)
	links := make([]string, 0, len(w.ledger.entries))
	for link := range w.ledger.entries {
		links = append(links, link)
	}
	slices.Sort(links)
	for _, link := range links {
		f.mark(link)
	}
	return f
}

func (w *Watcher) leave(f *feed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.feeds = slices.DeleteFunc(w.feeds, func(o *feed) bool { return o == f })
}

// mark notes that a link changed. Its memory is bounded by the links: each is noted once.
func (f *feed) mark(link string) {
	if _, ok := f.marks[link]; ok {
		return
	}
	f.marks[link] = struct{}{}
	f.dirty = append(f.dirty, link)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// changed notes for every iterator that links changed. The caller holds the lock.
func (w *Watcher) changed(links ...string) {
	for _, f := range w.feeds {
		for _, link := range links {
			f.mark(link)
		}
	}
}

// take returns the next change of an iterator, if there is one.
func (w *Watcher) take(f *feed) (Update, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(f.dirty) > 0 {
		link := f.dirty[0]
		f.dirty = f.dirty[1:]
		delete(f.marks, link)
		u, ok := w.ledger.read(link)
		if !ok {
			delete(f.last, link)
			continue
		}
		if u.Known {
			if last, ok := f.last[link]; ok && last.Epoch == u.Epoch {
				u.Delta = u.Count - last.Count
			}
			f.last[link] = click.Count{Epoch: u.Epoch, Seq: u.Seq, Count: u.Count, Bots: u.Bots}
		}
		return u, true
	}
	return Update{}, false
}
