package revocation_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/revocation"
)

// What is revoked is closed at every gateway within a second, refused from then on, and by a gateway that starts later too.
func TestRevocationReachesEveryGateway(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		gateways := []*gateway{w.gateway(), w.gateway()}
		stolen, other := identity("t1", "ada"), identity("t2", "ada")
		eve := identity("t3", "eve")
		time.Sleep(time.Minute)
		late := identity("t4", "eve")
		for _, g := range gateways {
			defer g.stop()
			g.ready()
			g.join(stolen, other, eve, late)
		}
		began := time.Now()
		w.revoke(revocation.Revocation{TokenID: "t1"})
		w.revoke(revocation.Revocation{Subject: "eve", IssuedBefore: late.IssuedAt})
		time.Sleep(time.Second)
		gateways = append(gateways, w.gateway())
		defer gateways[2].stop()
		gateways[2].ready()
		for i, g := range gateways {
			for id, want := range map[*auth.Identity]bool{stolen: true, other: false, eve: true, late: false} {
				if g.list.Revoked(id) != want {
					w.t.Errorf("gateway %d: %s is revoked: %v", i, id.TokenID, !want)
				}
				if i < 2 && g.isClosed(id) != want {
					w.t.Errorf("gateway %d: %s is closed: %v", i, id.TokenID, !want)
				}
			}
			for name, at := range g.closed {
				if took := at.Sub(began); took > time.Second {
					w.t.Errorf("gateway %d closed %s after %v", i, name, took)
				}
			}
		}
		w.revoke(revocation.Revocation{IssuedBefore: time.Now()})
		time.Sleep(time.Second)
		for i, g := range gateways {
			if !g.list.Revoked(other) || !g.list.Revoked(late) || i < 2 && !g.isClosed(late) {
				w.t.Errorf("gateway %d: not everything is revoked", i)
			}
			time.Sleep(time.Second)
			if fresh := identity("t5", "ada"); g.list.Revoked(fresh) || g.list.Revoked(auth.Anybody()) {
				w.t.Errorf("gateway %d: what was issued later is revoked, or what never was", i)
			}
		}
	})
}

// Until the topic was read to its end nobody knows who is revoked.
func TestNotReadyUntilItIsRead(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		early := w.gateway()
		defer early.stop()
		time.Sleep(10 * time.Second)
		if err := early.list.Ready(); !errors.Is(err, revocation.ErrNotRead) || !strings.Contains(err.Error(), "Unknown Topic") {
			w.t.Fatalf("without the topic: %v", err)
		}
		w.init()
		w.revoke(revocation.Revocation{TokenID: "t1"})
		down := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: deployment.ControlTopic, Err: kerr.NotLeaderForPartition, Count: -1})
		late := w.gateway()
		defer late.stop()
		time.Sleep(10 * time.Second)
		if err := late.list.Ready(); !errors.Is(err, revocation.ErrNotRead) || !strings.Contains(err.Error(), "Not Leader") {
			w.t.Fatalf("while it cannot be read: %v", err)
		}
		down.Remove()
		time.Sleep(5 * time.Second)
		for _, g := range []*gateway{early, late} {
			if err := g.list.Ready(); err != nil || !g.list.Revoked(identity("t1", "ada")) {
				w.t.Errorf("%v; what was there before is revoked: %v", err, g.list.Revoked(identity("t1", "ada")))
			}
		}
	})
}

// An outage makes nobody unready and forgets nothing, and what was written meanwhile is known a second after it.
func TestOutage(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		registry := prometheus.NewRegistry()
		core, logs := observer.New(zap.InfoLevel)
		g := w.gateway(withRegistry(registry), revocation.WithLogger(zap.New(core)))
		defer g.stop()
		g.ready()
		first, second := identity("t1", "ada"), identity("t2", "ada")
		g.join(first, second)
		w.revoke(revocation.Revocation{TokenID: "t1"})
		time.Sleep(time.Second)
		known := completeTo(w.t, registry)
		if age := time.Since(known); age > 2*time.Second {
			w.t.Errorf("it is known up to %v ago", age)
		}
		down := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: deployment.ControlTopic, Err: kerr.NotLeaderForPartition, Count: -1})
		w.put("revoke/token/t2", value(time.Time{}, time.Now().Add(time.Hour)))
		time.Sleep(time.Minute)
		if err := g.list.Ready(); err != nil || !g.list.Revoked(first) || g.list.Revoked(second) {
			w.t.Errorf("in an outage: %v, %v, %v", err, g.list.Revoked(first), g.list.Revoked(second))
		}
		if age := time.Since(completeTo(w.t, registry)); age < time.Minute {
			w.t.Errorf("it seems to be known up to %v ago", age)
		}
		down.Remove()
		time.Sleep(time.Second)
		if !g.list.Revoked(second) || !g.isClosed(second) {
			w.t.Error("what was revoked in an outage is not known after it")
		}
		if all := logs.All(); len(all) != 2 || all[0].Level != zap.WarnLevel || all[1].Level != zap.InfoLevel {
			w.t.Errorf("%v", all)
		}
	})
}

