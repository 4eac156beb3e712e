package ingest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/linkpulse/linkpulse/pkg/clickpb"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	cfg, err := LoadConfig([]string{"--drain", "20s", "--auth=off"}, []string{
		"INGEST_KAFKA_BROKERS=a:1,b:2", "INGEST_ADDR=:8080", "INGEST_DRAIN=30s", "INGEST_LOG_LEVEL=debug", "GATEWAY_ADDR=:1",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Addr != ":8080" || cfg.AdminAddr != "127.0.0.1:9090" || len(cfg.Kafka.Brokers) != 2 || cfg.Drain != 20*time.Second ||
		cfg.Log.Level != "debug" || cfg.Limits.Body != 1<<20 || cfg.Limits.Clicks != 1000 || cfg.Queue.Deadline != 30*time.Second {
		t.Fatalf("got %+v", cfg)
	}
	_, err = LoadConfig([]string{"--max-clicks=0", "--drain=1s", "--max-memory=1", "--redis-addrs=nowhere", "--redis-prefix={}"}, nil, io.Discard)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"broker", "--max-clicks", "--drain", "--max-memory", "redis address", "prefix", "--auth=keys", "--auth=off"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not told in:\n%v", want, err)
		}
	}
}

// The API alone has no Redis to be configured; nothing at all is a mistake.
func TestConfigOfParts(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ args, want string }{
		{"--api=on --tally=off --redis-addrs=nowhere --auth=off", ""},
		{"--api=off --tally=on", ""},
		{"--api=off --tally=off", "nothing to do"},
		{"--tally=maybe", "must be one of"},
		{"--redis-timeout=20s", "--redis-timeout"},
		{"--redis-timeout=20s --tally=off --auth=off", ""},
		{"--auth=keys --keys-file=keys.json", ""},
		{"--auth=keys", "--keys-file: --auth=keys needs"},
		{"--auth=off --keys-file=keys.json", "contradict each other"},
		{"--keys-file=keys.json", "--auth: say who may send clicks"},
		{"", "--auth: say who may send clicks: --auth=keys with --keys-file=FILE"},
		{"--auth=", "--auth=off, everybody"},
		{"--auth=on", "must be one of"},
	} {
		cfg, err := LoadConfig(append(strings.Fields(tc.args), "--kafka-brokers=a:1"), nil, io.Discard)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.args, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", tc.args, err, tc.want)
		case tc.want == "" && cfg.Redis.Prefix != "linkpulse":
			t.Errorf("%s: prefix %q", tc.args, cfg.Redis.Prefix)
		}
	}
}

// New binds or undoes itself: the address is free after an error.
func TestNewUndoesItself(t *testing.T) {
	t.Parallel()
	cfg, err := LoadConfig([]string{"--kafka-brokers=127.0.0.1:1", "--addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--auth=off"}, nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if s.Addr().String() == s.AdminAddr().String() {
		t.Fatalf("one address for both: %v", s.Addr())
	}
	second := cfg
	second.AdminAddr = s.AdminAddr().String()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(second, Deps{Listener: l}); err == nil {
		t.Fatal("the admin address was bound twice")
	}
	again, err := net.Listen("tcp", l.Addr().String())
	if err != nil {
		t.Fatalf("the failed service kept its address: %v", err)
	}
	_ = again.Close()
	for name, change := range map[string]func(*Config){
		"no address": func(c *Config) { c.Addr = "" },
		"zero value": func(c *Config) { *c = Config{} },
		"no broker":  func(c *Config) { c.Kafka.Brokers = nil },
	} {
		broken := cfg
		change(&broken)
		if _, err := New(broken, Deps{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	registry := prometheus.NewRegistry()
	for i := range 2 {
		s, err := New(cfg, Deps{Registry: registry})
		if (err != nil) != (i == 1) {
			t.Errorf("New number %d on one registry = %v", i+1, err)
		}
		if s != nil {
			s.close()
		}
	}
}

// write puts a deployment record into the control topic, as an operator's program does.
func (w *world) write(record *clickpb.Deployment) {
	w.t.Helper()
	value, err := proto.Marshal(record)
	if err != nil {
		w.t.Fatal(err)
	}
	p, err := w.cluster.NewProducer(w.t.Context(), kafkalog.ProducerConfig{Topic: deployment.ControlTopic, Partitions: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	err = p.Append([]kafkalog.Message{{TimeMs: time.Now().UnixMilli(), Key: []byte(deployment.Key), Value: value}})
	if err = errors.Join(err, p.Close(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

func TestDeploymentChanges(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		epoch  int64
		topic  string
		parts  uint32
		ending error // of Run; nil: it goes on
	}{
		"new epoch":                     {2, "clicks", partitions, nil},
		"new epoch on another topic":    {2, "clicks-2", partitions, errMoved},
		"new epoch, more partitions":    {2, "clicks", partitions + 1, errMoved},
		"other partitions in one epoch": {1, "clicks", partitions + 1, deployment.ErrContradiction},
		"the record that stands, again": {1, "clicks", partitions, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := ready(t, nil)
				record := deployment.Default()
				w.write(&clickpb.Deployment{
					Topic: tc.topic, Partitions: tc.parts, Window: record.Window, WithinMs: record.Within.Milliseconds(),
					FoldVersion: uint32(record.FoldVersion), Epoch: tc.epoch, CreatedAtMs: time.Now().UnixMilli(),
				})
				time.Sleep(time.Second)
				if tc.ending == nil {
					w.mustPost(http.StatusAccepted, `{"link":"a"}`)
					return
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				select {
				case err := <-w.ended:
					if !errors.Is(err, tc.ending) {
						t.Fatalf("Run = %v, want %v", err, tc.ending)
					}
				case <-ctx.Done():
					t.Fatal("the service goes on")
				}
			})
		})
	}
}
