// Package redistest runs a real Redis in a container, for tests that break it: killed with -9, started again with what it
// had saved a while ago, frozen, emptied.
package redistest

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	dockernet "github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/redis/rueidis"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/kafkatest"
)

// Image is the official image.
const Image = "redis:7"

// startTimeout bounds the start of a Redis; it takes a second where the machine has nothing else to do.
const startTimeout = time.Minute

// Redis is a running Redis that writes to its disk only when it is told to. It ends with the test that started it.
type Redis struct {
	// Addr is where it is, which stays the same across restarts.
	Addr string

	docker    *testcontainers.DockerClient
	container testcontainers.Container
}

// Start starts a Redis and waits until it serves. See [kafkatest.Docker] for what happens where it cannot.
func Start(t *testing.T) *Redis {
	t.Helper()
	port := kafkatest.FreePort(t)
	r := &Redis{docker: kafkatest.Docker(t), Addr: fmt.Sprintf("127.0.0.1:%d", port)}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	var err error
	r.container, err = testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image: Image, Cmd: []string{"redis-server", "--save", "", "--appendonly", "no", "--enable-protected-configs", "yes"}, ExposedPorts: []string{"6379/tcp"},
			HostConfigModifier: func(h *container.HostConfig) {
				h.Tmpfs = map[string]string{smallDisk: "size=4m,mode=1777"}
				h.PortBindings = dockernet.PortMap{dockernet.MustParsePort("6379/tcp"): {{
					HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1}), HostPort: strconv.Itoa(port),
				}}}
			},
		},
		Started: true, Logger: tclog.TestLogger(t),
	})
	if r.container != nil { // also where it was created and did not start
		testcontainers.CleanupContainer(t, r.container, testcontainers.StopTimeout(0))
	}
	if err != nil {
		t.Fatalf("starting redis: %v", err)
	}
	r.await(t)
	return r
}

// Save makes it write what it has to its disk: that is what it comes back with when it is killed.
func (r *Redis) Save(t *testing.T) {
	t.Helper()
	r.do(t, func(c rueidis.Client) rueidis.Completed { return c.B().Save().Build() })
}

// FlushAll empties it.
func (r *Redis) FlushAll(t *testing.T) {
	t.Helper()
	r.do(t, func(c rueidis.Client) rueidis.Completed { return c.B().Flushall().Build() })
}

// smallDisk is where a Redis has little room.
const smallDisk = "/small"

// FillDisk makes it append what it is told to a file on a disk that is full, so that it refuses to be told anything, until
// FreeDisk. What it had saved stays as it was.
func (r *Redis) FillDisk(t *testing.T) {
	t.Helper()
	r.exec(t, "dd if=/dev/zero of="+smallDisk+"/ballast bs=64k count=8")
	r.set(t, "appendfsync", "everysec") // with "always" it would end itself
	r.set(t, "dir", smallDisk)
	r.set(t, "appendonly", "yes")
	r.exec(t, "until redis-cli info persistence | grep -q aof_rewrite_in_progress:0; do sleep 0.1; done")
	r.exec(t, "dd if=/dev/zero of="+smallDisk+"/more bs=4k || true") // ends when there is no room
}

// FreeDisk makes room again.
func (r *Redis) FreeDisk(t *testing.T) {
	t.Helper()
	r.exec(t, "rm "+smallDisk+"/ballast "+smallDisk+"/more")
	r.set(t, "appendonly", "no")
}

func (r *Redis) set(t *testing.T, name, value string) {
	t.Helper()
	r.do(t, func(c rueidis.Client) rueidis.Completed {
		return c.B().ConfigSet().ParameterValue().ParameterValue(name, value).Build()
	})
}

func (r *Redis) exec(t *testing.T, command string) {
	t.Helper()
	code, out, err := r.container.Exec(t.Context(), []string{"sh", "-c", command})
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	if said, err := io.ReadAll(out); code != 0 || err != nil {
		t.Fatalf("%s: exit code %d, %v: %s", command, code, err, said)
	}
}

func (r *Redis) do(t *testing.T, command func(rueidis.Client) rueidis.Completed) {
	t.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{r.Addr}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		t.Fatalf("connecting to redis: %v", err)
	}
	defer c.Close()
	if err := c.Do(t.Context(), command(c)).Error(); err != nil {
		t.Fatal(err)
	}
}

// Kill ends it as kill -9 does.
func (r *Redis) Kill(t *testing.T) {
	t.Helper()
	if _, err := r.docker.ContainerKill(t.Context(), r.container.GetContainerID(), client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatalf("killing redis: %v", err)
	}
}

// Restart starts it after it was killed, with what it had saved, and waits until it serves.
func (r *Redis) Restart(t *testing.T) {
	t.Helper()
	if _, err := r.docker.ContainerStart(t.Context(), r.container.GetContainerID(), client.ContainerStartOptions{}); err != nil {
		t.Fatalf("starting redis: %v", err)
	}
	r.await(t)
}

// Pause freezes it with its connections open.
func (r *Redis) Pause(t *testing.T) {
	t.Helper()
	if _, err := r.docker.ContainerPause(t.Context(), r.container.GetContainerID(), client.ContainerPauseOptions{}); err != nil {
		t.Fatalf("pausing redis: %v", err)
	}
}

// Unpause lets it go on.
func (r *Redis) Unpause(t *testing.T) {
	t.Helper()
	if _, err := r.docker.ContainerUnpause(t.Context(), r.container.GetContainerID(), client.ContainerUnpauseOptions{}); err != nil {
		t.Fatalf("unpausing redis: %v", err)
	}
}

// await waits until it answers a command, which it does not while it loads its file.
func (r *Redis) await(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		if r.answers(ctx) {
			return
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			t.Fatalf("redis at %s does not answer", r.Addr)
		}
	}
}

func (r *Redis) answers(ctx context.Context) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok && conn.SetDeadline(deadline) != nil {
		return false
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	answer := make([]byte, 5)
	_, err = conn.Read(answer)
	return err == nil && string(answer) == "+PONG"
}

// Demote makes it a replica of nobody that is there: it keeps what it has and refuses writes, until Promote.
func (r *Redis) Demote(t *testing.T) {
	t.Helper()
	r.do(t, func(c rueidis.Client) rueidis.Completed { return c.B().Replicaof().Host("127.0.0.1").Port(1).Build() })
}

// Promote makes it a master again.
func (r *Redis) Promote(t *testing.T) {
	t.Helper()
	r.do(t, func(c rueidis.Client) rueidis.Completed { return c.B().Replicaof().No().One().Build() })
}

// Starve leaves it no memory for anything more, and lets it evict nothing, until Feed.
func (r *Redis) Starve(t *testing.T) {
	t.Helper()
	r.set(t, "maxmemory-policy", "noeviction")
	r.set(t, "maxmemory", "1")
}

// Feed gives it as much memory as there is.
func (r *Redis) Feed(t *testing.T) {
	t.Helper()
	r.set(t, "maxmemory", "0")
}
