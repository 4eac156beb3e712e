package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		var phases []string
		w := watch(t, m, WatchOptions{OnState: func(s State) { phases = append(phases, s.Phase.String()) }}, at1)
		add(t, w, "a")
		p := g.ready(1)
		p.expect(subscribe("a"))
		time.Sleep(15 * time.Second)
		p.heartbeat(100 * time.Millisecond)
		time.Sleep(22 * time.Second)
		phase(t, w, PhaseLive)
		time.Sleep(time.Second)
		if s := phase(t, w, PhaseStale); s.Reason != "the gateway is silent" || s.Lag != 100*time.Millisecond {
			t.Fatalf("state %+v", s)
		}
		time.Sleep(7*time.Second - time.Millisecond)
		phase(t, w, PhaseStale)
		time.Sleep(time.Millisecond)
		phase(t, w, PhaseReconnecting)
		p = g.ready(1)
		p.expect(subscribe("a"))
		// A gateway that is cut off from Kafka says so itself.
		p.heartbeat(11 * time.Second)
		if s := phase(t, w, PhaseStale); !strings.Contains(s.Reason, "11s behind") {
			t.Fatalf("state %+v", s)
		}
		p.heartbeat(0)
		phase(t, w, PhaseLive)
		if got := strings.Join(phases, " "); got != "connecting live live stale reconnecting reconnecting live stale live" {
			t.Fatalf("phases %s", got)
		}
	})
}

func TestGoodbyeSaysWhen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.ready(1)
		time.Sleep(settled)
		p.send(wire.AppendGoodbye(nil, wire.Goodbye{Reason: wire.ReasonDrain, ReconnectAfterMs: 4200}))
		p.close(wire.CloseServiceRestart)
		synctest.Wait()
		begun := time.Now()
		g.ready(1)
		if waited := time.Since(begun); waited != 4200*time.Millisecond {
			t.Fatalf("came back after %v", waited)
		}
	})
}

func TestCloseClasses(t *testing.T) {
	t.Parallel()
	for _, row := range wire.CloseTable() {
		if row.Code == wire.CloseNoStatus || row.Code == wire.CloseAbnormal {
			continue // never travel
		}
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				g := newGateway(t, m, at1)
				w := watch(t, m, WatchOptions{}, at1)
				add(t, w, "a")
				p := g.ready(1)
				time.Sleep(settled)
				p.close(row.Code)
				synctest.Wait()
				switch s := w.State(); row.Class {
				case wire.CloseStop:
					stopped := (*StoppedError)(nil)
					if s.Phase != PhaseClosed || !errors.As(s.Err, &stopped) || stopped.Code != row.Code {
						t.Fatalf("state %+v", s)
					}
					for _, err := range w.Updates(t.Context()) {
						if err == nil {
							continue
						}
						if !errors.Is(err, stopped) {
							t.Fatalf("the iterator ends with %v", err)
						}
						return
					}
					t.Fatal("the iterator ends without an error")
				case wire.CloseReconnect:
					if wait := time.Until(s.RetryAt); wait < 0 || wait > watchBackoff {
						t.Fatalf("comes back after %v", wait)
					}
				case wire.CloseBackOff:
					if wait := time.Until(s.RetryAt); wait < backOffLeast || wait > backOffMost {
						t.Fatalf("comes back after %v", wait)
					}
				}
			})
		})
	}
}

func TestBackoffGrowsAndIsForgiven(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := watch(t, m, WatchOptions{}, at1) // nobody listens
		add(t, w, "a")
		most := watchBackoff
		for attempt := 1; attempt <= 12; attempt++ {
			s := phase(t, w, PhaseReconnecting)
			if wait := time.Until(s.RetryAt); s.Attempt != attempt || wait < 0 || wait > most {
				t.Fatalf("attempt %d waits %v, at most %v; state %+v", attempt, wait, most, s)
			}
			most = min(2*most, watchBackoffMax)
			time.Sleep(time.Until(s.RetryAt))
		}
		g := newGateway(t, m, at1)
		p := g.ready(1)
		time.Sleep(settled)
		p.close(wire.CloseGoingAway)
		if s := phase(t, w, PhaseReconnecting); s.Attempt != 1 || time.Until(s.RetryAt) > watchBackoff {
			t.Fatalf("state %+v", s)
		}
	})
}

func TestRefusedHandshakes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status   int
		header   string
		phase    Phase
		min, max time.Duration
	}{
		{http.StatusServiceUnavailable, "7", PhaseReconnecting, 7 * time.Second, 7500 * time.Millisecond},
		{http.StatusServiceUnavailable, "", PhaseReconnecting, backOffLeast, backOffMost},
		{http.StatusNotFound, "", PhaseReconnecting, backOffLeast, backOffMost},
		{http.StatusForbidden, "", PhaseClosed, 0, 0},
		{http.StatusUnauthorized, "", PhaseClosed, 0, 0},
	} {
		t.Run(fmt.Sprint(tt.status, tt.header), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				g := newGateway(t, m, at1)
				g.refuse = func(w http.ResponseWriter, _ *http.Request) {
					if tt.header != "" {
						w.Header().Set("Retry-After", tt.header)
					}
					w.WriteHeader(tt.status)
				}
				w := watch(t, m, WatchOptions{}, at1)
				add(t, w, "a")
				s := phase(t, w, tt.phase)
				if s.Phase == PhaseReconnecting {
					if wait := time.Until(s.RetryAt); wait < tt.min || wait > tt.max {
						t.Fatalf("comes back after %v", wait)
					}
				}
			})
		})
	}
}

func TestAnotherProtocolStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.next()
		p.send(toJSON(t, map[string]any{"type": "ready", "protocol": 2, "epoch": 1}))
		if s := phase(t, w, PhaseClosed); !strings.Contains(s.Reason, "version 2") {
			t.Fatalf("state %+v", s)
		}
	})
}

func TestNoReadyInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		g := newGateway(t, m, at1)
		w := watch(t, m, WatchOptions{}, at1)
		add(t, w, "a")
		p := g.next()
		p.expect(subscribe("a"))
		time.Sleep(10*time.Second - time.Millisecond)
		phase(t, w, PhaseConnecting)
		time.Sleep(time.Millisecond)
		if s := phase(t, w, PhaseReconnecting); !errors.Is(s.Err, errNotReady) {
			t.Fatalf("state %+v", s)
		}
	})
}
