package ingest

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/linkpulse/linkpulse/pkg/config"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/telemetry"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Config of the service. Its tags name its settings: --kafka-brokers is INGEST_KAFKA_BROKERS in the environment.
type Config struct {
	Addr      string `help:"Where to take clicks." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	AdminAddr string `help:"Where to serve metrics, health and profiles. Only operators should reach it; empty serves none." default:"127.0.0.1:9090" placeholder:"HOST:PORT"`
	Profiles  bool   `help:"Serve /debug/pprof on the admin port: profiles tell what is in memory." default:"false"`

	API      string `help:"Take clicks over HTTP." default:"on" enum:"on,off"`
	Auth     string `help:"Who may send clicks: keys, whoever has an API key of --keys-file; off, everybody who can connect. Needed where clicks are taken." default:"" enum:",keys,off"`
	KeysFile string `help:"JSON file of API keys, which linkpulse key makes. It is read again when it changes." placeholder:"FILE"`
	Tally    string `help:"Fold the log into totals in Redis. All ingests that do share the partitions among them." default:"on" enum:"on,off"`

	Kafka  kafkalog.Config     `embed:"" prefix:"kafka-"`
	Redis  totals.Config       `embed:"" prefix:"redis-"`
	Queue  QueueConfig         `embed:"" prefix:"queue-"`
	Limits LimitsConfig        `embed:"" prefix:"max-"`
	Log    telemetry.LogConfig `embed:"" prefix:"log-"`

	ReadTimeout time.Duration `help:"How long a request may take to arrive." default:"10s"`
	RetryAfter  time.Duration `help:"When a client that is told 503 is asked to come back." default:"1s"`
	Drain       time.Duration `help:"How long to finish requests and to have Kafka acknowledge what is queued, once told to stop." default:"15s"`
}

const (
	// on is what switches the API and the tally on.
	on = "on"
	// byKeys and off are who may send clicks.
	byKeys = "keys"
	off    = "off"
)

// QueueConfig bounds what waits for Kafka and for how long.
type QueueConfig struct {
	Bytes    int           `help:"Bytes that may wait in front of one partition; more is answered 503." default:"4194304"`
	Deadline time.Duration `help:"How long to go on trying to append a click." default:"30s"`
}

// LimitsConfig bounds what clients can ask for.
type LimitsConfig struct {
	Body        int   `help:"Bytes of a request's body." default:"1048576"`
	Clicks      int   `help:"Clicks of a request." default:"1000"`
	Memory      int64 `help:"Bytes that all requests under way may hold, beyond a few KiB of each." default:"134217728"`
	Connections int   `help:"Connections at a time; more are closed at once." default:"10000"`
}

// LoadConfig reads the configuration from arguments (without the program's name) and the environment (NAME=value). The
// error tells every problem at once; it is config.ErrHelp if help was asked for and written to stdout.
func LoadConfig(args, environ []string, stdout io.Writer) (Config, error) {
	var cfg Config
	err := config.Load(&cfg, config.Source{Name: "ingest", Prefix: "INGEST", Args: args, Environ: environ, Stdout: stdout})
	return cfg, err
}

// Check returns everything that is wrong with the configuration as a whole.
func (c *Config) Check() error {
	errs := []error{c.Kafka.Check(), c.checkAuth()}
	if c.Tally == on {
		errs = append(errs, c.Redis.Check())
		if c.Redis.Timeout > c.Drain {
			errs = append(errs, errors.New("--redis-timeout: must not be longer than --drain: a call that is under way is waited for"))
		}
	}
	if c.API != on && c.Tally != on {
		errs = append(errs, errors.New("--api and --tally are both off: there is nothing to do"))
	}
	for _, least := range []struct {
		flag  string
		value int64
		least int64
	}{
		{"--queue-bytes", int64(c.Queue.Bytes), 64 << 10},
		{"--queue-deadline", int64(c.Queue.Deadline), int64(time.Second)},
		{"--max-body", int64(c.Limits.Body), 1 << 10},
		{"--max-clicks", int64(c.Limits.Clicks), 1},
		{"--max-memory", c.Limits.Memory, int64(c.Limits.Body) + int64(c.Limits.Clicks)*1<<10},
		{"--max-connections", int64(c.Limits.Connections), 1},
		{"--read-timeout", int64(c.ReadTimeout), int64(time.Second)},
		{"--retry-after", int64(c.RetryAfter), int64(time.Second)},
		{"--drain", int64(c.Drain), int64(2 * answerMargin)},
	} {
		if least.value < least.least {
			errs = append(errs, fmt.Errorf("%s: must be at least %d", least.flag, least.least))
		}
	}
	return errors.Join(errs...)
}

// checkAuth sees to it that somebody has decided who may send clicks: neither is a default that nobody would regret.
func (c *Config) checkAuth() error {
	switch {
	case c.API == on && c.Auth == "":
		return errors.New("--auth: say who may send clicks: --auth=keys with --keys-file=FILE, whoever has an API key of the file; " +
			"--auth=off, everybody who can connect")
	case c.Auth == byKeys && c.KeysFile == "":
		return errors.New("--keys-file: --auth=keys needs a file of keys; linkpulse key new makes one")
	case c.Auth == off && c.KeysFile != "":
		return errors.New("--auth=off and --keys-file contradict each other: no key would be looked at")
	}
	return nil
}
