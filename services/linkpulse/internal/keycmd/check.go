package keycmd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/keyflag"
)

// source is where a key comes from.
type source struct {
	Key     string `help:"The key. Every user of this machine sees arguments: a file or standard input is better." placeholder:"KEY"`
	KeyFile string `help:"File that holds the key." type:"path" placeholder:"FILE"`
}

// read reads the key; nil: nothing names one. It does not look at the environment: what is checked is said.
func (s *source) read() (*apikey.Key, error) {
	return (&keyflag.Flags{Key: s.Key, KeyFile: s.KeyFile}).APIKey(nil)
}

// Hash are the arguments of `linkpulse key hash`.
type Hash struct {
	source `embed:""`
}

// Run prints the hash.
func (c *Hash) Run(_ context.Context, env Env) error {
	key, err := c.read()
	if err != nil {
		return err
	}
	if key == nil {
		if env.Interactive {
			_, _ = fmt.Fprintln(env.Stderr, "the key, on a line:") // whoever closed the terminal does not wait for it
		}
		text, err := keyflag.ReadLine(env.Stdin)
		if err != nil {
			return fmt.Errorf("reading the key: %w", err)
		}
		k, err := apikey.Parse(text)
		if err != nil {
			return fmt.Errorf("reading the key: %w", err)
		}
		key = &k
	}
	_, err = fmt.Fprintln(env.Stdout, keyring.Hashed(*key))
	return err
}

// Check are the arguments of `linkpulse key check`.
type Check struct {
	source   `embed:""`
	KeysFile string   `help:"File of keys." type:"path" required:"" placeholder:"FILE"`
	Link     []string `help:"Say whether the key may send clicks of this link. Repeat it, or separate by commas." placeholder:"LINK"`
}

// ErrNotGood says that a key is not for all of the links. Which ones was printed.
var ErrNotGood = errors.New("the key does not cover every one of the links")

// Run reads the file as ingest does.
func (c *Check) Run(_ context.Context, env Env) error {
	key, err := c.read()
	if err != nil {
		return err
	}
	for _, link := range c.Link {
		if err := click.CheckLink(link); err != nil {
			return fmt.Errorf("--link %q: %w", link, err)
		}
	}
	if len(c.Link) > 0 && key == nil {
		return errors.New("--link is about a key: name it with --key-file or --key")
	}
	ring, err := keyring.Load(c.KeysFile, nil)
	if err != nil {
		return err
	}
	entries, _, err := entriesOf(c.KeysFile)
	if err != nil {
		return err
	}
	if key == nil {
		return c.list(env, entries)
	}
	return c.one(env, ring, entries, *key)
}

// list prints what each key may do.
func (c *Check) list(env Env, entries []keyring.Entry) error {
	if len(entries) == 0 {
		_, err := fmt.Fprintln(env.Stdout, "there are no keys: nobody may send clicks")
		return err
	}
	var s strings.Builder
	for i := range entries {
		fmt.Fprintf(&s, "%s: %s\n", entries[i].ID, describe(&entries[i], env.now()))
	}
	_, err := fmt.Fprint(env.Stdout, s.String())
	return err
}

// one shows a key to the ring, as a request does.
func (c *Check) one(env Env, ring *keyring.Ring, entries []keyring.Entry, key apikey.Key) error {
	header := http.Header{}
	key.Authorize(header, nil, time.Time{})
	var p apikey.Presented
	known, err := ring.Find(header, &p, env.now())
	if err != nil {
		return fmt.Errorf("%s: %w", key.ID(), err)
	}
	var s strings.Builder
	for i := range entries {
		if entries[i].ID == key.ID() {
			fmt.Fprintf(&s, "%s: %s\n", key.ID(), describe(&entries[i], env.now()))
		}
	}
	good := true
	for _, link := range c.Link {
		if known.Allows([]byte(link)) {
			fmt.Fprintf(&s, "%s: yes\n", link)
		} else {
			good = false
			fmt.Fprintf(&s, "%s: no, %s does not cover it\n", link, key.ID())
		}
	}
	if _, err := fmt.Fprint(env.Stdout, s.String()); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	if !good {
		return ErrNotGood
	}
	return nil
}
