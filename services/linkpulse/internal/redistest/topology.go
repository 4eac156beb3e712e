package redistest

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	tclog "github.com/testcontainers/testcontainers-go/log"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/kafkatest"
)

// Servers in the host's network name themselves to each other and to clients by the same addresses. Only an engine that
// runs on this very machine can do that.

// member is one of several servers.
type member struct {
	addr      string
	container testcontainers.Container
}

// start starts a server in the host's network, which listens on a free port of loopback.
func start(t *testing.T, command func(port string) []string) member {
	t.Helper()
	port := strconv.Itoa(kafkatest.FreePort(t))
	c, err := testcontainers.GenericContainer(t.Context(), testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image: Image, Cmd: command(port),
			HostConfigModifier: func(h *container.HostConfig) { h.NetworkMode = "host" },
		},
		Started: true, Logger: tclog.TestLogger(t),
	})
	if c != nil {
		testcontainers.CleanupContainer(t, c, testcontainers.StopTimeout(0))
	}
	if err != nil {
		t.Fatalf("starting redis: %v", err)
	}
	m := member{addr: "127.0.0.1:" + port, container: c}
	(&Redis{Addr: m.addr}).await(t)
	return m
}

func server(port string, more ...string) []string {
	return append([]string{"redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no"}, more...)
}

// run runs a command in the container of a server until it says what is wanted.
func (m member) run(t *testing.T, want string, command ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for {
		said, err := m.exec(ctx, command)
		if err == nil && strings.Contains(said, want) {
			return
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatalf("%q says %q, %v", command, said, err)
		}
	}
}

func portOf(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// Cluster is three masters, among which the slots are divided.
type Cluster struct {
	// Addrs of the masters.
	Addrs []string
}

// StartCluster starts a cluster and waits until it serves.
func StartCluster(t *testing.T) *Cluster {
	t.Helper()
	kafkatest.Docker(t)
	c := &Cluster{}
	var last member
	create := []string{"redis-cli", "--cluster", "create"}
	for range 3 {
		last = start(t, func(port string) []string {
			return server(port, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(kafkatest.FreePort(t)))
		})
		c.Addrs = append(c.Addrs, last.addr)
		create = append(create, last.addr)
	}
	last.run(t, "All 16384 slots covered", append(create, "--cluster-yes")...)
	for _, addr := range c.Addrs { // each has to hear of it
		port := portOf(addr)
		last.run(t, "cluster_state:ok", "redis-cli", "-p", port, "cluster", "info")
	}
	return c
}

// Guarded is a master with a replica, and a Sentinel that puts the replica in its place when it is gone for a second.
type Guarded struct {
	// Sentinel is its address, Name that of the master.
	Sentinel, Name string

	docker *testcontainers.DockerClient
	master member
}

// StartGuarded starts them and waits until the replica has caught up.
func StartGuarded(t *testing.T) *Guarded {
	t.Helper()
	g := &Guarded{docker: kafkatest.Docker(t), Name: "totals"}
	g.master = start(t, func(port string) []string { return server(port) })
	port := portOf(g.master.addr)
	replica := start(t, func(own string) []string { return server(own, "--replicaof", "127.0.0.1 "+port) })
	replicaPort := portOf(replica.addr)
	replica.run(t, "master_link_status:up", "redis-cli", "-p", replicaPort, "info", "replication")
	sentinel := start(t, func(own string) []string {
		config := fmt.Sprintf("port %s\nbind 127.0.0.1\nsentinel monitor %s 127.0.0.1 %s 1\nsentinel down-after-milliseconds %s 1000\n",
			own, g.Name, port, g.Name)
		return []string{"sh", "-c", `printf '%s' "$0" >/tmp/sentinel.conf && exec redis-server /tmp/sentinel.conf --sentinel`, config}
	})
	sentinelPort := portOf(sentinel.addr)
	sentinel.run(t, "num-slaves\n1", "redis-cli", "-p", sentinelPort, "sentinel", "master", g.Name) // else it has nobody to promote
	g.Sentinel = sentinel.addr
	return g
}

// KillMaster ends the master as kill -9 does.
func (g *Guarded) KillMaster(t *testing.T) {
	t.Helper()
	_, err := g.docker.ContainerKill(t.Context(), g.master.container.GetContainerID(), client.ContainerKillOptions{Signal: "KILL"})
	if err != nil {
		t.Fatalf("killing the master: %v", err)
	}
}

func (m member) exec(ctx context.Context, command []string) (said string, err error) {
	_, out, err := m.container.Exec(ctx, command, exec.Multiplexed())
	if err != nil {
		return "", err
	}
	all, err := io.ReadAll(out)
	return strings.ReplaceAll(string(all), "\r\n", "\n"), err
}
