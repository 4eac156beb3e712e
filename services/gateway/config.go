package gateway

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/config"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/telemetry"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Config of the service. Its tags name its settings: --kafka-brokers is GATEWAY_KAFKA_BROKERS in the environment.
type Config struct {
	Addr      string `help:"Where dashboards connect." default:"127.0.0.1:8081" placeholder:"HOST:PORT"`
	AdminAddr string `help:"Where to serve metrics, health and profiles; empty serves none. Only operators should reach it." default:"127.0.0.1:9091" placeholder:"HOST:PORT"`
	Profiles  bool   `help:"Serve /debug/pprof on the admin port: profiles tell what is in memory." default:"false"`
	Name      string `help:"How this gateway names itself to dashboards; the host's name by default."`

	Access AccessConfig `embed:""`

	Kafka kafkalog.Config     `embed:"" prefix:"kafka-"`
	Log   telemetry.LogConfig `embed:"" prefix:"log-"`

	Totals string        `help:"Where totals are read when a link is first watched: redis, which the tally keeps, or replay, which folds the log from its start each time and suits a small log without Redis." default:"redis" enum:"redis,replay"`
	Redis  totals.Config `embed:"" prefix:"redis-"`

	Heartbeat    time.Duration `help:"Interval of heartbeats. A dashboard that is silent for two of them is dropped." default:"15s"`
	Drain        time.Duration `help:"Over how long dashboards are sent elsewhere, once told to stop." default:"5s"`
	RestLinger   time.Duration `help:"For how long a link is counted on after a request for it over plain HTTP, so that a client that polls is answered from memory." default:"10s"`
	RestLinks    int           `help:"Links that are counted for such requests at a time; the one that was asked for longest ago gives way." default:"20000"`
	RestRequests int           `help:"Such requests at a time; more are answered 503. Half of them may wait for Redis." default:"1024"`
	PageLinks    []string      `help:"Links that the page shows when its address names none." placeholder:"LINK"`

	// PageToken is a token that is written into the page, so that whoever opens it needs none. It is no setting: only a
	// program that runs a gateway for the developer in front of it has a use for it, and New refuses it on any address but a
	// loopback one.
	PageToken string `kong:"-"`
}

// LoadConfig reads the configuration from arguments (without the program's name) and the environment (NAME=value). The
// error tells every problem at once; it is config.ErrHelp if help was asked for and written to stdout.
func LoadConfig(args, environ []string, stdout io.Writer) (Config, error) {
	var cfg Config
	err := config.Load(&cfg, config.Source{Name: "gateway", Prefix: "GATEWAY", Args: args, Environ: environ, Stdout: stdout})
	return cfg, err
}

// Limits of the settings, and why they are there.
const (
	minHeartbeat = 100 * time.Millisecond // below it a gateway does little else
	maxHeartbeat = 5 * time.Minute        // proxies end connections that are silent for about that long
	maxDrain     = 10 * time.Minute
	maxLinger    = 10 * time.Minute // a link is counted at every gateway that was asked for it
)

// Check returns everything that is wrong with the configuration as a whole.
func (c *Config) Check() error {
	errs := []error{c.Access.Check(), c.Kafka.Check()}
	if c.Heartbeat < minHeartbeat || c.Heartbeat > maxHeartbeat {
		errs = append(errs, fmt.Errorf("--heartbeat: must be from %v to %v", minHeartbeat, maxHeartbeat))
	}
	if c.Drain < 0 || c.Drain > maxDrain {
		errs = append(errs, fmt.Errorf("--drain: must be from 0 to %v", maxDrain))
	}
	if c.Totals != totalsReplay {
		errs = append(errs, c.Redis.Check())
	}
	if c.RestLinger < 0 || c.RestLinger > maxLinger {
		errs = append(errs, fmt.Errorf("--rest-linger: must be from 0 to %v", maxLinger))
	}
	if c.RestLinks < 1 {
		errs = append(errs, errors.New("--rest-links: must be at least 1"))
	}
	if c.RestRequests < 1 {
		errs = append(errs, errors.New("--rest-requests: must be at least 1"))
	}
	for i, l := range c.PageLinks {
		if err := click.CheckLink(l); err != nil {
			errs = append(errs, fmt.Errorf("--page-links: number %d: %w", i+1, err))
		}
	}
	return errors.Join(errs...)
}

// checkOrigin refuses what would allow more than it seems to: an origin without scheme allows the unencrypted one too,
// and a lone * every page of the web.
func checkOrigin(o string) error {
	scheme, host, ok := strings.Cut(o, "://")
	switch _, err := path.Match(o, ""); {
	case err != nil:
		return fmt.Errorf("--origins: %q: %w", o, err)
	case !ok || scheme != "http" && scheme != "https" || host == "" || strings.ContainsRune(host, '/'):
		return fmt.Errorf("--origins: %q is no origin: write http:// or https:// and a host, without a path", o)
	case strings.Trim(host, "*") == "":
		return fmt.Errorf("--origins: %q allows every page of the web to connect: list the origins", o)
	}
	return nil
}
