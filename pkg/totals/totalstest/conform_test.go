package totalstest

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/linkpulse/linkpulse/pkg/totals"
)

const tick = 10 * time.Millisecond

//nolint:tparallel // its subtests share a server
func TestConform(t *testing.T) {
	t.Parallel()
	r := New(t)
	r.ClockTTL(false) // by its own clock it looks at every key before every command
	go func() {
		for ticker := time.NewTicker(tick); ; {
			select {
			case <-ticker.C:
				r.FastForward(tick)
			case <-t.Context().Done():
				ticker.Stop()
				return
			}
		}
	}()
	raw, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{Addr}, ForceSingleClient: true, DisableCache: true, AlwaysPipelining: true,
		DialCtxFn: func(ctx context.Context, address string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return r.Dial(ctx, "tcp", address)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	cfg := Config()
	cfg.Timeout = 30 * time.Second // it is real time here, and the race detector takes seconds for 10,000 links on a busy machine
	Conform(t, Server{Config: cfg, Options: []totals.Option{totals.WithDialer(r.Dial)}, Raw: raw})
}
