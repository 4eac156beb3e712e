// Package watchcmd is `linkpulse watch`: live counts of links in a terminal, as a table that is drawn over itself, or as
// lines where the output is no terminal.
package watchcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/pkg/wire"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/tokenflag"
)

// Cmd are the arguments of `linkpulse watch`.
type Cmd struct {
	Links    []string      `arg:"" name:"link" help:"Links to watch."`
	Gateway  []string      `help:"Address of a gateway; repeat it, and another one takes over when one is lost." default:"http://127.0.0.1:8081,http://127.0.0.1:8082" placeholder:"URL"`
	Count    int           `short:"n" help:"End after so many changes of a count; 0 goes on until interrupted." default:"0"`
	Interval time.Duration `help:"Least time between two changes of a link; 0 is as they come." default:"0"`
	JSON     bool          `help:"Print one line of JSON per change."`
	Plain    bool          `help:"Print lines, also to a terminal."`

	tokenflag.Flags
}

// Env is what the command takes from its process.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal tells whether both Stdin and Stdout are one, so that a table can be drawn and keys be read.
	Terminal bool
	// Width and Height are the terminal's size where it cannot be asked; 0 asks.
	Width, Height int
	// Environ is the environment, NAME=value: it says what colours the terminal has, and NO_COLOR turns them off.
	Environ []string
	// HTTPClient reaches the gateways; nil is the network.
	HTTPClient *http.Client
}

// Run shows counts until ctx ends, which is no error, or until as many changes were shown as was asked for. The error is a
// *client.StoppedError if the gateways refuse for good, and [ErrDenied] if it was to end after some changes and none can come.
func (c *Cmd) Run(ctx context.Context, env Env) error {
	if c.Count < 0 {
		return fmt.Errorf("--count: 0 or more, not %d", c.Count)
	}
	tokens, err := c.Source(ctx, env.Stdin)
	if err != nil {
		return err
	}
	if tokens != nil {
		if err := tokenflag.CheckPlain(c.Gateway); err != nil {
			fmt.Fprintf(env.Stderr, "linkpulse watch: %v\n", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	states := make(chan client.State, stateBuffer)
	w, err := client.NewWatcher(c.Gateway, client.WatchOptions{
		Interval: c.Interval, Tokens: tokens, HTTPClient: env.HTTPClient,
		OnState: func(s client.State) { offer(states, s) },
	})
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Add(c.Links...); err != nil {
		return err
	}
	changes := merge(ctx, w, states)
	if env.Terminal && !c.JSON && !c.Plain {
		err = c.table(ctx, env, changes, cancel)
	} else {
		err = c.lines(env, changes)
	}
	if stopped, ok := errors.AsType[*client.StoppedError](err); ok && tokens == nil && wantsToken(stopped) {
		return fmt.Errorf("%w: give it one with --token-file", err)
	}
	return err
}

func wantsToken(e *client.StoppedError) bool {
	return e.Code == wire.CloseUnauthenticated || e.Status == http.StatusUnauthorized
}

// stateBuffer is how many states may wait to be shown. A reader that is slower than that misses the older ones.
const stateBuffer = 16

// offer puts a state into the channel, in place of the oldest where it is full. There is one sender.
func offer(states chan client.State, s client.State) {
	for {
		select {
		case states <- s:
			return
		default:
		}
		select {
		case <-states:
		default:
		}
	}
}

// change is one thing to show: an update of a link, a state of the connection, or the error that ended it all.
type change struct {
	update client.Update // Link is empty: it is none
	state  client.State
	err    error
}

// merge brings updates and states into one channel, which is closed when there will be no more. Its goroutines end with
// ctx, or with the Watcher, whose last state comes before that of its iterator.
func merge(ctx context.Context, w *client.Watcher, states <-chan client.State) <-chan change {
	out := make(chan change)
	put := func(c change) bool {
		select {
		case out <- c:
			return true
		case <-ctx.Done():
			return false
		}
	}
	updates := make(chan change)
	go func() {
		defer close(updates)
		for u, err := range w.Updates(ctx) {
			select {
			case updates <- change{update: u, err: err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer close(out)
		for {
			select {
			case s := <-states:
				if !put(change{state: s}) {
					return
				}
			case c, ok := <-updates:
				if !ok || !put(c) || c.err != nil {
					return
				}
			}
		}
	}()
	return out
}
