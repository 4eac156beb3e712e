package e2e

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/kafkatest"
)

// The same cases on Apache Kafka: three brokers, one broker, and one that asks for TLS and a password.
func TestKafka(t *testing.T) {
	t.Parallel()
	t.Run("three brokers", func(t *testing.T) {
		k := startKafka(t, kafkatest.Config{Brokers: 3})
		runSuite(t, k, push, reconnect, topics, kill, freeze)
	})
	t.Run("one broker", func(t *testing.T) {
		k := startKafka(t, kafkatest.Config{Brokers: 1})
		runSuite(t, k, push, topics, strange, kill, freeze)
	})
	t.Run("TLS and SCRAM", func(t *testing.T) {
		k := startKafka(t, kafkatest.Config{Brokers: 1, Secure: true})
		runSuite(t, k, push, reconnect)
	})
}

// container is Apache Kafka in containers.
type container struct{ *kafkatest.Cluster }

func startKafka(t *testing.T, cfg kafkatest.Config) container {
	t.Helper()
	return container{kafkatest.Start(t, cfg)}
}

func (c container) Config() kafkalog.Config {
	cfg := kafkalog.Config{Brokers: c.Addrs}
	if c.CAFile != "" {
		cfg.TLS = kafkalog.TLSConfig{Enable: true, CA: c.CAFile}
		cfg.SASL = kafkalog.SASLConfig{Mechanism: "scram-sha-512", Username: c.Username, Password: c.Password}
	}
	return cfg
}

func (c container) Brokers() int { return len(c.Addrs) }

func (c container) Options() []kgo.Opt { return c.ClientOptions() }
