package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// File is a backup that was read once and found good. It is not safe for concurrent use.
type File struct {
	Header

	// Sections has one entry for each partition.
	Sections []Section

	from io.ReaderAt
	file io.Closer // nil: nothing is to be closed
}

// Section is what a backup holds of a partition.
type Section struct {
	totals.Position

	// Links is how many links it has, Minutes how many links of minutes.
	Links, Minutes int64

	// Where its lines are, without the one that begins it, and what they add up to.
	offset, length int64
	line           int64 // number of the first
	sum            [sha256.Size]byte
}

// Open reads a file and returns it where it is a backup, whole, and says nothing that cannot be. Otherwise the error wraps
// ErrDamaged.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the backup: %w", err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it must be a file, since it is read more than once")
	}
	var f *File
	if err == nil {
		f, err = Read(file, info.Size())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, file.Close()))
	}
	f.file = file
	return f, nil
}

// Close closes the file that Open opened.
func (f *File) Close() error {
	if f.file == nil {
		return nil
	}
	return f.file.Close()
}

// Read is Open for what is not in a file.
func Read(from io.ReaderAt, size int64) (*File, error) {
	s := scanner{in: bufio.NewReaderSize(io.NewSectionReader(from, 0, size), maxLine)}
	f := &File{from: from}
	first, err := s.next()
	if err != nil {
		return nil, err
	}
	var h headerLine
	if json.Unmarshal(first, &h) != nil {
		return nil, damaged(1, "it is no backup of `linkpulse totals export`")
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	f.Header = Header{Topic: h.Topic, Partitions: h.Partitions, Epoch: h.Epoch, Rule: h.Rule, At: h.At}
	whole := sha256.New()
	whole.Write(first)
	c := checker{header: f.Header}
	for {
		line, err := s.next()
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(line, []byte(`{"end":`)) {
			f.Sections = c.close(s.at - int64(len(line)))
			if err := c.end(&s, line, whole.Sum(nil)); err != nil {
				return nil, err
			}
			return f, nil
		}
		whole.Write(line)
		if err := c.take(line, &s); err != nil {
			return nil, err
		}
	}
}

// scanner reads lines and knows where it is.
type scanner struct {
	in     *bufio.Reader
	at     int64 // behind the line
	number int64 // of the line, from 1
}

// next returns the next line with its end; it is valid until the next call.
func (s *scanner) next() ([]byte, error) {
	line, err := s.in.ReadSlice('\n')
	s.number++
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, damaged(s.number, "it is longer than any line of a backup")
	case errors.Is(err, io.EOF):
		return nil, damaged(s.number, "the file ends before its last line: it was cut")
	case err != nil:
		return nil, fmt.Errorf("reading the backup: %w", err)
	}
	s.at += int64(len(line))
	return line, nil
}

// checker goes through the lines and finds what cannot be, without keeping them.
type checker struct {
	header         Header
	sections       []Section
	links, minutes int64
	sum            interface {
		io.Writer
		Sum(in []byte) []byte
	}
	// The line before, of the kind: order is how a link that comes twice is noticed.
	link   string
	minute minuteLine
}

// take takes the next line.
func (c *checker) take(line []byte, s *scanner) error {
	if bytes.HasPrefix(line, []byte(`{"partition":`)) {
		return c.begin(line, s)
	}
	n := len(c.sections)
	if n == 0 {
		return damaged(s.number, "it belongs to no partition")
	}
	section := &c.sections[n-1]
	_, _ = c.sum.Write(line) // a hash takes everything
	parsed, err := parse(line)
	if err != nil {
		return damaged(s.number, "%v", err)
	}
	if parsed.minute == nil {
		section.Links++
		c.links++
		if parsed.link.Link <= c.link || c.minute.Link != "" {
			return damaged(s.number, "the link %q is not in order", parsed.link.Link)
		}
		c.link = parsed.link.Link
	} else {
		section.Minutes++
		c.minutes++
		m := *parsed.minute
		if m.Minute < c.minute.Minute || (m.Minute == c.minute.Minute && m.Link <= c.minute.Link) {
			return damaged(s.number, "the minute %d of link %q is not in order", m.Minute, m.Link)
		}
		c.minute = m
	}
	if at := click.Partition(parsed.name(), c.header.Partitions); int(at) != n-1 {
		return damaged(s.number, "the link %q belongs to partition %d", parsed.name(), at)
	}
	return nil
}

