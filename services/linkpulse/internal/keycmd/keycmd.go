// Package keycmd is `linkpulse key`: it makes the API keys of those who send clicks, keeps the file of them that ingest reads,
// and tells what a key may do. A key is shown once, when it is made; nothing that is kept gives it back.
package keycmd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey/keyring"
)

// Cmd are the commands.
type Cmd struct {
	New   New   `cmd:"" help:"Make a key. It is printed, once, and its entry is put into the file of keys, or printed beside it."`
	Hash  Hash  `cmd:"" help:"Print what the file of keys has of a key, for an entry that is written by hand. Reads the key from standard input where nothing else is said."`
	Check Check `cmd:"" help:"Read the file of keys as ingest does and say what is wrong, or what each key may do; or what one key may. Ends with 1 where something is wrong."`
}

// Env is what the commands take from their process.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string
	// Interactive tells whether there is somebody at Stdin who would wait for nothing.
	Interactive bool
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

func (e *Env) now() time.Time {
	if e.Now == nil {
		return time.Now()
	}
	return e.Now()
}

// Command is one of the commands.
type Command interface {
	Run(ctx context.Context, env Env) error
}

// Find returns the command of a name.
func (c *Cmd) Find(name string) (Command, error) {
	switch name {
	case "new":
		return &c.New, nil
	case "hash":
		return &c.Hash, nil
	case "check":
		return &c.Check, nil
	default:
		return nil, fmt.Errorf("no such command: key %s", name)
	}
}

// describe says in words what an entry is for.
func describe(e *keyring.Entry, now time.Time) string {
	var s strings.Builder
	s.WriteString("may send clicks of " + strings.Join(e.Grants, ", "))
	if e.ClicksPerSecond > 0 {
		fmt.Fprintf(&s, ", %g a second and %d at once", e.ClicksPerSecond, e.Most())
	}
	switch {
	case e.HMACSecretFile != "" && e.SHA256 == "":
		s.WriteString(", in signed requests")
	case e.HMACSecretFile != "":
		s.WriteString(", in signed requests too")
	}
	if !e.NotAfter.IsZero() {
		until := ", until "
		if now.After(e.NotAfter) {
			until = ", but has expired: "
		}
		s.WriteString(until + e.NotAfter.UTC().Format(time.RFC3339))
	}
	return s.String()
}
