// Package broker is the embedded Kafka of `linkpulse dev` and of the simulations: franz-go's kfake, which speaks the
// real protocol on a real (or in-memory) listener, so that every other part runs the code that it runs in production.
//
// It is for one machine and one person: it listens on loopback only, replicates nothing, and what it promises on a
// crash is what the page cache keeps.
package broker

import (
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Config of an embedded broker.
type Config struct {
	// Port on 127.0.0.1; 0 takes a free one. With several nodes the first one's, counted up.
	Port int
	// Nodes is how many brokers to simulate, so that a partition's leader can move; 0 means 1.
	Nodes int
	// DataDir keeps the log across restarts. Empty: the log lives in memory and ends with the process.
	DataDir string
	// Listen opens a listener; nil is net.Listen.
	Listen func(network, address string) (net.Listener, error)
}

// Broker is a running embedded broker. Its methods are safe for concurrent use.
type Broker struct {
	cluster *kfake.Cluster
}

// Start starts a broker. Topics are never created by accident: `linkpulse init` and the stack create them explicitly,
// with their settings.
func Start(cfg Config) (*Broker, error) {
	nodes := max(cfg.Nodes, 1)
	opts := []kfake.Opt{kfake.NumBrokers(nodes), kfake.ClusterID("linkpulse-embedded")}
	if cfg.Port != 0 {
		ports := make([]int, nodes)
		for i := range ports {
			ports[i] = cfg.Port + i
		}
		opts = append(opts, kfake.Ports(ports...))
	}
	if cfg.Listen != nil {
		opts = append(opts, kfake.ListenFn(cfg.Listen))
	}
	if cfg.DataDir != "" {
		opts = append(opts, kfake.DataDir(cfg.DataDir))
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("starting the embedded broker: %w", err)
	}
	exorcise(cluster)
	return &Broker{cluster: cluster}, nil
}

// Addrs returns the addresses to bootstrap from.
func (b *Broker) Addrs() []string { return b.cluster.ListenAddrs() }

// Cluster gives access to kfake's fault injection, for tests.
func (b *Broker) Cluster() *kfake.Cluster { return b.cluster }

// Close stops the broker and, with a data directory, writes down what it holds.
func (b *Broker) Close() { b.cluster.Close() }
