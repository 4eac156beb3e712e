package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/kafka-go"
	"go.uber.org/zap"
)

const (
	// metadataTTL is how old a client's picture of leaders may get by itself. Leader errors refresh it at once.
	metadataTTL = 2 * time.Second
	// dialTimeout bounds a connection, with its TLS handshake and SASL exchange.
	dialTimeout = 3 * time.Second
	// requestTimeout bounds a request. The client tells the broker half of it as the time to wait for replicas.
	requestTimeout = 5 * time.Second
	// refreshEvery is the least time between two refreshes of a topic's metadata that errors cause. All partitions of a
	// topic share connections and metadata; when a broker dies they all notice at once.
	refreshEvery = 100 * time.Millisecond
)

// Cluster is a Kafka cluster. It is safe for concurrent use.
type Cluster struct {
	cfg      Config
	addr     net.Addr
	log      *zap.Logger
	registry prometheus.Registerer
	base     kafka.Transport // a template: its settings are copied for each topic

	mu     sync.Mutex // guards what follows; never held across I/O
	topics map[string]*topicClient
	closed bool
}

// topicClient sends the requests that concern one topic. Each topic has connections and metadata of its own: the client
// library otherwise reads the metadata of every topic of the cluster.
type topicClient struct {
	*kafka.Client
	transport *kafka.Transport

	mu        sync.Mutex // guards refreshed
	refreshed time.Time
}

// Option changes how a cluster is opened.
type Option func(*Cluster)

// WithDialer makes connections with dial.
func WithDialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return func(c *Cluster) { c.base.Dial = dial }
}

// WithLogger logs to log; the default is silence.
func WithLogger(log *zap.Logger) Option { return func(c *Cluster) { c.log = log } }

// WithMetrics registers metrics with registry; the default is not to.
func WithMetrics(registry prometheus.Registerer) Option {
	return func(c *Cluster) { c.registry = registry }
}

// Open returns a cluster. It reads the files that cfg names and does no other I/O: a cluster that is away shows in the
// first request.
func Open(cfg Config, opts ...Option) (*Cluster, error) {
	if err := cfg.Check(); err != nil {
		return nil, fmt.Errorf("opening kafka: %w", err)
	}
	tlsConfig, err := cfg.tlsConfig()
	if err != nil {
		return nil, fmt.Errorf("opening kafka: %w", err)
	}
	mechanism, err := cfg.saslMechanism()
	if err != nil {
		return nil, fmt.Errorf("opening kafka: SASL: %w", err)
	}
	c := &Cluster{
		cfg: cfg, addr: kafka.TCP(cfg.Brokers...), log: zap.NewNop(), topics: map[string]*topicClient{},
		base: kafka.Transport{
			DialTimeout: dialTimeout, MetadataTTL: metadataTTL, ClientID: cfg.ClientID, TLS: tlsConfig, SASL: mechanism,
		},
	}
	for _, o := range opts {
		o(c)
	}
	return c, nil
}

// Close ends every connection. Requests under way fail.
func (c *Cluster) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, t := range c.topics {
		t.transport.CloseIdleConnections()
	}
	clear(c.topics)
}

// errClusterClosed reports a request after Close.
var errClusterClosed = errors.New("the kafka cluster was closed")

// topic returns the client of a topic.
func (c *Cluster) topic(name string) (*topicClient, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClusterClosed
	}
	if t, ok := c.topics[name]; ok {
		return t, nil
	}
	transport := &kafka.Transport{
		Dial: c.base.Dial, DialTimeout: c.base.DialTimeout, MetadataTTL: c.base.MetadataTTL, ClientID: c.base.ClientID,
		TLS: c.base.TLS, SASL: c.base.SASL, MetadataTopics: []string{name},
	}
	t := &topicClient{
		Client:    &kafka.Client{Addr: c.addr, Timeout: requestTimeout, Transport: transport},
		transport: transport,
	}
	c.topics[name] = t
	return t, nil
}

// refresh forgets the topic's leaders and drops its idle connections, so that the next request asks anew. Without it a
// moved leader is found when the metadata expires: 3.4 s on average instead of 25 ms.
func (t *topicClient) refresh() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.refreshed) < refreshEvery {
		return
	}
	t.refreshed = time.Now()
	t.transport.CloseIdleConnections()
}

// Bounds are the first offset of a partition and the one after its last.
type Bounds struct{ Start, End int64 }

// Bounds returns the bounds of a partition as of now.
func (c *Cluster) Bounds(ctx context.Context, topic string, partition int32) (Bounds, error) {
	t, err := c.topic(topic)
	if err != nil {
		return Bounds{}, err
	}
	res, err := t.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.FirstOffsetOf(int(partition)), kafka.LastOffsetOf(int(partition))},
	}})
	if err == nil {
		err = errNoPartition
		for _, p := range res.Topics[topic] {
			if p.Partition == int(partition) {
				if err = p.Error; err == nil {
					return Bounds{Start: p.FirstOffset, End: p.LastOffset}, nil
				}
			}
		}
	}
	t.refresh()
	return Bounds{}, fmt.Errorf("asking for the bounds of %s/%d: %w", topic, partition, err)
}

// errNoPartition reports an answer that does not tell of the partition that was asked for.
var errNoPartition = errors.New("the answer does not name the partition")
