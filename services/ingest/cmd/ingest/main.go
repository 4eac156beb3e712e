// Command ingest takes clicks over HTTP and appends them to Kafka.
//
//	ingest [flags]      run until SIGTERM; --help lists the flags and their environment variables
//	ingest healthcheck  ask the ingest of this machine whether it is ready: exit status 0 or 1
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/config"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/telemetry"
	"github.com/linkpulse/linkpulse/services/ingest"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	args := os.Args[1:]
	probe := len(args) > 0 && args[0] == "healthcheck"
	if probe {
		args = args[1:]
	}
	cfg, err := ingest.LoadConfig(args, os.Environ(), os.Stdout)
	switch {
	case errors.Is(err, config.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return 2
	case probe:
		if err := httpserver.Probe(ctx, cfg.Addr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	return serve(ctx, cfg)
}

func serve(ctx context.Context, cfg ingest.Config) int {
	log, err := telemetry.NewLogger(cfg.Log, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer func() { _ = log.Sync() }() // a terminal cannot be synced, and there is nobody left to tell
	registry := prometheus.NewRegistry()
	if err := telemetry.RegisterProcess(registry); err != nil {
		log.Error("ingest cannot start", zap.Error(err))
		return 1
	}
	svc, err := ingest.New(cfg, ingest.Deps{Log: log, Registry: registry}) //nolint:contextcheck // binding is over at once
	if err != nil {
		log.Error("ingest cannot start", zap.Error(err))
		return 1
	}
	if err := svc.Run(ctx); err != nil {
		log.Error("ingest ended", zap.Error(err))
		return 1
	}
	return 0
}
