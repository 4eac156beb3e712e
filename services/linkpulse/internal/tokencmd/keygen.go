package tokencmd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth/mint"
)

// Keygen are the flags of `linkpulse token keygen`.
type Keygen struct {
	ID     string `name:"id" help:"Id of the key, which tokens name and its files are called by: no two keys that are in use at a time may have the same. Today's date and something random by default."`
	Dir    string `help:"Where to put its files." default:"." placeholder:"DIR" type:"path"`
	Secret bool   `help:"Make a secret that whoever makes tokens and whoever checks them share, instead of a pair of keys. Whoever has it can make tokens."`
}

// Run makes the key and says where it is.
func (c *Keygen) Run(_ context.Context, env Env) error {
	id := c.ID
	if id == "" {
		id = newKeyID(time.Now())
	}
	if c.Secret {
		path, err := mint.CreateSecret(c.Dir, id)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(env.Stdout, "secret  %s  to make tokens: linkpulse token mint --key=%[1]s\n"+
			"%*s  and for gateways: --auth-secret-file=%[1]s\n", path, len("secret  ")+len(path), "")
		return err
	}
	private, public, err := mint.Create(c.Dir, id)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Stdout, "private  %s  to make tokens: linkpulse token mint --key=%[1]s\n"+
		"public   %s  for gateways: --auth-key-files=%[2]s\n", private, public)
	return err
}

// newKeyID returns an id that says when the key was made: what people want to know of it when they change keys.
func newKeyID(now time.Time) string {
	random := make([]byte, 2)
	_, _ = rand.Read(random) // it never fails
	return now.UTC().Format(time.DateOnly) + "-" + hex.EncodeToString(random)
}
