package kafkatest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	dockernet "github.com/moby/moby/api/types/network"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/network"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// Image is the official image, at the version that is tested.
const Image = "apache/kafka:4.3.1"

// run starts the broker. The first time the image's own entry point sets everything up; a restart goes on with what it
// left, which spares a JVM that would only find the storage formatted already.
const run = `if [ -f "$KAFKA_LOG_DIRS/meta.properties" ]; then
	exec java $KAFKA_HEAP_OPTS -cp '/opt/kafka/libs/*' -Dkafka.logs.dir=/opt/kafka/logs \
		-Dlog4j2.configurationFile=/opt/kafka/config/log4j2.yaml kafka.Kafka /opt/kafka/config/server.properties
fi
exec /etc/kafka/docker/run`

// startTimeout bounds the start of a cluster and the return of a broker. On a machine that is busy with other tests,
// three JVMs take most of a minute.
const startTimeout = 3 * time.Minute

// Config of a cluster.
type Config struct {
	Brokers int  // 1 or 3; 0 is 1
	Secure  bool // clients must use TLS and SASL/SCRAM-SHA-512
	// DiskMiB puts the log of a single broker on a disk of that size, which [Cluster.FillDisk] fills; 0 is the engine's own.
	DiskMiB int
}

// Cluster is a running Kafka cluster. It ends with the test that started it.
type Cluster struct {
	// Addrs are the brokers' addresses, which stay the same across restarts.
	Addrs []string
	// CAFile holds the certificate of the authority that signed the brokers' certificates, in PEM form. Secure only.
	CAFile string
	// Username and Password are a SCRAM-SHA-512 user who may do everything. Secure only.
	Username, Password string

	secure  bool
	tls     *tls.Config
	docker  *testcontainers.DockerClient
	brokers []testcontainers.Container
	disk    testcontainers.Container // holds the small disk while no broker does; nil: there is none
}

// Start starts a cluster and waits until it serves. See [Docker] for what happens where it cannot.
func Start(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	c := &Cluster{docker: Docker(t), secure: cfg.Secure}
	nodes := max(cfg.Brokers, 1)
	var keystore []byte
	if cfg.Secure {
		c.Username, c.Password = "linkpulse", "correct horse battery staple"
		keystore = c.certificates(t)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	lan, err := network.New(ctx)
	if err != nil {
		t.Fatalf("creating the brokers' network: %v", err)
	}
	testcontainers.CleanupNetwork(t, lan)
	volume := ""
	if cfg.DiskMiB > 0 {
		volume = c.startDisk(ctx, t, cfg.DiskMiB)
	}
	for node := 1; node <= nodes; node++ {
		port := FreePort(t)
		c.Addrs = append(c.Addrs, fmt.Sprintf("127.0.0.1:%d", port))
		broker, err := testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
			ContainerRequest: request(node, nodes, port, lan.Name, keystore, volume),
			Started:          true,
			Logger:           tclog.TestLogger(t),
		})
		if broker != nil { // also where it was created and did not start
			testcontainers.CleanupContainer(t, broker, testcontainers.StopTimeout(0)) // nothing on it is worth a clean end
		}
		if err != nil {
			t.Fatalf("starting broker %d: %v", node, err)
		}
		c.brokers = append(c.brokers, broker)
	}
	t.Cleanup(func() { // runs first, while there still are logs
		if t.Failed() {
			c.dump(t)
		}
	})
	if cfg.Secure {
		c.createUser(ctx, t)
	}
	c.Await(t)
	return c
}

