package backup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Pending is a file that takes the place of another, or of none, at once and when it is whole.
type Pending struct {
	*os.File
	path string
}

// Create creates a file beside path that nobody else can read.
func Create(path string) (*Pending, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.partial")
	if err != nil {
		return nil, fmt.Errorf("creating a file beside %s: %w", path, err)
	}
	return &Pending{File: f, path: path}, nil
}

// Commit puts the file in its place, on disk.
func (p *Pending) Commit() error {
	err := p.Sync()
	if closeErr := p.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(p.Name(), p.path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", p.path, errors.Join(err, os.Remove(p.Name())))
	}
	dir, err := os.Open(filepath.Dir(p.path))
	if err != nil {
		return fmt.Errorf("writing %s: %w", p.path, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil { // the name is on disk when the directory is
		return fmt.Errorf("writing %s: %w", p.path, err)
	}
	return nil
}

// Abort removes the file.
func (p *Pending) Abort() error {
	return errors.Join(p.Close(), os.Remove(p.Name()))
}
