// Package totalscmd is `linkpulse totals`: what an operator does with the totals in Redis. They are a function of the log,
// so they can be looked at beside it, counted again, kept in a file, put back, and replaced by those of a new epoch, while
// clicks go on arriving. What cannot be done exactly is refused, with what can be done instead.
//
// Whatever is in memory at a time is of one partition: up to a kilobyte for each of its links, and the window in which
// duplicates are looked for. Redis is held up for about a second per million links of a partition while these are read.
package totalscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/exitcode"
)

// Cmd are the commands.
type Cmd struct {
	Status  Status  `cmd:"" help:"Say how far the totals of each partition are, and why one has stopped. Ends with 1 where one has."`
	Verify  Verify  `cmd:"" help:"Count the log beside Redis and compare. Ends with 0 where they agree, 1 where they differ, 2 where that cannot be told. Clicks may go on arriving."`
	Rebuild Rebuild `cmd:"" help:"Begin a new epoch with totals made anew, beside the old ones, and switch to them at once. Every dashboard starts afresh."`
	Export  Export  `cmd:"" help:"Write a backup. Put back while the log still has what came after it, it is exact."`
	Import  Import  `cmd:"" help:"Put a backup back into the partitions whose totals are gone; or take counts of another system over."`
}

// Env is what the commands take from their process.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal tells whether Stderr is one, so that a progress bar can be drawn, and Interactive whether there is somebody
	// at Stdin who can be asked.
	Terminal, Interactive bool
	// Owner names this process to others that find it at work.
	Owner string
	Log   *zap.Logger
	// Dial makes connections; nil is the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Connection is how Kafka and Redis are reached.
type Connection struct {
	Kafka kafkalog.Config `embed:"" prefix:"kafka-"`
	Redis totals.Config   `embed:"" prefix:"redis-"`
}

// Check returns every contradiction.
func (c *Connection) Check() error { return errors.Join(c.Kafka.Check(), c.Redis.Check()) }

// Command is one of the commands.
type Command interface {
	// Check returns everything that is wrong with its arguments.
	Check() error
	// Run does it. An error may have a method ExitCode: what the process should end with.
	Run(ctx context.Context, env Env) error
}

// Find returns the command of a name.
func (c *Cmd) Find(name string) (Command, error) {
	switch name {
	case "status":
		return &c.Status, nil
	case "verify":
		return &c.Verify, nil
	case "rebuild":
		return &c.Rebuild, nil
	case "export":
		return &c.Export, nil
	case "import":
		return &c.Import, nil
	default:
		return nil, fmt.Errorf("no such command: totals %s", name)
	}
}

// What a process ends with where it is not 0 or, for any other error, 1.
const (
	exitBad     = 1
	exitUnknown = 2
)

// cut gives a run that was told to end an exit code of its own: a script must not take it for one that came to its end.
func cut(ctx context.Context, err error, code int) error {
	if err != nil && ctx.Err() != nil {
		return &exitcode.Error{Code: code, Err: fmt.Errorf("it was told to end: %w", err)}
	}
	return err
}
