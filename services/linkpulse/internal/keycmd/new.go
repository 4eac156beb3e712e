package keycmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
)

// New are the arguments of `linkpulse key new`.
type New struct {
	ID              string        `arg:"" help:"Name of the key: 1 to 32 characters of a-z 0-9 and -, like acme-1."`
	Grant           []string      `help:"Links that it may send clicks of: ids, or beginnings like acme:*, or *. Repeat it, or separate by commas." placeholder:"LINK"`
	ClicksPerSecond float64       `help:"The most clicks a second that it may send to each ingest; 0 is any number." default:"0" placeholder:"N"`
	Burst           int           `help:"The most of them at once; 0 is a second's worth, and at least 1000." default:"0" placeholder:"N"`
	ValidFor        time.Duration `help:"How long it is good from now on; 0 is without end." default:"0" placeholder:"DURATION"`
	Sign            string        `help:"Make a secret to sign requests with, in this new file, instead of a key to send." type:"path" placeholder:"FILE"`
	KeysFile        string        `help:"File of keys to put the entry into; it is made where there is none." type:"path" placeholder:"FILE"`
	Replace         bool          `help:"Put it into the place of the entry with this id: whoever has the old key is out."`
	JSON            bool          `help:"Print one JSON object: key and entry."`
}

// result is what --json prints.
type result struct {
	Key   string        `json:"key,omitempty"`
	Entry keyring.Entry `json:"entry"`
}

// Run makes the key. It is printed last: by then the file has its entry.
func (c *New) Run(_ context.Context, env Env) error {
	e, key, secret, err := c.make(env.now())
	if err != nil {
		return err
	}
	if secret != nil {
		if err := writeSecret(c.Sign, secret); err != nil {
			return err
		}
	}
	if err := c.keep(e); err != nil {
		if secret != nil {
			err = errors.Join(err, os.Remove(c.Sign)) // nobody knows it yet
		}
		return err
	}
	return c.print(env, e, key)
}

// make makes an entry, and the key or the secret of it.
func (c *New) make(now time.Time) (e keyring.Entry, key apikey.Key, secret *apikey.Secret, err error) {
	e = keyring.Entry{ID: c.ID, Grants: c.Grant, ClicksPerSecond: c.ClicksPerSecond, Burst: c.Burst}
	if c.ValidFor < 0 {
		return e, key, nil, errors.New("--valid-for: 0 or more")
	}
	if c.ValidFor > 0 {
		e.NotAfter = now.Add(c.ValidFor).UTC().Truncate(time.Second)
	}
	if c.Sign != "" {
		secret, e.HMACSecretFile = apikey.NewSecret(), c.signPath()
	} else {
		if key, err = apikey.New(c.ID); err != nil {
			return e, key, nil, err
		}
		e.SHA256 = keyring.Hashed(key)
	}
	return e, key, secret, e.Check()
}

// signPath is how the file of keys names the file of the secret: from where it lies itself, if that is beside it or below.
func (c *New) signPath() string {
	if c.KeysFile == "" {
		return filepath.Base(c.Sign)
	}
	path, err := filepath.Rel(filepath.Dir(c.KeysFile), c.Sign)
	if err != nil || path == ".." || strings.HasPrefix(path, ".."+string(filepath.Separator)) {
		return c.Sign
	}
	return path
}

// keep puts the entry into the file of keys, if there is one.
func (c *New) keep(e keyring.Entry) error {
	if c.KeysFile == "" {
		return nil
	}
	return edit(c.KeysFile, func(entries []keyring.Entry) ([]keyring.Entry, error) {
		at := slices.IndexFunc(entries, func(other keyring.Entry) bool { return other.ID == e.ID })
		switch {
		case at >= 0 && !c.Replace:
			return nil, fmt.Errorf("there is a key %s already: take another id, or --replace it", e.ID)
		case at < 0 && c.Replace:
			return nil, fmt.Errorf("there is no key %s to replace", e.ID)
		case at >= 0:
			entries[at] = e
			return entries, nil
		}
		return append(entries, e), nil
	})
}

func (c *New) print(env Env, e keyring.Entry, key apikey.Key) error {
	if c.JSON {
		r := result{Entry: e}
		if c.Sign == "" {
			r.Key = key.Reveal()
		}
		return printed(json.NewEncoder(env.Stdout).Encode(r))
	}
	if c.Sign == "" {
		if _, err := fmt.Fprintln(env.Stdout, key.Reveal()); err != nil {
			return printed(err)
		}
	}
	// What is said beside the key goes elsewhere, so that the key can be put into a file.
	if c.KeysFile == "" {
		entry, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Stderr, "for the list of the file of keys:\n%s\n", entry)
		return printed(err)
	}
	_, err := fmt.Fprintf(env.Stderr, "%s: %s %s\n", c.KeysFile, e.ID, describe(&e, env.now()))
	return printed(err)
}

func printed(err error) error {
	if err != nil {
		return fmt.Errorf("printing the key: %w", err)
	}
	return nil
}

// writeSecret writes a secret to a new file that only its owner can read.
func writeSecret(path string, secret *apikey.Secret) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, ownerOnly)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("there is a file %s already, which may be a secret in use: take another name", path)
	}
	if err != nil {
		return fmt.Errorf("making a file for the secret: %w", err)
	}
	_, err = io.WriteString(f, secret.Reveal()+"\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, errors.Join(err, os.Remove(path)))
	}
	return nil
}
