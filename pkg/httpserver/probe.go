package httpserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// probeTimeout bounds a probe: an orchestrator that asks does not wait longer either.
const probeTimeout = 3 * time.Second

// Probe asks the process that listens on addr whether it is ready. It is the health check of containers that have no
// shell and no curl: the program is started with the argument "healthcheck" and exits with what Probe says. An address
// that listens everywhere is asked on loopback.
func Probe(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("probing %q: %w", addr, err)
	}
	switch host {
	case "0.0.0.0":
		host = "127.0.0.1"
	case "", "::":
		host = "localhost" // in whichever family it answers
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	url := "http://" + net.JoinHostPort(host, port) + "/readyz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("probing %s: %w", url, err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("probing %s: %w", url, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // the status is the answer, the body only explains
		return fmt.Errorf("probing %s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
