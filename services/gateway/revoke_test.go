package gateway

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/pkg/revocation"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// A revoked subject is cut off within a second, in words and with a code, over every road, and by a gateway that starts
// afterwards too; nobody else notices.
func TestRevocation(t *testing.T) {
	t.Parallel()
	inGuardedWorld(t, nil, func(w *guardedWorld) {
		w.clicks("acme:x", 3)
		anna, bert := w.token("anna", "acme:*"), w.token("bert", "acme:*")
		ticket := w.ticket(anna)
		dashboards := map[string]*dashboard{}
		for name, token := range map[string]string{"anna": anna, "bert": bert} {
			d, _ := w.knock("/ws", token)
			if d == nil {
				w.t.Fatalf("%s is refused", name)
			}
			d.subscribe("acme:x")
			d.await("acme:x", 3)
			dashboards[name] = d
		}
		time.Sleep(2 * time.Second) // tokens are issued to the second: this is past that of anna's
		begun := time.Now()
		if _, err := revocation.Revoke(w.t.Context(), w.cluster, revocation.Revocation{Subject: "anna"}); err != nil {
			w.t.Fatal(err)
		}
		<-dashboards["anna"].done
		if took := time.Since(begun); took > time.Second {
			w.t.Errorf("the connection was there for %v more", took)
		}
		if code := websocket.CloseStatus(dashboards["anna"].err); wire.CloseCode(code) != wire.CloseRevoked {
			w.t.Errorf("closed with %d", code)
		}
		if told, ok := first[wire.Error](dashboards["anna"]); !ok || told.Code != wire.ErrTokenRevoked {
			w.t.Errorf("told %+v", told)
		}
		w.outside(anna, ticket)
		w.end()
		w.registry = prometheus.NewRegistry()
		w.start()
		w.awaitReady()
		w.outside(anna, ticket)
		d, _ := w.knock("/ws", bert)
		if d == nil {
			w.t.Fatal("bert is refused")
		}
		d.subscribe("acme:x")
		d.await("acme:x", 3)
		_ = d.conn.CloseNow()
		<-d.done
		<-dashboards["bert"].done
	})
}

// outside holds that a token opens nothing, nor a ticket that was taken with it.
func (w *guardedWorld) outside(token, ticket string) {
	w.t.Helper()
	for _, way := range []struct{ path, token string }{{"/ws", token}, {"/ws?ticket=" + ticket, ""}} {
		d, resp := w.knock(way.path, way.token)
		if d != nil {
			w.t.Fatalf("%.10s: a revoked token opens it", way.path)
		}
		if resp.StatusCode != http.StatusUnauthorized {
			w.t.Errorf("%.10s: %s", way.path, resp.Status)
		}
		_ = resp.Body.Close()
	}
	if status, body := w.ask(http.MethodGet, "/links/acme:x/clicks", token); status != http.StatusUnauthorized || !strings.Contains(body, "revoked") {
		w.t.Errorf("plain HTTP: %d %s", status, body)
	}
}

// A gateway that is stopped while somebody waits for a ticket, and Redis does not answer, ends without an error all the same.
func TestStopWhileRedisHangs(t *testing.T) {
	t.Parallel()
	inGuardedWorld(t, nil, func(w *guardedWorld) {
		token := w.token("anna", "acme:*")
		w.redis.Mute(true)
		answered := make(chan int, 1)
		go func() {
			defer close(answered) // also where there is no answer
			status, _ := w.ask(http.MethodPost, "/v1/tickets", token)
			answered <- status
		}()
		time.Sleep(10 * time.Millisecond)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			w.end()
		}()
		if status := <-answered; status != http.StatusServiceUnavailable {
			w.t.Errorf("a ticket without Redis: %d", status)
		}
		<-stopped
	})
}
