package bench

import (
	"io"
	"net"
	"sync"
	"time"
)

// notifier waits for the connections of the load generator, so that one goroutine serves all of them: a thousand goroutines
// that read would cost the two cores that they share with the system under test more than the frames do. It belongs to
// that goroutine; only close may be called once it has ended.
type notifier interface {
	// add takes a connection over. Whenever it can be read, wait returns h; a Read of the line does not wait then, and
	// may bring nothing. A write does not wait unless the system has stopped reading.
	add(c net.Conn, h handler) (line, error)
	// wait returns whose lines can be read, as soon as there are any, or nobody at a time that may be over. What it
	// returns is valid until the next call.
	wait(until time.Time) ([]handler, error)
	// begin comes before the first wait, by the same goroutine, which ends after the last one.
	begin()
	// close closes all lines.
	close()
}

// line is a connection of a notifier. Its end shows as an error of Read.
type line = io.ReadWriteCloser

// handler is who a connection belongs to. An error ends the run.
type handler interface{ readable() error }

// watchers is the notifier for connections that are no sockets, as those of a simulation, and for systems without epoll: a
// goroutine waits for each.
type watchers struct {
	came  chan *watcher // bytes or an end; who sends waits until they were read
	done  chan struct{}
	group sync.WaitGroup
	lines []*watcher
	again []*watcher // not all of it was read
	ready []handler
	timer *time.Timer
}

func newWatchers() *watchers {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &watchers{came: make(chan *watcher), done: make(chan struct{}), timer: timer}
}

// watcher is one of their lines. The goroutine that reads and the one that polls take turns: came and next hand it over.
type watcher struct {
	net.Conn
	of     *watchers
	owner  handler
	next   chan struct{} // capacity 1: read on
	buf    [4 << 10]byte
	got    []byte
	err    error
	told   bool // the owner knows of what came
	closed bool
}

func (p *watchers) add(c net.Conn, h handler) (line, error) {
	w := &watcher{Conn: c, of: p, owner: h, next: make(chan struct{}, 1)}
	p.lines = append(p.lines, w)
	p.group.Go(w.watch)
	return w, nil
}

func (w *watcher) watch() {
	for {
		n, err := w.Conn.Read(w.buf[:])
		w.got, w.err = w.buf[:n], err
		select {
		case w.of.came <- w:
		case <-w.of.done:
			return
		}
		if err != nil {
			return
		}
		select {
		case <-w.next:
		case <-w.of.done:
			return
		}
	}
}

// Read hands out what has come, then the error that ended it.
func (w *watcher) Read(b []byte) (int, error) {
	if !w.told {
		return 0, nil // watch is reading
	}
	n := copy(b, w.got)
	w.got = w.got[n:]
	switch {
	case len(w.got) > 0:
		w.of.again = append(w.of.again, w)
	case w.err != nil:
		return n, w.err
	default:
		w.told = false
		w.next <- struct{}{}
	}
	return n, nil
}

// Close closes the connection; what came of it and was not read is forgotten.
func (w *watcher) Close() error {
	w.closed = true
	return w.Conn.Close()
}

func (p *watchers) begin() {}

func (p *watchers) wait(until time.Time) ([]handler, error) {
	p.ready = p.ready[:0]
	for _, w := range p.again {
		p.tell(w)
	}
	p.again = p.again[:0]
	if len(p.ready) > 0 {
		return p.ready, nil
	}
	p.timer.Reset(time.Until(until))
	select {
	case w := <-p.came:
		p.tell(w)
	case <-p.timer.C:
	}
	p.timer.Stop()
	return p.ready, nil
}

func (p *watchers) tell(w *watcher) {
	if !w.closed {
		w.told = true
		p.ready = append(p.ready, w.owner)
	}
}

func (p *watchers) close() {
	close(p.done)
	for _, w := range p.lines {
		_ = w.Close()
	}
	p.group.Wait()
}
