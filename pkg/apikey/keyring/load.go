package keyring

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/apikey"
)

// stamp is how a file was when it was read.
type stamp struct {
	path string
	info fs.FileInfo
}

// Load reads a file of keys and the secrets that it names. What keys of before have sent is theirs still; before may be nil.
// The error tells everything that is wrong, and none of it tells a secret.
func Load(path string, before *Ring) (*Ring, error) {
	content, info, err := read(path, MaxFile)
	if err != nil {
		return nil, fmt.Errorf("reading the keys in %s: %w", path, err)
	}
	entries, keys, err := decode(content)
	if err != nil {
		return nil, fmt.Errorf("reading the keys in %s: %w", path, err)
	}
	ring := newRing(keys)
	ring.files = []stamp{{path, info}}
	var errs []error
	for i, k := range keys {
		k.account = newAccount()
		if before != nil && before.keys[k.id] != nil {
			k.account = before.keys[k.id].account
		}
		if entries[i].HMACSecretFile != "" {
			if err := ring.readSecret(k, entries[i].secretPath(path)); err != nil {
				errs = append(errs, label(i, k.id, []error{err}))
			}
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("reading the keys in %s: %w", path, err)
	}
	return ring, nil
}

// maxSecretFile is the most bytes of a file that holds a secret: it, and the newline behind it.
const maxSecretFile = 1024

// readSecret reads what a key signs with. It does not name the file: it may be the secret itself that got into its place.
func (r *Ring) readSecret(k *Key, path string) error {
	content, info, err := read(path, maxSecretFile)
	if err == nil {
		k.secret, err = apikey.ParseSecret(strings.TrimRight(string(content), "\r\n"))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", memberSecrets, err)
	}
	r.files = append(r.files, stamp{path, info})
	return nil
}

// errNoFile reports what is a directory, a pipe or a device: to read from it could take for ever.
var errNoFile = errors.New("it is no file")

// read reads a file of at most most bytes, and returns how it was before that: whoever changes it while it is read makes it
// another one. The error does not name the file.
func read(path string, most int64) ([]byte, fs.FileInfo, error) {
	content, info, err := readNamed(path, most)
	if named, ok := errors.AsType[*fs.PathError](err); ok {
		err = named.Err
	}
	return content, info, err
}

func readNamed(path string, most int64) (content []byte, info fs.FileInfo, err error) {
	if info, err = os.Stat(path); err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, errNoFile
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	if info, err = file.Stat(); err != nil {
		return nil, nil, err
	}
	if content, err = io.ReadAll(io.LimitReader(file, most+1)); err == nil && int64(len(content)) > most {
		err = fmt.Errorf("it has more than %d bytes", most)
	}
	return content, info, err
}

// Changed tells whether a file that the ring was read from is not what it was then.
func (r *Ring) Changed() bool {
	for _, s := range r.files {
		info, err := os.Stat(s.path)
		if err != nil || !os.SameFile(info, s.info) || info.Size() != s.info.Size() || !info.ModTime().Equal(s.info.ModTime()) {
			return true
		}
	}
	return false
}
