// Package counts reads the counts that another system kept of links: NDJSON, one object {"link":"x7Kp2","count":1243}
// with "bots" if they are known, or CSV with the columns link, count and perhaps bots, with or without their names in the
// first row.
package counts

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// File is a file of counts that was read once and found good. It is read again for each partition, so that no more than
// one partition's is ever in memory.
type File struct {
	// Links is how many links it names, Clicks what they add up to.
	Links, Clicks int64

	path string
	sum  [sha256.Size]byte
}

// Open reads a file. The error tells what is wrong with it, the first of it by line. A link that comes twice shows in
// [File.Partition].
func Open(path string) (*File, error) {
	f := &File{path: path}
	problems := problems{}
	sum, err := read(path, func(line int, c Count, err error) error {
		if err != nil {
			return problems.add(line, err)
		}
		f.Links++
		f.Clicks += c.Count
		return nil
	})
	if err := errors.Join(problems.err(), err); err != nil {
		return nil, fmt.Errorf("reading counts: %s: %w", path, err)
	}
	f.sum = sum
	return f, nil
}

// Partition returns the counts of the links that one of so many partitions has.
func (f *File) Partition(partition int32, of int) (map[string]totals.Clicks, error) {
	links := make(map[string]totals.Clicks)
	problems := problems{}
	sum, err := read(f.path, func(line int, c Count, err error) error {
		if err != nil || click.Partition(c.Link, of) != partition {
			return err
		}
		if _, twice := links[c.Link]; twice {
			return problems.add(line, fmt.Errorf("link %q comes twice", c.Link))
		}
		links[c.Link] = totals.Clicks{Count: c.Count, Bots: c.Bots}
		return nil
	})
	if err == nil && sum != f.sum {
		err = errors.New("it was changed while it was used")
	}
	if err := errors.Join(problems.err(), err); err != nil {
		return nil, fmt.Errorf("reading counts: %s: %w", f.path, err)
	}
	return links, nil
}

// Count is what a line says.
type Count struct {
	Link        string
	Count, Bots int64
}

// maxCount leaves room to count on: sums stay below what JSON's readers know as integers.
const maxCount = 1 << 52

func (c Count) check() error {
	if err := click.CheckLink(c.Link); err != nil {
		return fmt.Errorf("%q: %w", c.Link, err)
	}
	if c.Count < 0 || c.Count > maxCount || c.Bots < 0 || c.Bots > c.Count {
		return fmt.Errorf("link %s: %d clicks, %d of them bots", c.Link, c.Count, c.Bots)
	}
	return nil
}

// few is how many problems are told.
const few = 10

// problems are those of a file.
type problems struct{ told []error }

// errMany ends the reading of a file.
var errMany = errors.New("and perhaps more")

func (p *problems) add(line int, err error) error {
	p.told = append(p.told, fmt.Errorf("line %d: %w", line, err))
	if len(p.told) == few {
		return errMany
	}
	return nil
}

func (p *problems) err() error { return errors.Join(p.told...) }

// read calls each for every count, or for what is wrong with it, and returns the hash of the file.
func read(path string, each func(line int, c Count, err error) error) (sum [sha256.Size]byte, err error) {
	file, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer file.Close()
	hash := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(file, hash), 64<<10)
	if bom := []byte("\ufeff"); startsWith(in, bom) { // spreadsheets write it
		_, _ = in.Discard(len(bom)) // it is in the buffer
	}
	if isJSON(in) {
		err = readJSON(in, each)
	} else {
		err = readCSV(in, each)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, in) // the hash is that of all of it
	}
	return [sha256.Size]byte(hash.Sum(nil)), err
}

func startsWith(in *bufio.Reader, prefix []byte) bool {
	head, _ := in.Peek(len(prefix)) // what is wrong with it shows when it is read
	return bytes.Equal(head, prefix)
}

// isJSON tells whether a file is NDJSON: no link begins like an object.
func isJSON(in *bufio.Reader) bool {
	head, _ := in.Peek(512) // what is wrong with it shows when it is read
	return bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{"))
}

func readJSON(in *bufio.Reader, each func(int, Count, error) error) error {
	lines := bufio.NewScanner(in)
	for number := 1; lines.Scan(); number++ {
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		c, err := parseJSON(line)
		if err := each(number, c, err); err != nil {
			return err
		}
	}
	return lines.Err()
}

func parseJSON(line []byte) (c Count, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields() // a name that is written wrongly is a count that is lost
	var object struct {
		Link  string `json:"link"`
		Count *int64 `json:"count"`
		Bots  int64  `json:"bots"`
	}
	switch err := d.Decode(&object); {
	case err != nil:
		return c, errors.New(strings.TrimPrefix(err.Error(), "json: "))
	case d.InputOffset() != int64(len(line)):
		return c, errors.New("something follows the object")
	case object.Count == nil:
		return c, fmt.Errorf("link %q: there is no count", object.Link)
	}
	c = Count{Link: object.Link, Count: *object.Count, Bots: object.Bots}
	return c, c.check()
}

func readCSV(in io.Reader, each func(int, Count, error) error) error {
	rows := csv.NewReader(in)
	rows.ReuseRecord = true
	rows.FieldsPerRecord = -1
	rows.TrimLeadingSpace = true
	for first := true; ; first = false {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var syntax *csv.ParseError
		if err != nil && !errors.As(err, &syntax) {
			return err
		}
		if syntax != nil {
			if err := each(syntax.StartLine, Count{}, syntax.Err); err != nil {
				return err
			}
			continue
		}
		number, _ := rows.FieldPos(0)
		if first && isHeading(row) {
			continue
		}
		c, err := parseRow(row)
		if err := each(number, c, err); err != nil {
			return err
		}
	}
}

// isHeading tells whether a row names the columns.
func isHeading(row []string) bool {
	return len(row) >= 2 && strings.EqualFold(row[0], "link") && strings.EqualFold(row[1], "count")
}

func parseRow(row []string) (c Count, err error) {
	if len(row) < 2 || len(row) > 3 {
		return c, fmt.Errorf("%d columns, must be link, count and perhaps bots", len(row))
	}
	c.Link = strings.Clone(row[0])
	if c.Count, err = strconv.ParseInt(row[1], 10, 64); err != nil {
		return c, fmt.Errorf("link %s: %q is no number", c.Link, row[1])
	}
	if len(row) == 3 && row[2] != "" {
		if c.Bots, err = strconv.ParseInt(row[2], 10, 64); err != nil {
			return c, fmt.Errorf("link %s: %q is no number", c.Link, row[2])
		}
	}
	return c, c.check()
}
