package rest

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ledger is Counts and History by hand. A link is known at once unless it is made to sync.
type ledger struct {
	mu       sync.Mutex // guards what follows
	links    map[string]*account
	watches  map[string]int // how often each was watched first
	syncing  map[string]bool
	position int64
	floor    int64

	minutes []Minute
	next    int64 // where minutes are true
	err     error // of Minutes
	reads   int
	reading int // Minutes under way
}

// account is a link of a ledger.
type account struct {
	l        *ledger
	reading  Reading
	known    bool
	recent   []recentClick
	watchers map[Watcher]bool
}

type recentClick struct {
	offset, timeMs int64
	bot            bool
}

func newLedger() *ledger {
	return &ledger{links: map[string]*account{}, watches: map[string]int{}, syncing: map[string]bool{}}
}

func (l *ledger) account(link string) *account {
	a := l.links[link]
	if a == nil {
		a = &account{l: l, reading: Reading{Epoch: 3}, watchers: map[Watcher]bool{}}
		l.links[link] = a
	}
	return a
}

func (l *ledger) Watch(link string, w Watcher) Watched {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(link)
	if len(a.watchers) == 0 {
		l.watches[link]++
		a.known = !l.syncing[link]
	}
	a.watchers[w] = true
	return a
}

func (a *account) Read() (Reading, bool) {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	a.reading.Seq = a.l.position
	return a.reading, a.known && len(a.watchers) > 0
}

func (a *account) Recent(from int64, add func(timeMs int64, bot bool)) (Reading, int64, bool) {
	r, ok := a.Read()
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	if from >= a.l.position || from < a.l.floor {
		return r, from, ok
	}
	for _, c := range a.recent {
		if c.offset >= from {
			add(c.timeMs, c.bot)
		}
	}
	return r, a.l.position, ok
}

func (a *account) Release(w Watcher) {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	delete(a.watchers, w)
}

func (l *ledger) Minutes(ctx context.Context, _ string, from, to int64) (in []Minute, next int64, err error) {
	l.began(1)
	defer l.began(-1)
	l.mu.Lock()
	silent := errors.Is(l.err, context.DeadlineExceeded)
	l.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, 0, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.minutes {
		if m.Minute >= from && m.Minute < to {
			in = append(in, m)
		}
	}
	return in, l.next, l.err
}

// began notes that a read of minutes begins, or with -1 that it ends.
func (l *ledger) began(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reading += n
	l.reads += max(n, 0)
}

// readingNow returns how many reads of minutes are under way.
func (l *ledger) readingNow() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reading
}

// click counts a click of now.
func (l *ledger) click(link string, bot bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.account(link)
	now := time.Now().UnixMilli()
	a.recent = append(a.recent, recentClick{l.position, now, bot})
	l.position++
	a.reading.Count++
	if bot {
		a.reading.Bots++
	}
	a.reading.At = now
	for w := range a.watchers {
		w.Changed()
	}
}

// land makes a link that is syncing known.
func (l *ledger) land(link string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.syncing, link)
	a := l.account(link)
	a.known = true
	for w := range a.watchers {
		w.Changed()
	}
}

func (l *ledger) watched() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.links {
		n += len(a.watchers)
	}
	return n
}
