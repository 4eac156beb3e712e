package stack

import (
	"io"
	"net"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/linkpulse/linkpulse/services/gateway"
	"github.com/linkpulse/linkpulse/services/ingest"
)

// newIngest returns the ingest, at rest. Its settings are those of its own program with these arguments, so that a
// default is written down in one place.
func (s *Stack) newIngest() *node {
	auth := []string{"--auth=off"}
	if s.cfg.KeysFile != "" {
		auth = []string{"--auth=keys", "--keys-file=" + s.cfg.KeysFile}
	}
	return s.newIngestNode("ingest", s.cfg.IngestAddr, append(auth, "--api=on")...)
}

// newTally returns the tally with index i, at rest: an ingest that takes no clicks.
func (s *Stack) newTally(i int) *node {
	return s.newIngestNode("tally-"+strconv.Itoa(i+1), s.cfg.TallyAddrs[i], "--api=off")
}

func (s *Stack) newIngestNode(name, addr string, args ...string) *node {
	return &node{
		name: name, addr: addr, failures: s.failures,
		build: func(addr string, registry *prometheus.Registry) (service, error) {
			cfg, err := ingest.LoadConfig(append([]string{"--addr=" + addr, "--admin-addr=", s.brokersArg()}, args...), nil, io.Discard)
			if err != nil {
				return nil, err
			}
			cfg.Kafka, cfg.Redis = s.cfg.Kafka, s.cfg.Redis
			l, err := s.listen(addr)
			if err != nil {
				return nil, err
			}
			return ingest.New(cfg, ingest.Deps{
				Log: s.cfg.Log.Named(name), Registry: registry, Listener: l, Dial: s.cfg.Net.dialer(name),
			})
		},
	}
}

// newGateway returns the gateway with index i, at rest.
func (s *Stack) newGateway(i int) *node {
	name := "gateway-" + strconv.Itoa(i+1)
	return &node{
		name: name, addr: s.cfg.GatewayAddrs[i], failures: s.failures,
		build: func(addr string, registry *prometheus.Registry) (service, error) {
			cfg, err := gateway.LoadConfig(s.gatewayArgs(name, addr), nil, io.Discard)
			if err != nil {
				return nil, err
			}
			cfg.Kafka, cfg.Redis = s.cfg.Kafka, s.cfg.Redis
			l, err := s.listen(addr)
			if err != nil {
				return nil, err
			}
			if tcp, ok := l.Addr().(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
				cfg.PageToken = s.cfg.PageToken
			}
			return gateway.New(cfg, gateway.Deps{
				Log: s.cfg.Log.Named(name), Registry: registry, Listener: l, Dial: s.cfg.Net.dialer(name),
			})
		},
	}
}

func (s *Stack) gatewayArgs(name, addr string) []string {
	// Everybody may see everything, and all of them are on one machine.
	args := []string{
		"--addr=" + addr, "--admin-addr=", "--name=" + name, s.brokersArg(),
		"--auth=off", "--max-address-connections=0", "--max-plain-connections=0", "--max-handshakes=0",
	}
	if s.cfg.Heartbeat > 0 {
		args = append(args, "--heartbeat="+s.cfg.Heartbeat.String())
	}
	if s.cfg.Drain > 0 {
		args = append(args, "--drain="+s.cfg.Drain.String())
	}
	if len(s.cfg.PageLinks) > 0 {
		args = append(args, "--page-links="+strings.Join(s.cfg.PageLinks, ","))
	}
	return append(args, s.cfg.GatewayArgs...)
}

func (s *Stack) brokersArg() string {
	return "--kafka-brokers=" + strings.Join(s.cfg.Kafka.Brokers, ",")
}

// listen opens a listener. An IPv4 address gets an IPv4 socket, as in the services' own programs.
func (s *Stack) listen(addr string) (net.Listener, error) {
	network := "tcp"
	if host, _, err := net.SplitHostPort(addr); err == nil && net.ParseIP(host).To4() != nil {
		network = "tcp4"
	}
	return s.cfg.Net.Listen(network, addr)
}
