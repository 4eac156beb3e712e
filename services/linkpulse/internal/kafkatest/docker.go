package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// RequireEnv is the environment variable that turns a missing Docker engine from a skip into a failure.
const RequireEnv = "LINKPULSE_REQUIRE_DOCKER"

// Docker returns a client of the Docker engine. Without an engine, and under -short, it ends the test: as skipped, or as
// failed where [RequireEnv] is 1.
func Docker(t *testing.T) *testcontainers.DockerClient {
	t.Helper()
	var docker *testcontainers.DockerClient
	err := errShort
	if !testing.Short() {
		docker, err = engine(t.Context())
	}
	switch skip, why := verdict(err, os.Getenv(RequireEnv)); {
	case err == nil:
		t.Cleanup(func() { _ = docker.Close() })
	case skip:
		t.Skip(why)
	default:
		t.Fatal(why)
	}
	return docker
}

var errShort = errors.New("-short leaves out everything that needs Docker")

// verdict says what becomes of a test that has no Docker engine because of err.
func verdict(err error, required string) (skip bool, why string) {
	if required == "1" && !errors.Is(err, errShort) {
		return false, fmt.Sprintf("%s=1, but no Docker engine answers: %v", RequireEnv, err)
	}
	return true, fmt.Sprintf("SKIPPED, NOT TESTED ON REAL KAFKA: %v (%s=1 makes a missing Docker engine a failure)", err, RequireEnv)
}

func engine(ctx context.Context) (*testcontainers.DockerClient, error) {
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := docker.Ping(ctx, client.PingOptions{}); err != nil {
		_ = docker.Close()
		return nil, err
	}
	return docker, nil
}

// Kill ends a broker as kill -9 does. Nodes are numbered from 1.
func (c *Cluster) Kill(t *testing.T, node int) {
	t.Helper()
	if _, err := c.docker.ContainerKill(t.Context(), c.container(node), client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatalf("killing broker %d: %v", node, err)
	}
}

// Restart starts brokers that were killed, on the addresses that they had, and waits until all of them serve again.
func (c *Cluster) Restart(t *testing.T, nodes ...int) {
	t.Helper()
	for _, node := range nodes {
		if _, err := c.docker.ContainerStart(t.Context(), c.container(node), client.ContainerStartOptions{}); err != nil {
			t.Fatalf("starting broker %d: %v", node, err)
		}
	}
	c.Await(t)
}

// Pause freezes a broker: it keeps its connections and answers nothing, as behind a network that swallows everything.
func (c *Cluster) Pause(t *testing.T, node int) {
	t.Helper()
	if _, err := c.docker.ContainerPause(t.Context(), c.container(node), client.ContainerPauseOptions{}); err != nil {
		t.Fatalf("pausing broker %d: %v", node, err)
	}
}

// Unpause lets a paused broker go on where it stopped, with everything that clients sent it meanwhile.
func (c *Cluster) Unpause(t *testing.T, node int) {
	t.Helper()
	if _, err := c.docker.ContainerUnpause(t.Context(), c.container(node), client.ContainerUnpauseOptions{}); err != nil {
		t.Fatalf("unpausing broker %d: %v", node, err)
	}
}

func (c *Cluster) container(node int) string { return c.brokers[node-1].GetContainerID() }
