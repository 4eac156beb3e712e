package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/tickets/ticketstest"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/redistest"
)

// TestTotalsConform runs on real Redises what the packages totals and tickets promise of every Redis: the one in memory, on which all other
// tests stand, has its own interpreter of Lua and its own idea of expiry, and neither slots nor replicas.
func TestTotalsConform(t *testing.T) {
	t.Parallel()
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		conform(t, totals.Config{Addrs: []string{redistest.Start(t).Addr}}, rueidis.ClientOption{ForceSingleClient: true})
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		conform(t, totals.Config{Addrs: redistest.StartCluster(t).Addrs[:1], Cluster: true}, rueidis.ClientOption{})
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		g := redistest.StartGuarded(t)
		cfg := totals.Config{Addrs: []string{g.Sentinel}, MasterName: g.Name}
		conform(t, cfg, rueidis.ClientOption{Sentinel: rueidis.SentinelOption{MasterSet: g.Name}})
		failover(t, cfg, g)
	})
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
	ticketstest.Conform(t, ticketstest.Server{Config: cfg, Raw: client})
}

// failover kills the master in the middle of a log. Its replica takes over, with what it had, and an owner that does as
// the store says comes to the right end.
func failover(t *testing.T, cfg totals.Config, g *redistest.Guarded) {
	t.Helper()
	cfg.Prefix, cfg.Timeout = "failover", 2*time.Second
	store, err := totals.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	epoch := store.Epoch(1, totals.RuleOf(fold.Params{Window: 1000, Within: time.Hour}))
	ledger := totalstest.NewLedger(1, 2000)
	ctx, cancel := context.WithTimeout(t.Context(), healed)
	defer cancel()
	next, killed, away := int64(totals.None), false, 0
	for next < ledger.End() {
		if !killed && next > ledger.End()/2 {
			g.KillMaster(t)
			killed = true
		}
		to := min(max(next, 0)+5, ledger.End())
		err := epoch.Apply(ctx, ledger.Batch(0, next, to))
		var refused *totals.RefusedError
		switch {
		case err == nil:
			next = to
		case errors.As(err, &refused):
			next = refused.Have
		case totals.IsAway(err) && ctx.Err() == nil:
			away++
			pause(ctx, 20*time.Millisecond)
		default:
			t.Fatal(err)
		}
	}
	t.Logf("a batch found no master %d times", away)
	if end := ledger.Check(t, epoch, 0); end != ledger.End() || !killed {
		t.Fatalf("the totals are those at %d of %d", end, ledger.End())
	}
}
