package e2e

import (
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/redistest"
)

// TestTotalsConform runs on a real Redis what package totals promises of every Redis: the one in memory, on which all other
// tests stand, has its own interpreter of Lua and its own idea of expiry.
func TestTotalsConform(t *testing.T) {
	t.Parallel()
	conform(t, totals.Config{Addrs: []string{redistest.Start(t).Addr}}, rueidis.ClientOption{ForceSingleClient: true})
}

// conform runs the suite with a configuration of ours and one of the client's own that lead to the same Redis.
func conform(t *testing.T, cfg totals.Config, raw rueidis.ClientOption) {
	t.Helper()
	cfg.Prefix, cfg.Timeout = "conform", 10*time.Second
	raw.InitAddress, raw.DisableCache, raw.AlwaysPipelining = cfg.Addrs, true, true
	client, err := rueidis.NewClient(raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	totalstest.Conform(t, totalstest.Server{Config: cfg, Raw: client})
}
