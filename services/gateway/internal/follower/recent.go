package follower

// Recent calls add for every click of the link that was counted in [from, to), in log order, and returns the count of the
// moment at which that was so. It is what brings a number that is true at from, and was read elsewhere, to where the count
// is: to is the position, unless the count is of totals that are ahead of it. Where the ring cannot tell any more what was
// counted from from on, or from is not behind the position, to is from and add is not called.
//
// It returns false while the link is syncing. add is called under the lock of the link's partition: it must return at
// once and not call back into this package.
func (w *Watched) Recent(from int64, add func(timeMs int64, bot bool)) (r Reading, to int64, ok bool) {
	life := w.p.currentLife()
	for to = from; ; {
		var done bool
		if r, to, done, ok = w.recentStride(life, to, add); done {
			return r, to, ok
		}
	}
}

// recentStride is one hold of the lock: a walk of the whole ring would hold up the log.
func (w *Watched) recentStride(life int, at int64, add func(timeMs int64, bot bool)) (r Reading, to int64, done, ok bool) {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.state != known || p.life != life {
		return Reading{}, at, true, false
	}
	position := p.fold.Position()
	if at < p.floor() || at >= position { // what was added so far is right, and there is no more to be had
		return w.reading(), at, true, true
	}
	to = min(at+stride, position)
	for c := range p.fold.Counted(at, to) {
		if string(c.Link) == w.link {
			add(c.TimeMs, c.Bot)
		}
	}
	return w.reading(), to, to == position, true
}

func (p *partition) currentLife() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}
