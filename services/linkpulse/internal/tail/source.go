package tail

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// fingerprint names a generation of a log: the hash of its first line. It stays the same when the file is renamed or
// copied, and changes when the file is truncated and written anew, which is what device and inode tell wrong: they are
// given to another file once the log is gone, stay the same through copytruncate, and differ for the copy.
type fingerprint [sha256.Size]byte

// printed is how much of a first line is looked at.
const printed = 4096

func (f fingerprint) String() string { return hex.EncodeToString(f[:]) }

func parseFingerprint(s string) (f fingerprint, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(f) {
		return f, fmt.Errorf("%q is no fingerprint", s)
	}
	return fingerprint(b), nil
}

// readFingerprint returns the fingerprint of a file, or false while its first line is not complete.
func readFingerprint(r io.ReaderAt) (f fingerprint, ok bool, err error) {
	var b [printed]byte
	n, err := r.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return f, false, err
	}
	if end := bytes.IndexByte(b[:n], '\n'); end >= 0 {
		return sha256.Sum256(b[:end+1]), true, nil
	}
	if n == len(b) {
		return sha256.Sum256(b[:]), true, nil
	}
	return f, false, nil
}

// eventID derives the id of a click from where its line stands: the name that the operator gave this log, the
// generation, the offset, and the line itself. Reading a line again, from the file, from its renamed or copied self, or
// after a crash, gives the same id. The line is part of it because two servers behind one balancer can begin a log with
// the same line: the same health check in the same second.
//
// The form is a UUIDv8 (RFC 9562 section 5.8): 122 bits of SHA-256.
func eventID(name string, generation fingerprint, offset int64, line []byte) click.ID {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(name)))
	h.Write(n[:])
	_, _ = io.WriteString(h, name) // a hash takes everything
	h.Write(generation[:])
	binary.BigEndian.PutUint64(n[:], uint64(offset)) //nolint:gosec // offsets are not negative
	h.Write(n[:])
	h.Write(line)
	var id click.ID
	copy(id[:], h.Sum(nil))
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

// source is a generation of the log that is being read.
type source struct {
	file   *os.File
	print  fingerprint
	begun  bool // print is known: the first line is there
	fresh  bool // it came since somebody looked
	offset int64
	// lastNew is when a line was read last. A file that was rotated away is let go some time after.
	lastNew time.Time
	// skipping tells that offset is within a line that is too long.
	skipping bool
}

// openSource opens a file to be read from offset on.
func openSource(path string, offset int64) (*source, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &source{file: file, offset: offset, lastNew: time.Now()}
	if _, err := s.unchanged(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return s, nil
}

// unchanged tells whether the file still is the generation that it was, and not truncated and written anew.
func (s *source) unchanged() (bool, error) {
	st, err := s.file.Stat()
	if err != nil {
		return false, err
	}
	if st.Size() < s.offset {
		return false, nil
	}
	f, ok, err := readFingerprint(s.file)
	switch {
	case err != nil:
		return false, err
	case !ok:
		return !s.begun, nil
	case !s.begun:
		s.print, s.begun, s.fresh = f, true, true
	}
	return f == s.print, nil
}

// chunk is a run of lines of a source.
type chunk struct {
	lines   [][]byte // complete ones, with their ends; they lie in the buffer
	offsets []int64  // where each begins
	next    int64    // offset after them
	tooLong int      // lines that were longer than the buffer, and are skipped
	// skipping tells that next is within a line that is too long.
	skipping bool
}

// read reads the next lines into buf. A line without an end is left until it has one.
func (s *source) read(buf []byte) (c chunk, err error) {
	n, err := s.file.ReadAt(buf, s.offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return c, err
	}
	c.next, c.skipping = s.offset, s.skipping
	for rest := buf[:n]; ; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			break
		}
		if !c.skipping {
			c.lines = append(c.lines, rest[:end+1])
			c.offsets = append(c.offsets, c.next)
		}
		c.skipping = false
		c.next += int64(end) + 1
		rest = rest[end+1:]
	}
	if c.next == s.offset && n == len(buf) { // a full buffer without an end
		if !c.skipping {
			c.tooLong = 1
		}
		c.skipping, c.next = true, s.offset+int64(n)
	}
	return c, nil
}

// take moves on behind a chunk.
func (s *source) take(c chunk) {
	if c.next != s.offset {
		s.lastNew = time.Now()
	}
	s.offset, s.skipping = c.next, c.skipping
}

// behind returns how many bytes are there that were not taken.
func (s *source) behind() int64 {
	st, err := s.file.Stat()
	if err != nil {
		return 0
	}
	return max(0, st.Size()-s.offset)
}
