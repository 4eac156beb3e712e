package telemetry

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/httpserver"
)

func TestLoggerWritesJSONFromItsLevelOn(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := NewLogger(LogConfig{Level: "warn"}, &out)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("quiet")
	log.Warn("a\nline", zap.String("esc", "\x1b[31m"))
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || strings.Count(out.String(), "\n") != 1 || line["msg"] != "a\nline" {
		t.Fatalf("log %q: %v", out.String(), err)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Fatalf("an escape sequence reached the log: %q", out.String())
	}
	if _, err := NewLogger(LogConfig{Level: "loud"}, &out); err == nil {
		t.Fatal("an unknown level was taken")
	}
}

func TestAdminHandler(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	if err := RegisterProcess(registry); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][2]int{ // status without and with profiles
		"/metrics": {200, 200}, "/livez": {200, 200}, "/readyz": {200, 200}, "/debug/pprof/": {404, 200}, "/debug/pprof/heap": {404, 200},
	} {
		for i, profiles := range []bool{false, true} {
			w := httptest.NewRecorder()
			AdminHandler(registry, &httpserver.Health{}, profiles).ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
			if w.Code != want[i] {
				t.Errorf("%s with profiles %v = %d, want %d", path, profiles, w.Code, want[i])
			}
			if path == "/metrics" && !strings.Contains(w.Body.String(), "linkpulse_build_info") {
				t.Errorf("no build info in the metrics")
			}
		}
	}
}
