package tail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"
)

// linger is how long a file is read on after the last line that came after it was rotated away: a web server goes on
// writing to it until it was told to open its log again, and its slowest workers longer.
const linger = 30 * time.Second

// wanted is a generation that is to be found among the rotated files, to be read from offset on.
type wanted struct {
	print  fingerprint
	offset int64
	// gone is told if it is not there; empty: it was read to its end and may be gone.
	gone string
}

// resume takes up a kept position: scan has to find what it names.
func (f *follower) resume(p *position) error {
	f.strict = len(p.Sources) > 0 // otherwise nothing was there: whatever is there now came after
	for _, pl := range p.Sources {
		generation, err := parseFingerprint(pl.Fingerprint)
		if err != nil {
			return fmt.Errorf("resuming: %w", err)
		}
		w := wanted{print: generation, offset: pl.Offset}
		if !pl.Done {
			w.gone = fmt.Sprintf("what followed byte %d of the log's generation %.12s is not to be found any more, "+
				"deleted or compressed while nobody read it", pl.Offset, pl.Fingerprint)
		}
		f.wanted = append(f.wanted, w)
	}
	f.unsure = true
	return nil
}

// errMoved says that a file was renamed between its being found and its being opened. Looking again helps.
var errMoved = errors.New("the log is being rotated")

// scan looks through the rotated files for generations that are wanted, and for those that came and were rotated away before
// anybody looked. After an error it can be called again and goes on.
func (f *follower) scan() error {
	if !f.unsure {
		return nil
	}
	found, err := siblings(f.log)
	if err != nil {
		return fmt.Errorf("looking for rotated files of %s: %w", f.log, err)
	}
	for len(f.wanted) > 0 {
		w := f.wanted[0]
		i := slices.IndexFunc(found, func(s sibling) bool { return s.print == w.print && s.size >= w.offset })
		switch {
		case i >= 0:
			if err := f.openAt(found[i], w.offset); err != nil {
				return err
			}
			f.strict = false
		case w.gone != "":
			f.report.lose("%s", w.gone)
		}
		f.settle(anchor{print: w.print, offset: w.offset})
		f.wanted = f.wanted[1:]
	}
	if f.strict && len(found) > 0 && found[0].path != f.log {
		f.report.lose("no file that the position names is there any more: rotated files are not read, because it cannot be told " +
			"which of them were")
	} else if err := f.catchUp(found); err != nil {
		return err
	}
	f.unsure, f.strict = false, false
	return nil
}

// catchUp opens the generations that nobody has read. What is older than everything that is known is left alone: it is
// history, perhaps of a file that was compressed at the first start and is not any more.
func (f *follower) catchUp(found []sibling) error {
	known := map[fingerprint]bool{}
	for _, a := range f.anchors {
		known[a.print] = true
	}
	for _, s := range f.sources() {
		if s.begun {
			known[s.print] = true
		}
	}
	oldest := slices.IndexFunc(found, func(s sibling) bool { return s.path != f.log && known[s.print] })
	for _, s := range found[max(0, oldest):] {
		if s.path == f.log || known[s.print] {
			continue
		}
		known[s.print] = true
		if err := f.openAt(s, 0); err != nil {
			return err
		}
	}
	return nil
}

// openAt adds a generation to be read from offset on: as the current one if it lies at the log's own path.
func (f *follower) openAt(at sibling, offset int64) error {
	s, err := openSource(at.path, offset)
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved
	}
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	if !s.begun || s.print != at.print || at.path == f.log && f.current != nil {
		return errors.Join(errMoved, s.file.Close())
	}
	if at.path == f.log {
		f.current = s
	} else {
		f.old = append(f.old, s)
	}
	return nil
}

// look finds out what became of the log since the last time: nothing, replaced by another file, or truncated. After an error
// it can be called again and goes on.
func (f *follower) look() error {
	if f.current != nil {
		same, err := f.current.unchanged()
		if err != nil {
			return fmt.Errorf("looking at the log: %w", err)
		}
		if !same {
			f.truncated()
		}
		if !f.current.begun || f.current.fresh { // an empty file may have been filled, copied and emptied since
			f.current.fresh, f.unsure = false, true
		}
	}
	same, err := f.inPlace()
	if err != nil {
		return fmt.Errorf("looking at the log: %w", err)
	}
	if !same {
		if err := f.replaced(); err != nil {
			return err
		}
	}
	return f.scan()
}

// inPlace tells whether the current file is the one at the log's path.
func (f *follower) inPlace() (bool, error) {
	st, err := os.Stat(f.log)
	if errors.Is(err, fs.ErrNotExist) || err == nil && f.current == nil {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	mine, err := f.current.file.Stat()
	return err == nil && os.SameFile(st, mine), err
}

// replaced goes on with the file that is now at the log's path, if there is one: between a rename and the web server's
// opening of a new one there is none. The one before is read on, because web servers write to it for a while.
func (f *follower) replaced() error {
	f.unsure = true // files may have come and gone between two looks
	if f.current != nil {
		f.current.lastNew = time.Now()
		f.old = append(f.old, f.current)
		f.current = nil
	}
	s, err := openSource(f.log, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	f.current = s
	for i, o := range f.old {
		if s.begun && o.begun && o.print == s.print { // moved away and back
			s.offset, s.skipping = o.offset, o.skipping
			f.old = slices.Delete(f.old, i, i+1)
			return o.file.Close()
		}
	}
	return nil
}

// truncated goes on with a file that was emptied in place (logrotate's copytruncate). What had not been read is in the copy
// that was made before, if there is one.
func (f *follower) truncated() {
	was := f.current
	if was.begun {
		f.wanted = append(f.wanted, wanted{
			print: was.print, offset: was.offset,
			gone: fmt.Sprintf("the log was truncated, and there is no copy of it: lines that came after byte %d, if any did, are lost", was.offset),
		})
		f.unsure = true
	}
	was.offset, was.begun, was.skipping = 0, false, false
}

// anchor is a generation that was let go, or was history at the first start. They are kept with the position and mark
// which rotated files are done with.
type anchor struct {
	print  fingerprint
	offset int64
}

// maxAnchors is how many are kept: more than there are rotated files that are not compressed.
const maxAnchors = 128

// settle keeps an anchor.
func (f *follower) settle(a anchor) {
	f.anchors = slices.DeleteFunc(f.anchors, func(o anchor) bool { return o.print == a.print })
	f.anchors = append(f.anchors, a)
	f.anchors = f.anchors[max(0, len(f.anchors)-maxAnchors):]
}

// passHistory makes the rotated files that are there anchors: what is older than the log at the first start is history.
func (f *follower) passHistory() error {
	found, err := siblings(f.log)
	if err != nil {
		return fmt.Errorf("looking for rotated files of %s: %w", f.log, err)
	}
	for _, s := range found {
		if s.path != f.log {
			f.settle(anchor{print: s.print, offset: s.size})
		}
	}
	return nil
}

// retire lets go of files that were rotated away and have been quiet for long enough.
func (f *follower) retire() {
	f.old = slices.DeleteFunc(f.old, func(s *source) bool {
		quiet, left := time.Since(s.lastNew), s.behind()
		if quiet < linger || left > 0 && quiet < 2*linger { // what came at this moment will be read
			return false
		}
		if left > 0 {
			f.report.warn("the last line of a rotated file has no end: %d bytes are left unread", left)
		}
		if s.begun {
			f.settle(anchor{print: s.print, offset: s.offset})
		}
		_ = s.file.Close() // it was only read
		return true
	})
}
