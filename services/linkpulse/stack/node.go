package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// service is what the stack needs of an ingest or a gateway.
type service interface {
	Addr() net.Addr
	Run(ctx context.Context) error
}

// node is a part that can be started, stopped and started again at the same address.
type node struct {
	name string
	// build makes a service that has bound addr and registered its metrics.
	build    func(addr string, registry *prometheus.Registry) (service, error)
	failures chan<- error

	mu       sync.Mutex // guards what follows; never held while waiting
	addr     string
	registry *prometheus.Registry
	cancel   context.CancelFunc // nil: not running
	done     chan struct{}      // closed when Run has returned
	err      error              // of the last Run; read after done
}

// start builds the service and runs it until stop. It keeps nothing of ctx but its values.
func (n *node) start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cancel != nil {
		return fmt.Errorf("starting %s: it is running", n.name)
	}
	registry := prometheus.NewRegistry()
	svc, err := n.build(n.addr, registry)
	if err != nil {
		return fmt.Errorf("starting %s: %w", n.name, err)
	}
	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.addr, n.registry, n.cancel, n.done = svc.Addr().String(), registry, cancel, make(chan struct{})
	go n.run(runCtx, svc, n.done)
	return nil
}

func (n *node) run(ctx context.Context, svc service, done chan struct{}) {
	err := svc.Run(ctx)
	if ctx.Err() == nil { // nobody asked it to stop
		err = fmt.Errorf("%s ended by itself: %w", n.name, errors.Join(err, errEnded))
		select {
		case n.failures <- err:
		default: // the first failure is the one to read
		}
	}
	n.mu.Lock()
	n.err = err
	n.mu.Unlock()
	close(done)
}

// errEnded marks the end of a part that nobody had stopped.
var errEnded = errors.New("a part of the stack is gone")

// stop asks the service to drain and waits for it. It may be called again.
func (n *node) stop(ctx context.Context) error {
	n.mu.Lock()
	cancel, done := n.cancel, n.done
	n.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("stopping %s: %w", n.name, context.Cause(ctx))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cancel = nil
	return n.err
}

func (n *node) url() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return "http://" + n.addr
}

// Gather returns the node's metrics with its name in the label "part".
func (n *node) Gather() ([]*dto.MetricFamily, error) {
	n.mu.Lock()
	registry := n.registry
	n.mu.Unlock()
	if registry == nil {
		return nil, nil
	}
	families, err := registry.Gather()
	for _, f := range families {
		for _, m := range f.Metric {
			m.Label = append(m.Label, &dto.LabelPair{Name: new("part"), Value: new(n.name)})
		}
	}
	return families, err
}

// readyPoll is how often a part is asked whether it is ready.
const readyPoll = 20 * time.Millisecond

// awaitReady asks the node's /readyz, as an orchestrator would, until it says yes. The error carries the last answer,
// which names what is missing.
func (s *Stack) awaitReady(ctx context.Context, n *node) error {
	transport := &http.Transport{DialContext: s.cfg.Net.Dial}
	defer transport.CloseIdleConnections()
	httpClient := &http.Client{Transport: transport}
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		answer, err := getReady(ctx, httpClient, n.url())
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w: %s", n.name, err, answer)
		case failure := <-s.failures:
			return failure
		case <-ticker.C:
		}
	}
}

func getReady(ctx context.Context, c *http.Client, url string) (answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/readyz", http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return strings.TrimSpace(string(body)), fmt.Errorf("/readyz answered %s", resp.Status)
	}
	return "", nil
}
