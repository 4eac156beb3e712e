package kafkatest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func createTopic(t *testing.T, client *kgo.Client, topic string, replicas int16) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	asked := kmsg.NewCreateTopicsRequestTopic()
	asked.Topic, asked.NumPartitions, asked.ReplicationFactor = topic, 1, replicas
	req.Topics = append(req.Topics, asked)
	resp, err := req.RequestWith(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}

func produce(ctx context.Context, t *testing.T, client *kgo.Client, value string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := client.ProduceSync(ctx, kgo.StringRecord(value)).FirstErr(); err != nil {
		t.Fatalf("producing %q: %v", value, err)
	}
}

func TestThreeBrokers(t *testing.T) {
	t.Parallel()
	c := Start(t, Config{Brokers: 3})
	client := c.Client(t, kgo.DefaultProduceTopic("t"), kgo.MetadataMinAge(100*time.Millisecond))
	createTopic(t, client, "t", 3)
	produce(t.Context(), t, client, "all up")

	leader := c.Leader(t, "t", 0)
	c.Kill(t, leader)
	produce(t.Context(), t, client, "one killed")
	if next := c.Leader(t, "t", 0); next == leader {
		t.Fatalf("broker %d was killed and leads", leader)
	}
	c.Restart(t, leader)

	leader = c.Leader(t, "t", 0)
	c.Pause(t, leader)
	produce(t.Context(), t, client, "one paused")
	c.Unpause(t, leader)
	c.Await(t)
}

func TestTLSAndSCRAM(t *testing.T) {
	t.Parallel()
	c := Start(t, Config{Secure: true})
	client := c.Client(t, kgo.DefaultProduceTopic("t"))
	createTopic(t, client, "t", 1)
	produce(t.Context(), t, client, "secret")

	stranger, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs...), kgo.DialTLSConfig(c.tls),
		kgo.SASL(scram.Auth{User: c.Username, Pass: "a guess"}.AsSha512Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Ping(t.Context()); !errors.Is(err, kerr.SaslAuthenticationFailed) {
		t.Fatalf("with a wrong password: %v, want SASL_AUTHENTICATION_FAILED", err)
	}
}
