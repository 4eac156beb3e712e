package tail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// position is how far a log was delivered, as the position file keeps it.
type position struct {
	Version int    `json:"version"`
	File    string `json:"file"` // the log, absolute
	// Sources are the generations that are not done with, the oldest first.
	Sources []place `json:"sources"`
}

// place is a place in a generation: every click before Offset was acknowledged.
type place struct {
	Fingerprint string `json:"fingerprint"`
	Offset      int64  `json:"offset"`
	// Done tells that the file was rotated away and read to its end: it may be gone by now.
	Done bool `json:"done,omitempty"`
}

// positionVersion is the only version that this program reads.
const positionVersion = 1

// loadPosition reads a position file. It is nil if there is none yet.
func loadPosition(path, log string) (*position, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no position is no error
	}
	if err != nil {
		return nil, fmt.Errorf("reading the position: %w", err)
	}
	var p position
	if err := json.Unmarshal(content, &p); err != nil {
		return nil, fmt.Errorf("reading the position in %s: %w", path, err)
	}
	if p.Version != positionVersion {
		return nil, fmt.Errorf("the position in %s has version %d, this program reads version %d", path, p.Version, positionVersion)
	}
	if p.File != log {
		return nil, fmt.Errorf("the position in %s is of %s; give each log a position file of its own", path, p.File)
	}
	return &p, nil
}

// save writes the position so that, whatever happens, either it or the one before is there: to a file beside, synced, and
// moved over the old one.
func (p *position) save(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keeping the position: %w", err)
		}
	}()
	content, err := json.Marshal(p)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp.Name()) // the error that matters is another
		}
	}()
	if _, err := tmp.Write(append(content, '\n')); err != nil {
		return errors.Join(err, tmp.Close())
	}
	if err := errors.Join(tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
