package hub

import (
	"sync"
	"time"
)

// fakeCounts are counts by hand. A link is known at once unless it was made to sync.
type fakeCounts struct {
	mu         sync.Mutex
	links      map[string]*fakeWatched
	syncing    map[string]bool
	position   int64
	completeTo time.Time
}

type fakeWatched struct {
	c        *fakeCounts
	link     string
	reading  Reading
	known    bool
	watchers map[Watcher]bool
}

func newFakeCounts() *fakeCounts {
	return &fakeCounts{links: map[string]*fakeWatched{}, syncing: map[string]bool{}}
}

func (f *fakeCounts) Watch(link string, w Watcher) Watched {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.link(link)
	if len(l.watchers) == 0 {
		l.known = !f.syncing[link]
	}
	l.watchers[w] = true
	return l
}

func (f *fakeCounts) CompleteTo() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.completeTo
}

func (f *fakeCounts) link(link string) *fakeWatched {
	l := f.links[link]
	if l == nil {
		l = &fakeWatched{c: f, link: link, watchers: map[Watcher]bool{}}
		f.links[link] = l
	}
	return l
}

// click counts n clicks of a link in one chunk of the log.
func (f *fakeCounts) click(link string, n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.position += n
	l := f.link(link)
	l.reading.Count += n
	l.reading.At = time.Now().UnixMilli()
	l.changed()
}

// land makes the total of a link known, or, with false, unknown again.
func (f *fakeCounts) land(link string, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.syncing[link] = !known
	l := f.link(link)
	l.known = known
	l.changed()
}

// watched counts the links that somebody watches.
func (f *fakeCounts) watched() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.links {
		if len(l.watchers) > 0 {
			n++
		}
	}
	return n
}

func (w *fakeWatched) changed() {
	for watcher := range w.watchers {
		watcher.Changed()
	}
}

func (w *fakeWatched) Read() (Reading, bool) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	r := w.reading
	r.Seq = w.c.position
	return r, w.known
}

func (w *fakeWatched) Release(watcher Watcher) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	if !w.watchers[watcher] {
		panic("released by somebody who does not watch: " + w.link)
	}
	delete(w.watchers, watcher)
}

func (f *fakeCounts) count(link string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.link(link).reading.Count
}

func (f *fakeCounts) isKnown(link string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.syncing[link]
}
