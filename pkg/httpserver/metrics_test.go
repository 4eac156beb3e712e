package httpserver

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRequestsAreCountedByRoute(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	instrument, err := Instrument(registry, "linkpulse_test")
	if err != nil {
		t.Fatal(err)
	}
	r := chi.NewRouter()
	r.Use(instrument)
	r.Get("/links/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	r.Get("/ws", func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("hijacking: %v", err)
			return
		}
		_ = conn.Close()
	})
	srv := httptest.NewServer(r)
	defer srv.Close()
	for path, status := range map[string]int{"/links/a": 204, "/links/b": 204, "/.env": 404, "/wp-login.php": 404, "/ws": 0} {
		resp, err := srv.Client().Get(srv.URL + path)
		if err != nil {
			if status != 0 {
				t.Errorf("%s: %v", path, err)
			}
			continue
		}
		if resp.Body.Close(); resp.StatusCode != status {
			t.Errorf("%s answers %d", path, resp.StatusCode)
		}
	}
	const want = `
		# HELP linkpulse_test_http_requests_total Requests by route and class of status.
		# TYPE linkpulse_test_http_requests_total counter
		linkpulse_test_http_requests_total{code="1xx",route="/ws"} 1
		linkpulse_test_http_requests_total{code="2xx",route="/links/{id}"} 2
		linkpulse_test_http_requests_total{code="4xx",route="none"} 2
	`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "linkpulse_test_http_requests_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(registry, "linkpulse_test_http_request_seconds"); err != nil || n != 2 {
		t.Errorf("%d timed routes: %v", n, err)
	}
	if _, err := Instrument(registry, "linkpulse_test"); err == nil {
		t.Error("the same metrics were registered twice")
	}
}