// request describes a broker that is also a controller. CLIENT is published on the host, INTERNAL serves the brokers
// among themselves. A listener that is not called SSL keeps the image from asking for Java key stores.
func request(node, nodes, port int, lan string, keystore []byte, volume string) testcontainers.ContainerRequest {
	name := func(n int) string { return fmt.Sprintf("broker-%d", n) }
	var voters []string
	for n := 1; n <= nodes; n++ {
		voters = append(voters, fmt.Sprintf("%d@%s:9094", n, name(n)))
	}
	replicas := strconv.Itoa(nodes)
	logDir := "/tmp/kafka-logs"
	if volume != "" {
		logDir = diskDir + "/log"
	}
	// A dead broker's partitions move after three seconds, not after nine: tests wait for that. One broker has nobody to
	// move them to, and must not lose them where the machine is too busy for a heartbeat: it has Kafka's default.
	session := 3000
	if nodes == 1 {
		session = 9000
	}
	env := map[string]string{
		"CLUSTER_ID":                                     "4L6g3nShT-eMCtK--X86sw",
		"KAFKA_NODE_ID":                                  strconv.Itoa(node),
		"KAFKA_PROCESS_ROLES":                            "broker,controller",
		"KAFKA_CONTROLLER_QUORUM_VOTERS":                 strings.Join(voters, ","),
		"KAFKA_CONTROLLER_LISTENER_NAMES":                "CONTROLLER",
		"KAFKA_INTER_BROKER_LISTENER_NAME":               "INTERNAL",
		"KAFKA_LISTENERS":                                "CLIENT://:9092,INTERNAL://:9093,CONTROLLER://:9094",
		"KAFKA_ADVERTISED_LISTENERS":                     fmt.Sprintf("CLIENT://127.0.0.1:%d,INTERNAL://%s:9093", port, name(node)),
		"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP":           "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"KAFKA_AUTO_CREATE_TOPICS_ENABLE":                "false",
		"KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR":         replicas,
		"KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": replicas,
		"KAFKA_TRANSACTION_STATE_LOG_MIN_ISR":            strconv.Itoa((nodes + 1) / 2),
		"KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS":         "0",
		"KAFKA_BROKER_SESSION_TIMEOUT_MS":                strconv.Itoa(session),
		"KAFKA_BROKER_HEARTBEAT_INTERVAL_MS":             "500",
		"KAFKA_LOG_DIRS":                                 logDir,
		"KAFKA_HEAP_OPTS":                                "-Xms256m -Xmx512m",
	}
	var files []testcontainers.ContainerFile
	if keystore != nil {
		const at = "/etc/kafka/secrets/broker.pem"
		files = append(files, testcontainers.ContainerFile{
			Reader: strings.NewReader(string(keystore)), ContainerFilePath: at, FileMode: 0o644,
		})
		env["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"] = "CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT"
		env["KAFKA_SSL_KEYSTORE_TYPE"] = "PEM"
		env["KAFKA_SSL_KEYSTORE_LOCATION"] = at
		env["KAFKA_SASL_ENABLED_MECHANISMS"] = "SCRAM-SHA-512"
		// Three underscores are a dash: listener.name.client.scram-sha-512.sasl.jaas.config.
		env["KAFKA_LISTENER_NAME_CLIENT_SCRAM___SHA___512_SASL_JAAS_CONFIG"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	}
	return testcontainers.ContainerRequest{
		Image:          Image,
		Cmd:            []string{"sh", "-c", run},
		Env:            env,
		Files:          files,
		ExposedPorts:   []string{"9092/tcp"},
		Networks:       []string{lan},
		NetworkAliases: map[string][]string{lan: {name(node)}},
		HostConfigModifier: func(h *container.HostConfig) {
			// A port of our choice: the engine would take another one at each start, and the broker advertises this one.
			h.PortBindings = dockernet.PortMap{dockernet.MustParsePort("9092/tcp"): {{
				HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: strconv.Itoa(port),
			}}}
			if volume != "" {
				h.Binds = []string{volume + ":" + diskDir}
			}
		},
	}
}

// FreePort returns a port that nobody listens on, below the range from which the kernel takes ports for outgoing
// connections: one of those could take it while its broker is down.
func FreePort(t *testing.T) int {
	t.Helper()
	var listener net.ListenConfig
	for range 100 {
		port := 10000 + rand.IntN(20000)
		l, err := listener.Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port in 100 tries")
	return 0
}

// createUser creates the SCRAM user. Its first success also tells that the cluster is up.
func (c *Cluster) createUser(ctx context.Context, t *testing.T) {
	t.Helper()
	c.retry(ctx, t, "creating the SCRAM user", func(ctx context.Context) error {
		code, out, err := c.brokers[0].Exec(ctx, []string{
			"/opt/kafka/bin/kafka-configs.sh", "--bootstrap-server", "broker-1:9093", "--alter",
			"--entity-type", "users", "--entity-name", c.Username,
			"--add-config", fmt.Sprintf("SCRAM-SHA-512=[iterations=4096,password=%s]", c.Password),
		})
		if err != nil {
			return err
		}
		if code != 0 {
			text, _ := io.ReadAll(out)
			return fmt.Errorf("exit code %d: %s", code, text)
		}
		return nil
	})
}

// Await waits until every broker serves clients and has joined the cluster.
func (c *Cluster) Await(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	for _, addr := range c.Addrs {
		c.retry(ctx, t, "waiting for "+addr, func(ctx context.Context) error { return c.ask(ctx, addr) })
	}
}

// ask asks one broker whom it knows in the cluster.
func (c *Cluster) ask(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	client, err := kgo.NewClient(append(c.login(), kgo.SeedBrokers(addr), kgo.RetryTimeout(time.Second))...)
	if err != nil {
		return err
	}
	defer client.Close()
	resp, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client)
	if err != nil {
		return err
	}
	if len(resp.Brokers) != len(c.Addrs) {
		return fmt.Errorf("%d of %d brokers", len(resp.Brokers), len(c.Addrs))
	}
	return nil
}

// retry calls f until it succeeds.
func (c *Cluster) retry(ctx context.Context, t *testing.T, doing string, f func(context.Context) error) {
	t.Helper()
	every := time.NewTicker(250 * time.Millisecond)
	defer every.Stop()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", doing, errors.Join(ctx.Err(), err))
		}
	}
}

