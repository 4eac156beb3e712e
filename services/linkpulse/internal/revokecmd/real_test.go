package revokecmd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/revocation"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/initcmd"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/kafkatest"
)

// The same on Apache Kafka: a gateway is told, a broker that was killed comes back with what it acknowledged, and what is
// lifted is lifted by what Kafka takes for a tombstone.
func TestOnRealKafka(t *testing.T) {
	t.Parallel()
	kafka := kafkatest.Start(t, kafkatest.Config{Brokers: 1})
	connection := Connection{Kafka: kafkalog.Config{Brokers: kafka.Addrs}, Timeout: time.Minute}
	begin := initcmd.Cmd{
		Kafka: connection.Kafka, Topic: "clicks", Partitions: 1, Window: 1000, Within: time.Hour,
		Replicas: 1, MinInsync: 1, Retention: 168 * time.Hour, Timeout: time.Minute,
	}
	if err := begin.Run(t.Context(), &strings.Builder{}, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	run := func(c Command) string {
		t.Helper()
		var out strings.Builder
		if err := errors.Join(c.Check(), c.Run(t.Context(), Env{Stdout: &out, Log: zap.NewNop()})); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	run(&Add{Connection: connection, Token: new("before")})

	cluster, err := kafkalog.Open(connection.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	list, err := revocation.NewList()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	matches, done := make(chan func(*auth.Identity) bool, 100), make(chan error, 1)
	go func() {
		done <- revocation.Follow(ctx, cluster, list, func(match func(*auth.Identity) bool) { matches <- match })
	}()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow = %v", err)
		}
	}()
	token := func(name string) *auth.Identity {
		return &auth.Identity{TokenID: name, Subject: "ada", IssuedAt: time.Now().Add(-time.Minute)}
	}
	await := func(id *auth.Identity) {
		t.Helper()
		for {
			select {
			case match := <-matches:
				if match(id) {
					return
				}
			case <-t.Context().Done():
				t.Fatalf("nobody told of %s", id.TokenID)
			}
		}
	}
	await(token("before"))
	if err := list.Ready(); err != nil {
		t.Fatal(err)
	}
	run(&Add{Connection: connection, Token: new("while")})
	await(token("while"))
	kafka.Kill(t, 1)
	kafka.Restart(t, 1)
	kafka.Await(t)
	run(&Add{Connection: connection, Subject: new("ada")})
	await(token("after"))
	run(&Lift{Connection: connection, Token: new("while")})
	if out := run(&List{Connection: connection}); strings.Count(out, "\n") != 3 || !strings.Contains(out, `"before"`) {
		t.Errorf("%s", out)
	}
	wantNull(t, kafka, "revoke/token/while")
}

// wantNull looks at the last record of a key as another client sees it.
func wantNull(t *testing.T, kafka *kafkatest.Cluster, key string) {
	t.Helper()
	client := kafka.Client(t, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{deployment.ControlTopic: {0: kgo.NewOffset().AtStart()}}))
	records, lifted := 0, false
	for records < 5 { // the deployment, three that revoke, one that lifts
		fetches := client.PollFetches(t.Context())
		if err := fetches.Err0(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records++
			if string(r.Key) == key {
				lifted = r.Value == nil
			}
		})
	}
	if !lifted {
		t.Errorf("the last record of %s has a value", key)
	}
}