func completeTo(t *testing.T, registry *prometheus.Registry) time.Time {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "linkpulse_revocation_complete_to_timestamp_seconds" {
			return time.UnixMilli(int64(f.Metric[0].Gauge.GetValue() * 1e3))
		}
	}
	t.Fatal("no such metric")
	return time.Time{}
}

// Records of others in the topic, and those that cannot be read, are in nobody's way.
func TestForeignRecords(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		registry := prometheus.NewRegistry()
		g := w.gateway(withRegistry(registry))
		defer g.stop()
		g.ready()
		hour := time.Now().Add(time.Hour)
		for key, v := range map[string][]byte{
			"revoked/token/t1":     value(time.Time{}, hour), // another key, of whoever
			"revoke":               value(time.Time{}, hour),
			"revoke/token/":        value(time.Time{}, hour),
			"revoke/token":         value(time.Time{}, hour),
			"revoke/link/t1":       value(time.Time{}, hour),
			"revoke/all/x":         value(time.Now(), hour),
			"revoke/token/a\nb":    value(time.Time{}, hour),
			"revoke/token/t1":      {0xff},
			"revoke/token/t2":      value(time.Now(), hour), // contradicts its key
			"revoke/subject/ada":   value(time.Time{}, hour),
			"revoke/all":           value(time.Time{}, hour),
			"revoke/subject/eve":   value(time.UnixMilli(-5), hour),
			"revoke/token/t3":      value(time.Time{}, time.UnixMilli(-1)),
			"revoke/token/expired": value(time.Time{}, time.Now().Add(-time.Second)),
		} {
			w.put(key, v)
		}
		w.put("revoke/token/t9", value(time.Time{}, hour))
		w.put("revoke/token/t9", []byte{0xff}) // what stood goes on standing
		time.Sleep(time.Second)
		for _, token := range []string{"t1", "t2", "t3", "expired"} {
			for _, subject := range []string{"ada", "eve"} {
				if id := identity(token, subject); g.list.Revoked(id) {
					w.t.Errorf("%s of %s is revoked", token, subject)
				}
			}
		}
		if !g.list.Revoked(identity("t9", "ada")) {
			w.t.Error("a record that cannot be read lifts one that can")
		}
		if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP linkpulse_revocation_records_total Records about revoked tokens that were read, by what they do; poison could not be read, and does nothing.
# TYPE linkpulse_revocation_records_total counter
linkpulse_revocation_records_total{result="lifts"} 1
linkpulse_revocation_records_total{result="poison"} 12
linkpulse_revocation_records_total{result="revokes"} 1
# HELP linkpulse_revocation_entries Tokens and subjects that are revoked.
# TYPE linkpulse_revocation_entries gauge
linkpulse_revocation_entries{of="subject"} 0
linkpulse_revocation_entries{of="token"} 1
`), "linkpulse_revocation_records_total", "linkpulse_revocation_entries"); err != nil {
			w.t.Error(err)
		}
		// And the readers of the deployment record do not mind revocations.
		if _, err := deployment.Read(w.t.Context(), w.cluster); err != nil {
			w.t.Error(err)
		}
		if g.calls > 3 {
			w.t.Errorf("%d calls for what concerns nobody", g.calls)
		}
	})
}

// A list forgets what is over, and so does the topic: the next writer removes it.
func TestWhatIsOverIsForgotten(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		registry := prometheus.NewRegistry()
		g := w.gateway(withRegistry(registry))
		defer g.stop()
		g.ready()
		w.revoke(revocation.Revocation{TokenID: "short", Until: time.Now().Add(3 * time.Minute)})
		w.revoke(revocation.Revocation{TokenID: "long"})
		time.Sleep(5 * time.Minute)
		if g.list.Revoked(identity("short", "a")) || !g.list.Revoked(identity("long", "a")) {
			w.t.Error("it has forgotten the wrong one")
		}
		if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP linkpulse_revocation_entries Tokens and subjects that are revoked.
# TYPE linkpulse_revocation_entries gauge
linkpulse_revocation_entries{of="subject"} 0
linkpulse_revocation_entries{of="token"} 1
`), "linkpulse_revocation_entries"); err != nil {
			w.t.Error(err)
		}
		if all := w.standing(); len(all) != 1 || all[0].TokenID != "long" {
			w.t.Errorf("%v stand", all)
		}
	})
}

// A topic that is cut or created anew is read again, and nothing that was revoked becomes good by it.
func TestTopicThatIsCreatedAnew(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		g := w.gateway()
		defer g.stop()
		g.ready()
		w.revoke(revocation.Revocation{TokenID: "t1"})
		w.revoke(revocation.Revocation{TokenID: "t2"})
		time.Sleep(time.Second)
		if err := w.fake.DeleteTopic(deployment.ControlTopic); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if err := w.fake.CreateTopic(deployment.ControlTopic, 1, nil); err != nil {
			w.t.Fatal(err)
		}
		w.cluster.Close()
		w.cluster = w.open()
		w.put("revoke/token/t3", value(time.Time{}, time.Now().Add(time.Hour)))
		time.Sleep(10 * time.Second)
		for _, token := range []string{"t1", "t2", "t3"} {
			if !g.list.Revoked(identity(token, "ada")) {
				w.t.Errorf("%s is good", token)
			}
		}
		if err := g.list.Ready(); err != nil {
			w.t.Error(err)
		}
	})
}
