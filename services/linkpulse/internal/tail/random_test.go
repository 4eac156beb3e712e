package tail

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed  = flag.Uint64("tail.seed", 0, "run only this seed of the random test")
	seeds = flag.Uint64("tail.seeds", 60, "how many seeds of the random test to run")
)

// Whatever happens to a log and its reader, every line reaches ingest, and always with the same id.
func TestTailUnderRandomRotations(t *testing.T) {
	t.Parallel()
	first, last := uint64(1), *seeds
	if *seed != 0 {
		first, last = *seed, *seed
	}
	for s := first; s <= last; s++ {
		t.Run(strconv.FormatUint(s, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &chaos{world: newWorld(t), rng: rand.New(rand.NewPCG(s, 0))}
				c.run()
				if t.Failed() {
					t.Logf("again: go test ./internal/tail -run TestTailUnderRandomRotations -tail.seed=%d", s)
				}
			})
		})
	}
}

// chaos does things to a log.
type chaos struct {
	*world

	rng     *rand.Rand
	written int
	rotated int           // how many rotated files there are
	late    time.Time     // until when the file rotated last may still be written to
	stop    func() string // nil: the follower does not run
	kept    []byte        // a position file of some time ago, nil: none
	told    string
}

func (c *chaos) run() {
	c.Helper()
	c.write("")
	c.stop = c.follow()
	settle() // what is rotated before the first start is history, and none of its business
	for range 60 {
		synctest.Wait() // the follower rests between two looks
		c.step()
	}
	c.ingest.set(nil)
	if c.stop == nil {
		c.stop = c.follow()
	}
	time.Sleep(time.Minute) // longer than any wait between attempts
	c.told += c.stop()
	ids, links := map[string]string{}, map[string]string{}
	for _, k := range c.ingest.clicks {
		if other, ok := ids[k.ID]; ok && other != k.Link {
			c.Errorf("one id for %s and %s", other, k.Link)
		}
		if other, ok := links[k.Link]; ok && other != k.ID {
			c.Errorf("%s was sent with two ids", k.Link)
		}
		ids[k.ID], links[k.Link] = k.Link, k.ID
	}
	for i := range c.written {
		if links[name(i)] == "" {
			c.Errorf("%s of %d is lost; told: %s", name(i), c.written, c.told)
			return
		}
	}
}

func name(i int) string { return fmt.Sprintf("l%05d", i) }

// write appends a few clicks to a file.
func (c *chaos) write(file string) {
	for range 1 + c.rng.IntN(5) {
		c.append(file, name(c.written))
		c.written++
	}
}

func (c *chaos) step() {
	switch n := c.rng.IntN(100); {
	case n < 40:
		c.write("")
	case n < 55:
		time.Sleep(time.Duration(c.rng.IntN(1000)) * time.Millisecond)
	case n < 62:
		if c.rotated > 0 && time.Now().Before(c.late) {
			c.write("access.log.1")
		}
	case n < 72:
		c.rotate()
	case n < 78:
		c.copyTruncated()
	case n < 88:
		c.toggle()
	case n < 92:
		if c.rng.IntN(2) == 0 {
			c.ingest.set(nil)
		} else {
			c.ingest.set(func() (*http.Response, error) { return status(http.StatusBadGateway), nil })
		}
	default:
		// What the position file holds now may be what a crash leaves, while ingest has more.
		if b, err := os.ReadFile(c.log + ".linkpulse-position"); err == nil {
			c.kept = b
		}
	}
}

// shift makes room for access.log.1.
func (c *chaos) shift() {
	for i := c.rotated; i > 0; i-- {
		c.rename(fmt.Sprintf("access.log.%d", i), fmt.Sprintf("access.log.%d", i+1))
	}
	c.rotated++
}

func (c *chaos) exists() bool {
	st, err := os.Stat(c.log)
	return err == nil && st.Size() > 0
}

func (c *chaos) rotate() {
	if !c.exists() {
		return
	}
	c.shift()
	c.rename("access.log", "access.log.1")
	c.late = time.Now().Add(linger - time.Second)
	if c.rng.IntN(2) == 0 {
		c.write("")
	}
}

func (c *chaos) copyTruncated() {
	if !c.exists() {
		return
	}
	c.shift()
	c.copyTruncate("access.log.1")
	c.late = time.Time{} // nobody has the copy open
	if c.rng.IntN(2) == 0 {
		c.write("")
	}
}

// toggle starts or stops the follower; stopped, it may have lost its newest position.
func (c *chaos) toggle() {
	if c.stop == nil {
		c.stop = c.follow()
		return
	}
	c.told += c.stop()
	c.stop = nil
	if c.kept != nil && c.rng.IntN(2) == 0 {
		if err := os.WriteFile(c.log+".linkpulse-position", c.kept, 0o600); err != nil {
			c.Fatal(err)
		}
	}
}
