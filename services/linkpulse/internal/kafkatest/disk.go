package kafkatest

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// diskDir is where a container has the small disk.
const diskDir = "/small"

// startDisk makes a disk in memory and returns its name. A container of its own holds it: without one it would be gone
// with everything on it as soon as its broker ends.
func (c *Cluster) startDisk(ctx context.Context, t *testing.T, mib int) (volume string) {
	t.Helper()
	made, err := c.docker.VolumeCreate(ctx, client.VolumeCreateOptions{Driver: "local", DriverOpts: map[string]string{
		"type": "tmpfs", "device": "tmpfs", "o": fmt.Sprintf("size=%dm,mode=1777", mib),
	}})
	if err != nil {
		t.Fatalf("making a small disk: %v", err)
	}
	volume = made.Volume.Name
	t.Cleanup(func() {
		if _, err := c.docker.VolumeRemove(context.WithoutCancel(t.Context()), volume, client.VolumeRemoveOptions{}); err != nil {
			t.Logf("removing the small disk: %v", err)
		}
	})
	c.disk, err = testcontainers.GenericContainer(ctx, testcontainers.GenericContainerRequest{
		ContainerRequest: testcontainers.ContainerRequest{
			Image: Image, Cmd: []string{"sleep", "infinity"},
			HostConfigModifier: func(h *container.HostConfig) { h.Binds = []string{volume + ":" + diskDir} },
		},
		Started: true, Logger: tclog.TestLogger(t),
	})
	if c.disk != nil {
		testcontainers.CleanupContainer(t, c.disk, testcontainers.StopTimeout(0))
	}
	if err != nil {
		t.Fatalf("holding the small disk: %v", err)
	}
	return volume
}

// FillDisk leaves no room on the small disk.
func (c *Cluster) FillDisk(t *testing.T) {
	t.Helper()
	c.onDisk(t, "dd if=/dev/zero of="+diskDir+"/ballast bs=4k || true") // ends when there is no room
}

// FreeDisk makes room again.
func (c *Cluster) FreeDisk(t *testing.T) {
	t.Helper()
	c.onDisk(t, "rm "+diskDir+"/ballast")
}

func (c *Cluster) onDisk(t *testing.T, command string) {
	t.Helper()
	code, out, err := c.disk.Exec(t.Context(), []string{"sh", "-c", command})
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	if said, err := io.ReadAll(out); code != 0 || err != nil {
		t.Fatalf("%s: exit code %d, %v: %s", command, code, err, said)
	}
}

// IsRunning tells whether a broker's process is there.
func (c *Cluster) IsRunning(t *testing.T, node int) bool {
	t.Helper()
	state, err := c.brokers[node-1].State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state.Running
}
