package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/tokenflag"
)

// Cmd are the flags of `linkpulse bench`.
type Cmd struct {
	Dashboards int           `help:"Dashboards to connect." default:"1000" short:"n"`
	Links      int           `help:"Links that each dashboard watches." default:"10" short:"l"`
	Pool       int           `help:"Links that there are; clicks are spread evenly over them." default:"1000"`
	Rate       float64       `help:"Clicks per second, posted whether or not the system keeps up." default:"2000" short:"r"`
	Warmup     time.Duration `help:"Load before the measurement." default:"3s"`
	Duration   time.Duration `help:"Load that is measured." default:"15s" short:"d"`
	Poll       time.Duration `help:"Let the dashboards poll over plain HTTP, that often, instead of being told: the baseline." default:"0"`
	Settle     time.Duration `help:"How long to wait in the end for frames that are still owed." default:"10s"`
	Senders    int           `help:"Connections that post clicks." default:"64"`
	Seed       uint64        `help:"Seed of the load." default:"1"`
	Ingest     string        `help:"Ingest of a system that runs already. Without it, one is started as a process of its own." placeholder:"URL" and:"target"`
	Gateway    []string      `help:"Gateway of a system that runs already; repeat it for more." placeholder:"URL" and:"target"`
	Gateways   int           `help:"Gateways of the system that is started." default:"1"`
	Share      bool          `help:"Let the load generator and the system that is started use the same CPUs, as the kernel likes. Otherwise, on Linux, the load generator has one of its own if there are two."`
	PID        int           `help:"Process of the system that runs already, to read its CPU time and memory." default:"0"`
	Auth       string        `help:"Whether the system that is started wants tokens of its dashboards: off, which keeps figures comparable with those of before, or jwt." default:"off" enum:"off,jwt"`
	JSON       bool          `help:"Print the result as one line of JSON."`

	tokenflag.Flags
}

// Env is what the command takes from its process.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Terminal tells whether Stderr is one, so that a progress bar can be drawn.
	Terminal bool
}

// ErrMissing says that the system did not deliver everything in time. The result was printed.
var ErrMissing = errors.New("not every dashboard was told of every click")

// Run measures and prints.
func (c *Cmd) Run(ctx context.Context, env Env) (err error) {
	target := Target{Ingest: c.Ingest, Gateways: c.Gateway, Progress: c.progress(env)}
	if target.Token, err = c.token(ctx, env.Stdin); err != nil {
		return err
	}
	var cores division
	switch {
	case c.Ingest == "":
		if target.Token != "" {
			return errors.New("--token and --token-file are for a system that runs already: name its --ingest and --gateway")
		}
		var whole func() error
		if cores, whole, err = c.divide(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, whole()) }()
		s, err := startServer(ctx, c.Gateways, c.Auth, cores.server, env.Stderr)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.stop()) }()
		target.Ingest, target.Gateways, target.Probe = s.Ingest, s.Gateways, prober(s.cmd.Process.Pid, s.Admin)
		target.Token = s.Token
	case c.PID > 0:
		target.Probe = prober(c.PID, "")
	}
	result, err := Run(ctx, Load{
		Dashboards: c.Dashboards, Links: c.Links, Pool: c.Pool, Rate: c.Rate,
		Warmup: c.Warmup, Duration: c.Duration, Settle: c.Settle, Senders: c.Senders, Seed: c.Seed, Poll: c.Poll,
	}, target)
	if err != nil {
		return err
	}
	result.ServerCPUs, result.GeneratorCPUs = cores.server, cores.generator
	if c.JSON {
		err = json.NewEncoder(env.Stdout).Encode(result)
	} else {
		err = result.Print(env.Stdout)
	}
	if err == nil && result.Missing > 0 {
		err = fmt.Errorf("%w: %d missing", ErrMissing, result.Missing)
	}
	return err
}

// divide divides the CPUs, unless they are to be shared, and moves this process to its own. whole undoes that.
func (c *Cmd) divide() (cores division, whole func() error, err error) {
	cpus, err := usableCPUs()
	if err != nil {
		return division{}, nil, err
	}
	cores, ok := divide(cpus)
	if c.Share || !ok {
		return division{}, func() error { return nil }, nil
	}
	if err := bind(cores.generator); err != nil {
		return division{}, nil, fmt.Errorf("giving the load generator a CPU of its own, without which --share does: %w", err)
	}
	return cores, func() error { return bind(cpus) }, nil
}

// token returns the token to show, empty: none. A run is shorter than any token's life, so one is enough.
func (c *Cmd) token(ctx context.Context, stdin io.Reader) (string, error) {
	source, err := c.Source(ctx, stdin)
	if source == nil || err != nil {
		return "", err
	}
	return source.Token(ctx, "")
}

// progress returns what draws the bar, or nothing.
func (c *Cmd) progress(env Env) func(posted, clicks int) {
	if c.JSON || !env.Terminal {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(posted, clicks int) {
		if bar == nil {
			bar = progressbar.NewOptions(clicks, progressbar.OptionSetWriter(env.Stderr), progressbar.OptionSetDescription("clicks"),
				progressbar.OptionShowCount(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
		}
		_ = bar.Set(posted) // a bar that cannot be drawn is no reason to stop
	}
}
