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
	// metadataTTL is how old a client's picture of leaders may get by itself. Errors refresh it at once.
	metadataTTL = 2 * time.Second
	// dialTimeout bounds a connection, with its TLS handshake and SASL exchange.
	dialTimeout = 3 * time.Second
	// requestTimeout bounds a request. The client tells the broker half of it as the time to wait for replicas.
	requestTimeout = 5 * time.Second
)

// Cluster is a Kafka cluster. It is safe for concurrent use.
type Cluster struct {
	addr     net.Addr
	log      *zap.Logger
	registry prometheus.Registerer
	base     kafka.Transport // a template: its settings are copied for each topic
	conns    connections
	sets     sync.Pool // of *[]byte: record sets that were read

	// ends with the cluster, and with it the client library's goroutines that look after metadata
	ctx    context.Context //nolint:containedctx // belongs to no call; Close cancels it
	cancel context.CancelFunc

	mu     sync.Mutex // guards what follows; never held across I/O
	topics map[string]*topicClient
	closed bool
}

// Option changes how a cluster is opened.
type Option func(*Cluster)

// WithDialer makes connections with dial.
func WithDialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return func(c *Cluster) { c.conns.dialer = dial }
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
	tlsConfig, err := cfg.TLS.Load()
	if err != nil {
		return nil, fmt.Errorf("opening kafka: TLS: %w", err)
	}
	mechanism, err := cfg.saslMechanism()
	if err != nil {
		return nil, fmt.Errorf("opening kafka: SASL: %w", err)
	}
	c := &Cluster{
		addr: kafka.TCP(cfg.Brokers...), log: zap.NewNop(), topics: map[string]*topicClient{},
		conns: connections{dialer: new(net.Dialer).DialContext},
	}
	for _, o := range opts {
		o(c)
	}
	c.ctx, c.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // the root of what lives until Close
	c.base = kafka.Transport{
		Dial: c.conns.dial, DialTimeout: dialTimeout, MetadataTTL: metadataTTL, ClientID: cfg.ClientID,
		TLS: tlsConfig, SASL: mechanism, Context: c.ctx,
	}
	return c, nil
}

// Close breaks every connection: requests under way fail, and so do later ones. The goroutines that served them end.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	topics := c.topics
	c.topics = nil
	c.mu.Unlock()
	c.cancel()
	c.conns.close()
	for _, t := range topics {
		t.close()
	}
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
	t, ok := c.topics[name]
	if !ok {
		t = &topicClient{c: c, name: name}
		t.current.Store(c.newClient(name))
		c.topics[name] = t
	}
	return t, nil
}

// newClient returns a client with connections and metadata of its own, which it reads for one topic: the library
// otherwise reads the metadata of every topic of the cluster.
func (c *Cluster) newClient(topic string) *kafka.Client {
	return &kafka.Client{Addr: c.addr, Timeout: requestTimeout, Transport: &kafka.Transport{
		Dial: c.base.Dial, DialTimeout: c.base.DialTimeout, MetadataTTL: c.base.MetadataTTL, ClientID: c.base.ClientID,
		TLS: c.base.TLS, SASL: c.base.SASL, Context: c.base.Context, MetadataTopics: []string{topic},
	}}
}

// dropConnections closes what a client keeps open. Requests under way are not disturbed: each holds the connections that
// it began with, and they are closed behind the last one.
func dropConnections(client *kafka.Client) {
	client.Transport.(*kafka.Transport).CloseIdleConnections() //nolint:forcetypeassert // newClient made it
}