// ClientOptions returns what a client needs to find the cluster and to log in.
func (c *Cluster) ClientOptions() []kgo.Opt {
	return append(c.login(), kgo.SeedBrokers(c.Addrs...))
}

func (c *Cluster) login() []kgo.Opt {
	if !c.secure {
		return nil
	}
	auth := scram.Auth{User: c.Username, Pass: c.Password}
	return []kgo.Opt{kgo.DialTLSConfig(c.tls), kgo.SASL(auth.AsSha512Mechanism())}
}

// Client returns a client that is independent of the one in the product, to look at the cluster with. It ends with the
// test.
func (c *Cluster) Client(t *testing.T, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append(c.ClientOptions(), opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// Leader returns the node that leads a partition.
func (c *Cluster) Leader(t *testing.T, topic string, partition int32) int {
	t.Helper()
	client := c.Client(t)
	req := kmsg.NewPtrMetadataRequest()
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	req.Topics = append(req.Topics, asked)
	leader := -1
	c.retry(t.Context(), t, "asking for the leader", func(ctx context.Context) error {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return err
		}
		for _, of := range resp.Topics {
			for _, p := range of.Partitions {
				if p.Partition == partition && p.Leader > 0 {
					leader = int(p.Leader)
				}
			}
		}
		if leader < 0 {
			return fmt.Errorf("%s/%d has no leader", topic, partition)
		}
		return nil
	})
	return leader
}

// Move makes a broker the leader of a partition, as an operator does: it becomes the first of the replicas, whom Kafka
// prefers, and the preferred one is elected.
func (c *Cluster) Move(t *testing.T, topic string, partition int32, node int) {
	t.Helper()
	client := c.Client(t)
	replicas := []int32{int32(node)}
	for n := 1; n <= len(c.Addrs); n++ {
		if n != node {
			replicas = append(replicas, int32(n))
		}
	}
	reassign := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	reassign.Topic = topic
	reassign.Partitions = []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: partition, Replicas: replicas}}
	order := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	order.TimeoutMillis, order.Topics = 10_000, append(order.Topics, reassign)
	vote := kmsg.NewPtrElectLeadersRequest()
	vote.TimeoutMillis = 10_000
	vote.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: topic, Partitions: []int32{partition}}}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	c.retry(ctx, t, "electing a leader", func(ctx context.Context) error {
		resp, err := order.RequestWith(ctx, client)
		if err == nil {
			err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
		}
		if err != nil {
			return err
		}
		elected, err := vote.RequestWith(ctx, client)
		if err == nil {
			err = kerr.ErrorForCode(elected.Topics[0].Partitions[0].ErrorCode)
		}
		if errors.Is(err, kerr.ElectionNotNeeded) {
			return nil
		}
		return err
	})
}

// dump writes what every broker complained of last into the test's log. All that it says would bury why the test failed.
func (c *Cluster) dump(t *testing.T) {
	t.Helper()
	for i, broker := range c.brokers {
		r, err := broker.Logs(context.WithoutCancel(t.Context()))
		if err != nil {
			t.Logf("broker %d: no log: %v", i+1, err)
			continue
		}
		var complaints []string
		for lines := bufio.NewScanner(r); lines.Scan(); {
			if line := lines.Text(); strings.Contains(line, "] WARN ") || strings.Contains(line, "] ERROR ") {
				complaints = append(complaints, line)
			}
		}
		_ = r.Close()
		const most = 10
		t.Logf("broker %d complained %d times, last:\n%s",
			i+1, len(complaints), strings.Join(complaints[max(0, len(complaints)-most):], "\n"))
	}
}
