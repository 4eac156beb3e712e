package e2e

import (
	"context"
	"time"

	"github.com/linkpulse/linkpulse/pkg/revocation"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

// revoke revokes tokens, as `linkpulse revoke` does, again and again until it is done. It returns whether it is.
func (w *world) revoke(ctx context.Context, r revocation.Revocation) bool {
	for ctx.Err() == nil {
		try, cancel := context.WithTimeout(ctx, 10*time.Second)
		stands, err := revocation.Revoke(try, w.operator, r)
		cancel()
		if err == nil {
			w.heed(ctx, stands)
			return true
		}
		pause(ctx, 500*time.Millisecond)
	}
	return false
}

// heed records from when on each gateway has to know of a revocation: when it says that it knows of all that were written
// by now, since until then it may not reach the brokers; and at the latest when all is healed, so that one that never says
// so is found out. What the gateway says is judged by what it does.
func (w *world) heed(ctx context.Context, r revocation.Revocation) {
	written := time.Now()
	known := history.Revocation{Token: r.TokenID, Subject: r.Subject, IssuedBefore: r.IssuedBefore}
	for i, gateway := range w.stack.Gateways() {
		w.people.Go(func() {
			for !w.calm.Load() && w.knowsUntil(i).Before(written) {
				pause(ctx, 100*time.Millisecond)
				if ctx.Err() != nil {
					return
				}
			}
			w.recorder.Add(history.Event{Kind: history.Revoked, Gateway: gateway, Revocation: &known})
		})
	}
}

// knowsUntil returns the time up to which a gateway says that it knows of all revocations.
func (w *world) knowsUntil(gateway int) time.Time {
	families, err := w.stack.GatewayMetrics(gateway).Gather()
	if err != nil {
		w.t.Errorf("asking a gateway for its metrics: %v", err)
	}
	for _, f := range families {
		if f.GetName() == "linkpulse_revocation_complete_to_timestamp_seconds" {
			return time.UnixMicro(int64(f.Metric[0].GetGauge().GetValue() * 1e6))
		}
	}
	w.t.Error("a gateway does not say up to when it knows of revocations")
	return time.Time{}
}
