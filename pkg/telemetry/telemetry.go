// Package telemetry is how a process is seen from outside: its log, its metrics and profiles on the admin port, and what
// it says of its own build.
package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/pprof"
	"runtime/debug"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/linkpulse/linkpulse/pkg/httpserver"
)

// LogConfig configures a logger.
type LogConfig struct {
	Level string `help:"Least level of the log." default:"info" enum:"debug,info,warn,error"`
}

// NewLogger returns a logger that writes JSON lines to sink. Callers log no token, no body and no client address.
func NewLogger(cfg LogConfig, sink io.Writer) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(cfg.Level)
	if err != nil {
		return nil, fmt.Errorf("log level: %w", err)
	}
	enc := zap.NewProductionEncoderConfig()
	enc.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	enc.EncodeDuration = zapcore.StringDurationEncoder
	core := zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(zapcore.AddSync(sink)), level)
	return zap.New(core), nil
}

// Build says what was built: version and revision, as the Go toolchain stamped them.
func Build() (version, revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", "unknown"
	}
	version, revision = info.Main.Version, "unknown"
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return version, revision
}

// RegisterProcess registers what every process has: the Go runtime, the process itself, and a constant metric that names
// the build.
func RegisterProcess(registry prometheus.Registerer) error {
	version, revision := Build()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "linkpulse", Name: "build_info", Help: "1, labelled with what was built.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision},
	})
	build.Set(1)
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build,
	} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("registering process metrics: %w", err)
		}
	}
	return nil
}

// AdminHandler serves /metrics, /livez, /readyz and, if asked, /debug/pprof. It belongs on a port that only operators
// reach: profiles tell what is in memory.
func AdminHandler(gatherer prometheus.Gatherer, health *httpserver.Health, profiles bool) http.Handler {
	r := chi.NewRouter()
	r.Handle("/metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{}))
	r.Get("/livez", health.Livez)
	r.Get("/readyz", health.Readyz)
	if profiles {
		r.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		r.HandleFunc("/debug/pprof/profile", pprof.Profile)
		r.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		r.HandleFunc("/debug/pprof/trace", pprof.Trace)
		r.HandleFunc("/debug/pprof/*", pprof.Index)
	}
	return r
}