// begin begins a section.
func (c *checker) begin(line []byte, s *scanner) error {
	var p partitionLine
	if err := strict(line, &p); err != nil {
		return damaged(s.number, "%v", err)
	}
	last, err := totals.ParseFingerprint(p.Last)
	if err != nil {
		return damaged(s.number, "%v", err)
	}
	n := len(c.sections)
	if int(p.Partition) != n || n >= c.header.Partitions {
		return damaged(s.number, "partition %d comes where %d of %d is to come", p.Partition, n, c.header.Partitions)
	}
	if p.Next < 0 || (!last.IsZero() && last.Offset >= p.Next) {
		return damaged(s.number, "offset %d, last record %q", p.Next, p.Last)
	}
	c.close(s.at - int64(len(line)))
	c.sections = append(c.sections, Section{Position: totals.Position{Next: p.Next, Last: last}, offset: s.at, line: s.number + 1})
	c.sum, c.link, c.minute = sha256.New(), "", minuteLine{}
	return nil
}

// close ends the section that was begun last, at an offset in the file, and returns all of them.
func (c *checker) close(at int64) []Section {
	if n := len(c.sections); n > 0 {
		section := &c.sections[n-1]
		section.length = at - section.offset
		c.sum.Sum(section.sum[:0])
	}
	return c.sections
}

// end checks the last line.
func (c *checker) end(s *scanner, line, sum []byte) error {
	var e endLine
	if err := strict(line, &e); err != nil {
		return damaged(s.number, "%v", err)
	}
	switch {
	case e.Kind != kind || e.SHA256 != hex.EncodeToString(sum):
		return damaged(s.number, "the SHA-256 of the lines before is %x: the file was changed", sum)
	case len(c.sections) != c.header.Partitions || e.Links != c.links || e.Minutes != c.minutes:
		return damaged(s.number, "there are %d partitions, %d links and %d of minutes", len(c.sections), c.links, c.minutes)
	}
	if _, err := s.in.ReadByte(); !errors.Is(err, io.EOF) {
		return damaged(s.number+1, "something follows the last line")
	}
	return nil
}

// strict reads a line that has what v has and nothing else.
func strict(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if d.InputOffset() != int64(len(line)-1) {
		return errors.New("something follows the object")
	}
	return nil
}

// parsed is a line of a section: a link, or one in a minute.
type parsed struct {
	link   linkLine
	minute *minuteLine
}

func (p parsed) name() string {
	if p.minute != nil {
		return p.minute.Link
	}
	return p.link.Link
}

// parse reads a line of a section and checks what can be checked of it alone.
func parse(line []byte) (p parsed, err error) {
	if bytes.HasPrefix(line, []byte(`{"minute":`)) {
		p.minute = new(minuteLine)
		if err := strict(line, p.minute); err != nil {
			return p, err
		}
		err = errors.Join(click.CheckLink(p.minute.Link), checkClicks(p.minute.Count, p.minute.Bots))
		return p, err
	}
	l := &p.link
	if err := strict(line, l); err != nil {
		return p, err
	}
	return p, errors.Join(click.CheckLink(l.Link), checkClicks(l.Count, l.Bots), checkClicks(l.Imported, l.ImportedBots))
}

// Load returns a partition. What is returned is what Open had found good: a file that was changed since is an error.
func (f *File) Load(partition int32) (*totals.Dump, error) {
	section := &f.Sections[partition]
	d := &totals.Dump{
		Position: section.Position,
		Links:    make(map[string]totals.LinkTotal, section.Links), Minutes: make(map[int64]map[string]totals.Clicks),
	}
	sum := sha256.New()
	lines := io.TeeReader(io.NewSectionReader(f.from, section.offset, section.length), sum)
	s := scanner{in: bufio.NewReaderSize(lines, maxLine), number: section.line - 1}
	for range section.Links + section.Minutes {
		line, err := s.next()
		if err != nil {
			return nil, err
		}
		p, err := parse(line)
		if err != nil {
			return nil, damaged(s.number, "%v", err)
		}
		enter(d, p)
	}
	if [sha256.Size]byte(sum.Sum(nil)) != section.sum {
		return nil, damaged(section.line, "partition %d was changed while it was used", partition)
	}
	return d, nil
}

func enter(d *totals.Dump, p parsed) {
	if m := p.minute; m != nil {
		links := d.Minutes[m.Minute]
		if links == nil {
			links = make(map[string]totals.Clicks)
			d.Minutes[m.Minute] = links
		}
		links[m.Link] = totals.Clicks{Count: m.Count, Bots: m.Bots}
		return
	}
	d.Links[p.link.Link] = totals.LinkTotal{
		Total:    fold.Total{Count: p.link.Count, Bots: p.link.Bots, AtMs: p.link.AtMs},
		Imported: totals.Clicks{Count: p.link.Imported, Bots: p.link.ImportedBots},
	}
}
