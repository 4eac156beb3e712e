package gateway

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// A token in the page lets in whoever reaches the page.
func TestTokenInThePageIsForLoopback(t *testing.T) {
	t.Parallel()
	cfg := Config{
		Name: "gw", Addr: "0.0.0.0:0", Kafka: kafkalog.Config{Brokers: []string{"127.0.0.1:1"}}, Totals: totalsReplay,
		RestLinks: 1, RestRequests: 1, Access: AccessConfig{Auth: authOff, MaxConnections: 1}, PageToken: "s3cret",
	}
	_, err := New(cfg, Deps{Log: zap.NewNop(), Registry: prometheus.NewRegistry()})
	if err == nil || !strings.Contains(err.Error(), "loopback") || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("New = %v", err)
	}
	// No argument and no variable sets it.
	if _, err := LoadConfig([]string{brokers, "--page-token=x"}, nil, nil); err == nil {
		t.Error("there is a flag for it")
	}
	if _, err := LoadConfig([]string{brokers}, []string{"GATEWAY_PAGE_TOKEN=x"}, nil); err == nil {
		t.Error("there is a variable for it")
	}
}
