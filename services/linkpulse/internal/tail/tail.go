// Package tail is `linkpulse tail`: it turns the access log of a web server into clicks, so that a shortener needs no change
// at all to be counted.
//
// Nothing is dropped: it waits for as long as ingest does not take clicks, and the log is its queue. It ends where ingest does
// not know its API key, and goes on from there when it is started with another one. It follows the log
// through rotation by rename and by copytruncate, while it runs and while it does not, as long as the rotated files lie
// beside the log and are not compressed before they were read. How far it got is kept in a position file, which moves on
// only when ingest has acknowledged what lies before.
//
// The id of each click follows from its place in the log (see eventID), so what is sent again after a crash counts once,
// within the window in which Linkpulse recognises duplicates: one hour, unless the operator chose otherwise. The position
// file is what keeps an old log from being counted twice; do not delete it.
//
// The follower is our own because the library that others use lost lines between the rename and the new file in every
// run of a test against it.
package tail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/keyflag"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/tail/accesslog"
)

// Cmd are the arguments of `linkpulse tail`.
type Cmd struct {
	File         string `arg:"" help:"Access log of a web server, in the combined or common format." type:"path"`
	Follow       bool   `short:"f" help:"Go on with what is written from now on, through rotation, until interrupted."`
	Status       []int  `help:"Statuses of answers that are redirects." default:"301,302,303,307,308"`
	StripPrefix  string `help:"Path under which the short links are: the next segment is the link, percent-decoded, without query." default:"/" placeholder:"PATH"`
	PositionFile string `help:"Where it is kept how far the log was delivered. Default: the log's name with .linkpulse-position." type:"path" placeholder:"FILE"`
	Name         string `help:"Name of this log in the ids of its clicks. Give one where several servers write logs that could be alike." placeholder:"TEXT"`
	Ingest       string `help:"Address of ingest." default:"http://127.0.0.1:8080" placeholder:"URL"`
	JSON         bool   `help:"Print progress and summary as lines of JSON."`

	Credentials keyflag.Flags `embed:""`
}

// Env is what the command takes from its process.
type Env struct {
	Stdout, Stderr io.Writer
	// Environ may name the API key.
	Environ []string
	// Terminal tells whether Stderr is one, so that a progress line can be drawn over itself.
	Terminal bool
	// Transport reaches ingest; nil is the network.
	Transport http.RoundTripper
}

// ErrLost says that a part of the log was gone before it was read. What and where was told.
var ErrLost = errors.New("a part of the log was gone before it was read")

// requestTimeout bounds a request. It is long, because Kafka may need half a minute to elect a leader, and nobody waits.
const requestTimeout = 35 * time.Second

// Run reads the log and delivers its clicks: what is there, or with Follow also what comes, until ctx ends, which is no
// error then.
func (c *Cmd) Run(ctx context.Context, env Env) (err error) {
	mapping, err := accesslog.NewMapping(c.Status, c.StripPrefix)
	if err != nil {
		return err
	}
	log, err := filepath.Abs(c.File)
	if err != nil {
		return fmt.Errorf("finding the log: %w", err)
	}
	position := c.PositionFile
	if position == "" {
		position = log + ".linkpulse-position"
	}
	credentials, err := c.Credentials.Credentials(env.Environ)
	if err != nil {
		return err
	}
	poster, err := client.NewPoster(c.Ingest, requestTimeout, credentials, env.Transport)
	if err != nil {
		return err
	}
	defer poster.Close()
	f := &follower{
		log: log, name: c.Name, position: position, mapping: mapping, poster: poster, report: newReport(env, c.JSON),
	}
	defer f.close()
	if err := f.start(); err != nil {
		return err
	}
	if c.Follow {
		err = f.follow(ctx)
	} else {
		if len(f.sources()) == 0 {
			return fmt.Errorf("there is no log at %s", log)
		}
		err = f.once(ctx)
	}
	f.report.show(f.behind(), true)
	switch {
	case c.Follow && ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))):
		return nil
	case err != nil:
		return err
	case f.report.lost > 0:
		return ErrLost
	}
	return nil
}
