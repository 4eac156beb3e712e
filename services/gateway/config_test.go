package gateway

import (
	"io"
	"strings"
	"testing"
	"time"
)

// What every configuration needs.
const (
	brokers = "--kafka-brokers=kafka:9092"
	open    = "--auth=off"
)

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	cfg, err := LoadConfig([]string{brokers, open}, nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Totals != totalsRedis || cfg.Redis.Prefix != "linkpulse" || cfg.RestLinger != 10*time.Second || cfg.RestLinks != 20_000 {
		t.Fatalf("%+v", cfg)
	}
}

func TestConfigIsRefused(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"--totals=memory":        "--totals",
		"--redis-addrs=redis":    "host:port",
		"--redis-prefix={x}":     "prefix",
		"--rest-linger=1h":       "--rest-linger",
		"--rest-links=0":         "--rest-links",
		"--rest-requests=0":      "--rest-requests",
		"--origins=dash.example": "--origins",
		"--heartbeat=1ms":        "--heartbeat",
		"--drain=1h":             "--drain",
		"--max-connections=0":    "--max-connections",
		"--page-links=a b":       "--page-links",
	} {
		if _, err := LoadConfig([]string{brokers, open, arg}, nil, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %s", arg, err, want)
		}
	}
	// Who reads no totals from Redis need not say where it is.
	if _, err := LoadConfig([]string{brokers, open, "--totals=replay", "--redis-addrs=redis"}, nil, io.Discard); err != nil {
		t.Error(err)
	}
	if _, err := LoadConfig([]string{brokers, open}, []string{"GATEWAY_TOTALS=replay", "GATEWAY_REDIS_ADDRS=a:1"}, io.Discard); err != nil {
		t.Error(err)
	}
}
