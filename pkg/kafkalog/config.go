package kafkalog

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/linkpulse/linkpulse/pkg/tlsclient"
)

// Config says how to reach a cluster. Services embed it in their own configuration.
type Config struct {
	Brokers  []string   `help:"Addresses to bootstrap from." placeholder:"HOST:PORT"`
	ClientID string     `help:"How this program names itself to the brokers." default:"linkpulse"`
	TLS      TLSConfig  `embed:"" prefix:"tls-"`
	SASL     SASLConfig `embed:"" prefix:"sasl-"`
}

// TLSConfig says how connections are encrypted.
type TLSConfig = tlsclient.Config

// SASLConfig says how the program proves who it is.
type SASLConfig struct {
	Mechanism string `help:"How to authenticate." default:"none" enum:"none,plain,scram-sha-256,scram-sha-512"`
	Username  string `help:"User name."`
	Password  string `help:"Password."`
}

// Check returns every contradiction in the configuration.
func (c Config) Check() error {
	var errs []error
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("no Kafka brokers: name at least one host:port"))
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			errs = append(errs, fmt.Errorf("kafka broker %q is not host:port: %w", b, err))
		}
	}
	if err := c.TLS.Check(); err != nil {
		errs = append(errs, fmt.Errorf("kafka TLS: %w", err))
	}
	hasUser := c.SASL.Username != "" && c.SASL.Password != ""
	switch {
	case !slices.Contains([]string{"none", "plain", "scram-sha-256", "scram-sha-512"}, c.mechanism()):
		errs = append(errs, fmt.Errorf("kafka SASL: there is no mechanism %q here", c.SASL.Mechanism))
	case c.mechanism() != "none" && !hasUser:
		errs = append(errs, fmt.Errorf("kafka SASL: %s needs a user name and a password", c.SASL.Mechanism))
	case c.mechanism() == "none" && (c.SASL.Username != "" || c.SASL.Password != ""):
		errs = append(errs, errors.New("kafka SASL: there is a user name or a password and no mechanism"))
	case c.mechanism() == "plain" && !c.TLS.Enable:
		errs = append(errs, errors.New("kafka SASL: plain sends the password as it is; enable TLS or use scram-sha-512"))
	}
	return errors.Join(errs...)
}

// mechanism treats the zero value as none.
func (c Config) mechanism() string {
	if c.SASL.Mechanism == "" {
		return "none"
	}
	return c.SASL.Mechanism
}

func (c Config) saslMechanism() (sasl.Mechanism, error) {
	switch c.mechanism() {
	case "plain":
		return plain.Mechanism{Username: c.SASL.Username, Password: c.SASL.Password}, nil
	case "scram-sha-256":
		return scram.Mechanism(scram.SHA256, c.SASL.Username, c.SASL.Password)
	case "scram-sha-512":
		return scram.Mechanism(scram.SHA512, c.SASL.Username, c.SASL.Password)
	default:
		return nil, nil //nolint:nilnil // no SASL is a configuration
	}
}
