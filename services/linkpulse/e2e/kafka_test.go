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
		runSuite(t, k, push, reconnect, topics, elect, kill, bounce, freeze, isolate, outvote)
	})
	t.Run("one broker", func(t *testing.T) {
		k := startKafka(t, kafkatest.Config{Brokers: 1})
		runSuite(t, k, push, topics, strange, burst, kill, freeze, widen)
	})
	t.Run("TLS and SCRAM", func(t *testing.T) {
		k := startKafka(t, kafkatest.Config{Brokers: 1, Secure: true})
		runSuite(t, k, push, reconnect)
	})
}

// TestKafkaWithAFullDisk: there is no room for another record. Kafka ends itself then; what it has acknowledged is there
// when it comes back, what it has not is refused or in doubt, and no dashboard is wrong.
func TestKafkaWithAFullDisk(t *testing.T) {
	t.Parallel()
	k := startKafka(t, kafkatest.Config{Brokers: 1, DiskMiB: 128})
	runSuite(t, k, push, namedCase{"the disk is full", func(t *testing.T, s *suite) {
		links := []string{"disk-a", "disk-b", "disk-c"}
		first := s.watch(t, s.stack.Gateways()[:1], links...)
		second := s.watch(t, s.stack.Gateways()[1:], links...)
		s.settled(t, links, first, second)
		s.underLoad(t, links, func() {
			k.FillDisk(t)
			waitFor(t, "a click is not taken", func() bool { return s.visitor.visit(t.Context(), 1, links...) != nil })
			waitFor(t, "ingest says that it is not ready", func() bool { return !isReady(t, s.stack.Ingest()) })
			k.FreeDisk(t)
			if k.IsRunning(t, 1) {
				k.Kill(t, 1)
			}
			k.Restart(t, 1)
		})
		s.settled(t, links, first, second)
	}})
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
