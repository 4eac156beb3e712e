package tail

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sibling is a file beside the log that rotation could have made of it.
type sibling struct {
	path    string
	print   fingerprint
	size    int64
	changed time.Time
}

// siblings lists the rotated files of a log that can be read, and the log itself, the oldest first. Rotation may be under
// way: only what two looks in a row agree on is believed, since a file that is being renamed can be missed by one.
func siblings(log string) ([]sibling, error) {
	const looks = 10
	before, err := listSiblings(log)
	for range looks {
		if err != nil {
			return nil, err
		}
		var now []sibling
		now, err = listSiblings(log)
		if err == nil && slices.EqualFunc(before, now, func(a, b sibling) bool { return a.path == b.path && a.print == b.print }) {
			return now, nil
		}
		before = now
	}
	return before, err
}

func listSiblings(log string) ([]sibling, error) {
	entries, err := os.ReadDir(filepath.Dir(log))
	if err != nil {
		return nil, err
	}
	var found []sibling
	for _, e := range entries {
		if !rotatedName(filepath.Base(log), e.Name()) || !e.Type().IsRegular() {
			continue
		}
		s, ok, err := inspect(filepath.Join(filepath.Dir(log), e.Name()))
		if err != nil {
			return nil, err
		}
		if ok {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(a, b sibling) int { return a.older(b, log) })
	return found, nil
}

// older orders two files of a log by age, the older one first. Names are believed before clocks, because an older file can
// be written to after a newer one.
func (s sibling) older(o sibling, log string) int {
	a, b := strings.TrimPrefix(s.path, log), strings.TrimPrefix(o.path, log)
	n, errA := strconv.Atoi(strings.TrimPrefix(a, "."))
	m, errB := strconv.Atoi(strings.TrimPrefix(b, "."))
	switch {
	case a == "" || b == "": // the log itself is the newest
		return cmp.Compare(len(b), len(a))
	case errA == nil && errB == nil && max(n, m) <= maxRotation: // access.log.2 is older than access.log.1
		return cmp.Compare(m, n)
	case len(a) == len(b): // access.log-20260130 is older than access.log-20260131
		return cmp.Compare(a, b)
	default:
		return s.changed.Compare(o.changed)
	}
}

// maxRotation is the greatest number that counts rotations; a greater one is a date.
const maxRotation = 9999

// inspect looks at a file. ok is false where there is nothing to be read: it is gone, or its first line is not complete.
func inspect(path string) (s sibling, ok bool, err error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	st, err := file.Stat()
	if err != nil {
		return s, false, err
	}
	generation, ok, err := readFingerprint(file)
	return sibling{path: path, print: generation, size: st.Size(), changed: st.ModTime()}, ok, err
}

// rotatedName tells whether name is the log base or what rotation calls an older one: access.log.1, access.log-20260131.
// A compressed one cannot be read on, and a copy that a person made (access.log.bak) is none of ours.
func rotatedName(base, name string) bool {
	rest, ok := strings.CutPrefix(name, base)
	if !ok || rest == "" {
		return ok
	}
	return (rest[0] == '.' || rest[0] == '-') && len(rest) > 1 && strings.Trim(rest[1:], "0123456789-._T") == "" &&
		rest[1] >= '0' && rest[1] <= '9'
}
