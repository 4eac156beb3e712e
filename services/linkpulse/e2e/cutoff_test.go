package e2e

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/simnet"
)

// TestFirstSubscriberBehindACut: a gateway is cut off from Kafka, from its start on or later, and nobody has watched a
// link there before. So it has not yet held the totals of Redis against the log, and cannot. Clicks go on elsewhere. Who
// subscribes to it then is right two seconds after the cut has ended, whenever that is.
func TestFirstSubscriberBehindACut(t *testing.T) {
	t.Parallel()
	for _, fromStart := range []bool{true, false} {
		for name, fault := range map[string]simnet.Fault{
			"refused": {Refuse: true}, "nothing passes": {BlackHole: simnet.Both}, "no answer passes": {BlackHole: simnet.ToDialer},
		} {
			for lasts := 8 * time.Second; lasts < 12*time.Second; lasts += 1300 * time.Millisecond {
				t.Run(fmt.Sprintf("%s from the start %v for %v", name, fromStart, lasts), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { cutOff(t, fromStart, fault, lasts) })
				})
			}
		}
	}
}

func cutOff(t *testing.T, fromStart bool, fault simnet.Fault, lasts time.Duration) {
	const link = "x7Kp2"
	w := newWorld(t, 1)
	w.start()
	ctx, cancel := context.WithCancel(t.Context())
	v := newVisitor(w.stack.Ingest, w.net.Host("visitor").Dial, &w.recorder, 1)
	visit := func(times int) {
		t.Helper()
		for range times {
			if err := v.visit(ctx, 100, link); err != nil {
				t.Fatal(err)
			}
		}
	}
	visit(3)
	if fromStart {
		if err := w.stack.StopGateway(ctx, 0); err != nil {
			t.Fatal(err)
		}
	}
	var heals []func()
	for _, broker := range w.stack.Kafka() {
		fault.Path = simnet.Path{From: "gateway-1", To: broker}
		heals = append(heals, w.net.Inject(fault))
		if fault.Refuse {
			w.net.Cut(fault.Path)
		}
	}
	if fromStart {
		w.faults.Go(func() {
			if err := w.stack.StartGateway(ctx, 0); err != nil {
				t.Error(err)
			}
		})
	}
	d := newDashboard("dashboard", []string{link}, w.stack.Gateways()[:1], w.net.Host("dashboard").Dial, &w.recorder)
	d.papers = w.newPapers(d.name, d.links, w.rng)
	w.people.Go(func() {
		pause(ctx, lasts/2)
		d.run(ctx)
	})
	pause(ctx, lasts/4)
	visit(2)
	pause(ctx, lasts/4)
	visit(2)
	pause(ctx, lasts/2)
	for _, heal := range heals {
		heal()
	}
	soon, stop := context.WithTimeout(ctx, simHealed)
	defer stop()
	if err := d.await(soon, func(shown map[string]click.Count, _ string) bool { return shown[link].Count == 7 }); err != nil {
		t.Errorf("%v after the cut: %v", simHealed, err)
	}
	v.close()
	w.faults.Wait()
	cancel()
	w.people.Wait()
	stopping, stopped := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer stopped()
	if err := w.stack.Stop(stopping); err != nil {
		t.Error(err)
	}
}
