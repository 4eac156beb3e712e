package redisconn

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	"github.com/linkpulse/linkpulse/pkg/tlsclient"
)

// Config says how to reach Redis. Services embed it in their own configuration.
type Config struct {
	Addrs            []string      `help:"Redis: one server, seeds of a cluster, or the Sentinels." default:"127.0.0.1:6379" placeholder:"HOST:PORT"`
	Cluster          bool          `help:"The addresses are those of a Redis Cluster."`
	MasterName       string        `help:"The addresses are those of Sentinels, which watch a master of this name."`
	Prefix           string        `help:"In front of every key: deployments that share a Redis must differ here." default:"linkpulse"`
	DB               int           `help:"Number of the database; not with a cluster." default:"0"`
	Username         string        `help:"User name; the default user without it."`
	Password         string        `help:"Password; none is sent without it."`
	SentinelUsername string        `help:"User name for the Sentinels, which have users of their own."`
	SentinelPassword string        `help:"Password for the Sentinels."`
	Timeout          time.Duration `help:"How long one call may take." default:"2s"`
	TLS              TLSConfig     `embed:"" prefix:"tls-"`
}

// TLSConfig says how connections are encrypted.
type TLSConfig = tlsclient.Config

// A brace would begin the part of a key that Redis Cluster hashes, which is ours.
var validPrefix = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

// leastTimeout keeps a configuration from asking for what no network does.
const leastTimeout = 50 * time.Millisecond

// Check returns every contradiction in the configuration.
func (c Config) Check() error {
	var errs []error
	if len(c.Addrs) == 0 {
		errs = append(errs, errors.New("no Redis addresses: name at least one host:port"))
	}
	for _, a := range c.Addrs {
		if _, _, err := net.SplitHostPort(a); err != nil {
			errs = append(errs, fmt.Errorf("redis address %q is not host:port: %w", a, err))
		}
	}
	if c.Cluster && c.MasterName != "" {
		errs = append(errs, errors.New("redis: the addresses are either a cluster's or Sentinels', not both"))
	}
	if c.Cluster && c.DB != 0 {
		errs = append(errs, errors.New("redis: a cluster has only database 0"))
	}
	if !c.Cluster && c.MasterName == "" && len(c.Addrs) > 1 {
		errs = append(errs, errors.New("redis: several addresses are seeds of a cluster or Sentinels: say which"))
	}
	if c.DB < 0 {
		errs = append(errs, fmt.Errorf("redis: database %d, must be at least 0", c.DB))
	}
	if !validPrefix.MatchString(c.Prefix) {
		errs = append(errs, fmt.Errorf("redis: prefix %q, must be 1 to 64 of A-Z a-z 0-9 . _ : -", c.Prefix))
	}
	if c.Timeout < leastTimeout {
		errs = append(errs, fmt.Errorf("redis: timeout %v, must be at least %v", c.Timeout, leastTimeout))
	}
	if c.Username != "" && c.Password == "" {
		errs = append(errs, errors.New("redis: a user name without a password"))
	}
	if c.SentinelUsername != "" && c.SentinelPassword == "" {
		errs = append(errs, errors.New("redis: a user name for the Sentinels without a password"))
	}
	if c.SentinelPassword != "" && c.MasterName == "" {
		errs = append(errs, errors.New("redis: a password for the Sentinels and no name of a master"))
	}
	if err := c.TLS.Check(); err != nil {
		errs = append(errs, fmt.Errorf("redis TLS: %w", err))
	}
	return errors.Join(errs...)
}
