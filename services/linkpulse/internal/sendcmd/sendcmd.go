// Package sendcmd is `linkpulse send`: it sends clicks and says what became of each. It is how a person tries a system,
// and how a script puts a click in.
package sendcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/keyflag"
)

// Cmd are the arguments of `linkpulse send`.
type Cmd struct {
	Links     []string      `arg:"" name:"link" help:"Links to click."`
	N         int           `short:"n" help:"Clicks of each link." default:"1"`
	Rate      float64       `help:"Clicks per second; 0 is as fast as ingest takes them." default:"0"`
	ID        string        `name:"id" help:"Event id of the click, for one that may be sent again: the same link and id counts once." placeholder:"UUID"`
	Bot       bool          `help:"Say that a known bot did it."`
	Referrer  string        `help:"Referer of the click." placeholder:"URL"`
	UserAgent string        `help:"User-Agent of the click; ingest tells by it whether a bot did it." placeholder:"TEXT"`
	Country   string        `help:"Country of the visitor, in two letters." placeholder:"CC"`
	Ingest    string        `help:"Address of ingest." default:"http://127.0.0.1:8080" placeholder:"URL"`
	Timeout   time.Duration `help:"How long to go on trying." default:"30s"`
	JSON      bool          `help:"Print one line of JSON per click."`

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

// ErrNotSent says that at least one click is not known to be in the log. What became of which was printed.
var ErrNotSent = errors.New("not every click is in the log")

// batchSize is how many clicks are delivered together when they are not paced.
const batchSize = 500

// attemptTimeout bounds one request, so that a black hole leaves time for another one.
const attemptTimeout = 10 * time.Second

// Run sends the clicks and prints what became of them.
func (c *Cmd) Run(ctx context.Context, env Env) error {
	if err := c.check(); err != nil {
		return err
	}
	credentials, err := c.Credentials.Credentials(env.Environ)
	if err != nil {
		return err
	}
	poster, err := client.NewPoster(c.Ingest, min(c.Timeout, attemptTimeout), credentials, env.Transport)
	if err != nil {
		return err
	}
	defer poster.Close()
	s := &sending{cmd: c, env: env, poster: poster, begun: time.Now(), total: c.N * len(c.Links)}
	err = s.run(ctx)
	s.clearProgress()
	if err != nil {
		return err
	}
	if !c.JSON {
		if err := s.summary(); err != nil {
			return err
		}
	}
	if s.delivered < s.total {
		return fmt.Errorf("%w: %d of %d", ErrNotSent, s.delivered, s.total)
	}
	return nil
}

// check tells what is wrong with the arguments, all at once.
func (c *Cmd) check() error {
	var errs []error
	for _, link := range c.Links {
		if err := click.CheckLink(link); err != nil {
			errs = append(errs, fmt.Errorf("%q: %w", link, err))
		}
	}
	if c.N < 1 {
		errs = append(errs, errors.New("-n: at least 1"))
	}
	if c.Rate < 0 {
		errs = append(errs, errors.New("--rate: 0 or more clicks per second"))
	}
	if c.Timeout <= 0 {
		errs = append(errs, errors.New("--timeout: more than 0"))
	}
	if c.ID != "" {
		if _, err := click.ParseID(c.ID); err != nil {
			errs = append(errs, fmt.Errorf("--id: %w", err))
		}
		if c.N*len(c.Links) != 1 {
			errs = append(errs, errors.New("--id: it names one click; give one link and leave -n at 1"))
		}
	}
	if c.Country != "" && len(c.Country) != 2 {
		errs = append(errs, errors.New("--country: two letters"))
	}
	return errors.Join(errs...)
}

// sending is a run.
type sending struct {
	cmd    *Cmd
	env    Env
	poster *client.Poster
	begun  time.Time

	total, settled, delivered int
	lastErr                   error
	drawn                     bool // there is a progress line to clear
}

func (s *sending) run(ctx context.Context) error {
	for next := 0; next < s.total; {
		n := min(batchSize, s.total-next)
		if rate := s.cmd.Rate; rate > 0 {
			due := s.begun.Add(time.Duration(float64(next) * float64(time.Second) / rate))
			if err := sleepUntil(ctx, due); err != nil {
				return err
			}
			// What came due while the last request was out goes together.
			n = min(n, max(1, int(time.Since(s.begun).Seconds()*rate)+1-next))
		}
		clicks, err := s.mint(next, n)
		if err != nil {
			return err
		}
		if err := s.deliver(ctx, clicks); err != nil {
			return err
		}
		next += n
		s.progress()
	}
	return nil
}

func sleepUntil(ctx context.Context, due time.Time) error {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mint makes the clicks from number from on. Links take turns.
func (s *sending) mint(from, n int) ([]client.Click, error) {
	c := s.cmd
	clicks := make([]client.Click, n)
	for i := range clicks {
		id, err := click.NewID()
		if c.ID != "" {
			id, err = click.ParseID(c.ID)
		}
		if err != nil {
			return nil, fmt.Errorf("minting an event id: %w", err)
		}
		clicks[i] = client.Click{
			Link: c.Links[(from+i)%len(c.Links)], ID: id, At: time.Now(),
			Referrer: c.Referrer, UserAgent: c.UserAgent, Country: c.Country,
		}
		if c.Bot {
			clicks[i].Bot = new(true)
		}
	}
	return clicks, nil
}

// result is what the command prints of a click with --json.
type result struct {
	Link   string  `json:"link"`
	ID     string  `json:"id"`
	Status string  `json:"status"` // delivered, refused, failed, unknown
	Error  string  `json:"error,omitempty"`
	Ms     float64 `json:"ms"` // from its first attempt to its outcome
}

// deliver posts clicks until they are settled or the time is over, and prints their results.
func (s *sending) deliver(ctx context.Context, clicks []client.Click) error {
	limited, cancel := context.WithTimeout(ctx, s.cmd.Timeout)
	defer cancel()
	begun := time.Now()
	refused := map[int]error{}
	fates, err := s.poster.Deliver(limited, clicks, client.Delivery{
		OnTrouble: func(err error, wait time.Duration) {
			s.lastErr = err
			if wait > 0 {
				s.clearProgress()
				_, _ = fmt.Fprintf(s.env.Stderr, "%v; trying again in %v\n", err, wait.Round(time.Millisecond))
			}
		},
		OnRefused: func(i int, err error) { refused[i] = err },
	})
	took := time.Since(begun)
	why := "the time is over"
	if refused, ok := errors.AsType[*client.RefusedError](err); ok {
		why = refused.Error()
	}
	for i, fate := range fates {
		r := result{Link: clicks[i].Link, ID: clicks[i].ID.String(), Status: "delivered", Ms: float64(took.Microseconds()) / 1e3}
		switch fate {
		case client.FateDelivered:
			s.delivered++
		case client.FateRefused:
			r.Status, r.Error = "refused", refused[i].Error()
			s.lastErr = refused[i]
		case client.FateFailed:
			r.Status, r.Error = "failed", why
		case client.FateUnknown:
			r.Status, r.Error = "unknown", why+", and an attempt has had no answer"
		}
		if err := s.print(r); err != nil {
			return err
		}
	}
	s.settled += len(clicks)
	if errors.Is(err, client.ErrUnauthorized) { // the next clicks would fare no better
		return fmt.Errorf("%w: %d of %d: %w", ErrNotSent, s.delivered, s.total, client.ErrUnauthorized)
	}
	return ctx.Err()
}

// few is how many clicks are told one by one to people.
const few = 10

func (s *sending) print(r result) error {
	var err error
	switch {
	case s.cmd.JSON:
		err = json.NewEncoder(s.env.Stdout).Encode(r)
	case r.Error != "":
		s.clearProgress()
		_, err = fmt.Fprintf(s.env.Stdout, "%s  %s  %s: %s\n", r.Link, r.ID, r.Status, r.Error)
	case s.total <= few:
		_, err = fmt.Fprintf(s.env.Stdout, "%s  %s  in the log after %.1f ms\n", r.Link, r.ID, r.Ms)
	}
	if err != nil {
		return fmt.Errorf("printing a result: %w", err)
	}
	return nil
}

func (s *sending) summary() error {
	if s.total <= few {
		return nil
	}
	took := time.Since(s.begun)
	_, err := fmt.Fprintf(s.env.Stdout, "%d of %d clicks are in the log, in %v (%.0f/s)\n",
		s.delivered, s.total, took.Round(time.Millisecond), float64(s.delivered)/max(took.Seconds(), 1e-9))
	if err != nil {
		return fmt.Errorf("printing the summary: %w", err)
	}
	return nil
}

// progress draws how far it is, on a terminal, for runs that one would watch.
func (s *sending) progress() {
	if !s.env.Terminal || s.cmd.JSON || s.total <= few {
		return
	}
	const width = 30
	full := width * s.settled / s.total
	bar := make([]byte, width)
	for i := range bar {
		bar[i] = '.'
		if i < full {
			bar[i] = '#'
		}
	}
	_, _ = fmt.Fprintf(s.env.Stderr, "\r\x1b[K%s %d/%d clicks, %.0f/s", bar, s.settled, s.total,
		float64(s.settled)/max(time.Since(s.begun).Seconds(), 1e-9)) // whoever closed the terminal does not read it
	s.drawn = true
}

func (s *sending) clearProgress() {
	if s.drawn {
		_, _ = io.WriteString(s.env.Stderr, "\r\x1b[K")
		s.drawn = false
	}
}
