// Package tokencmd is `linkpulse token`: it makes keys, makes tokens with them, and says what a token is worth to a gateway.
// It is for small set-ups, where nobody else signs people in, for programs that look at counts, and for finding out why a
// token is refused.
package tokencmd

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"go.uber.org/zap"
)

// Cmd are the commands.
type Cmd struct {
	Keygen Keygen `cmd:"" help:"Make a key to sign tokens with: a private half that makes them and a public one for gateways, or a secret that is both."`
	Mint   Mint   `cmd:"" help:"Make a token and print it."`
	Check  Check  `cmd:"" help:"Say what a token is worth to a gateway with these settings, which are those of gateways. Ends with 0 where it is taken, 1 where it is refused, 2 where that cannot be told. Flags may stand in the environment as those of init."`
}

// Env is what the commands take from their process.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal tells whether Stderr is one: somebody looks.
	Terminal bool
	Log      *zap.Logger
	// Transport reaches a JWKS; nil is the network.
	Transport http.RoundTripper
}

// Command is one of the commands.
type Command interface {
	// Run does it. An error may have a method ExitCode: what the process should end with.
	Run(ctx context.Context, env Env) error
}

// Find returns the command of a name.
func (c *Cmd) Find(name string) (Command, error) {
	switch name {
	case "keygen":
		return &c.Keygen, nil
	case "mint":
		return &c.Mint, nil
	case "check":
		return &c.Check, nil
	default:
		return nil, fmt.Errorf("no such command: token %s", name)
	}
}

// What a process ends with where it is not 0 or, for any other error, 1.
const (
	exitRefused = 1
	exitUnknown = 2
)
