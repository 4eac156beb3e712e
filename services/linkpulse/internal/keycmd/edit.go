package keycmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
)

// ownerOnly is the mode of files that are made here.
const ownerOnly = 0o600

// edit changes a file of keys: ingest finds the old one or the new one, whole, and nobody else changes it meanwhile. A file
// with mistakes is not changed, and none is made. It keeps the mode that it has.
func edit(path string, change func([]keyring.Entry) ([]keyring.Entry, error)) (err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // the link stays one
	}
	// The name is the lock too.
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY, ownerOnly)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("somebody else is changing %s; if nobody is, remove %s", path, next)
	}
	if err != nil {
		return fmt.Errorf("changing %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_, _ = f.Close(), os.Remove(next) // they may have happened
			err = fmt.Errorf("changing %s: %w", path, err)
		}
	}()
	entries, mode, err := entriesOf(path)
	if err != nil {
		return err
	}
	if entries, err = change(entries); err != nil {
		return err
	}
	text, err := keyring.Encode(entries)
	if err != nil {
		return err
	}
	if _, err := keyring.Decode(text); err != nil { // what each is by itself was checked; what they are together was not
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path)) // the name is on disk when the directory is
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// entriesOf reads a file of keys, and its mode. One that is not there has none.
func entriesOf(path string) ([]keyring.Entry, fs.FileMode, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ownerOnly, nil
	}
	if err != nil {
		return nil, 0, err
	}
	if info.Size() > keyring.MaxFile || !info.Mode().IsRegular() {
		return nil, 0, errors.New("that is no file of keys")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, 0, err
	}
	entries, err := keyring.Decode(text)
	return entries, info.Mode().Perm(), err
}
