package rest

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestLinksLinger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		for range 20 { // a poll a second
			r.get("/links/a/clicks")
			time.Sleep(time.Second)
		}
		r.get("/links/b/clicks")
		if n := r.ledger.watches["a"]; n != 1 {
			t.Fatalf("the total was read %d times for 20 polls, want once", n)
		}
		time.Sleep(9*time.Second - time.Nanosecond)
		synctest.Wait()
		if n := r.ledger.watched(); n != 2 {
			t.Fatalf("%d links are watched, want both", n)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := r.ledger.watched(); n != 1 {
			t.Fatalf("%d links are watched, want b alone", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := r.ledger.watched(); n != 0 {
			t.Fatalf("%d links are watched, want none", n)
		}
		if links, idle := testutil.ToFloat64(r.handler.metrics.links), testutil.ToFloat64(r.handler.metrics.evicted[evictedIdle]); links != 0 || idle != 2 {
			t.Fatalf("%v links and %v evictions in the metrics, want 0 and 2", links, idle)
		}
		r.get("/links/a/clicks") // the timer is set again
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := r.ledger.watched(); n != 0 {
			t.Fatalf("%d links are watched, want none", n)
		}
	})
}

func TestWithoutLingerALinkGoesWithItsRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Linger = 0 })
		r.get("/v1/counts?links=a,b,c")
		synctest.Wait()
		if n := r.ledger.watched(); n != 0 {
			t.Fatalf("%d links are watched, want none", n)
		}
	})
}

func TestTheLinkThatIsIdleForLongestGivesWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxLinks = 3 })
		for _, link := range []string{"a", "b", "c", "a", "d"} { // b is the one
			r.get("/links/" + link + "/clicks")
			time.Sleep(time.Millisecond)
		}
		for link, want := range map[string]int{"a": 1, "b": 0, "c": 1, "d": 1} {
			if got := len(r.ledger.links[link].watchers); got != want {
				t.Errorf("%s has %d watchers, want %d", link, got, want)
			}
		}
		if got := testutil.ToFloat64(r.handler.metrics.evicted[evictedFull]); got != 1 {
			t.Errorf("%v evictions in the metrics, want 1", got)
		}
	})
}

func TestLinksInUseDoNotGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxLinks = 2 })
		r.ledger.syncing["a"], r.ledger.syncing["b"] = true, true
		var waits sync.WaitGroup
		waits.Go(func() { r.get("/v1/counts?links=a,b") })
		synctest.Wait()
		wantProblem(t, r.get("/links/c/clicks"), 503, "busy", "")
		waits.Wait()
		decode[linkAnswer](t, r.get("/links/c/clicks"))
		wantProblem(t, r.get("/v1/counts?links=c,d,e"), 503, "busy", "")
		decode[linkAnswer](t, r.get("/links/d/clicks")) // what the refused batch held is idle again
	})
}

func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxRequests = 4 })
		r.ledger.click("known", false)
		for _, link := range []string{"a", "b", "c"} {
			r.ledger.syncing[link] = true
		}
		var waits sync.WaitGroup
		for _, link := range []string{"a", "b"} {
			waits.Go(func() { wantProblem(t, r.get("/links/"+link+"/clicks"), 503, "syncing", "") })
		}
		synctest.Wait()
		wantProblem(t, r.get("/links/c/clicks"), 503, "busy", "")                       // two wait, which is half
		wantProblem(t, r.get("/v1/counts?links=known,c"), 503, "busy", "")              // whatever else it asks for
		if got := decode[linkAnswer](t, r.get("/links/known/clicks")); got.Count != 1 { // memory has room
			t.Fatalf("a link that is known while others wait: %+v", got)
		}
		waits.Wait()
		r.handler.running.Add(4)
		wantProblem(t, r.get("/links/known/clicks"), 503, "busy", "")
		r.handler.running.Add(-4)
		if got := r.handler.running.Load() + r.handler.waiting.Load(); got != 0 {
			t.Fatalf("%d requests are counted after all ended", got)
		}
	})
}

func TestEndOfAnEpoch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.get("/links/a/clicks")
		r.ledger.syncing["b"] = true
		var wait sync.WaitGroup
		start := time.Now()
		wait.Go(func() { wantProblem(t, r.get("/links/b/clicks"), 503, "syncing", "") })
		synctest.Wait()
		r.handler.Close()
		wait.Wait()
		if time.Since(start) != 0 {
			t.Fatalf("a request waited %v for a total of an epoch that is over", time.Since(start))
		}
		if n := r.ledger.watched(); n != 0 {
			t.Fatalf("%d links are watched, want none", n)
		}
		wantProblem(t, r.get("/links/a/clicks"), 503, "not_ready", "")
		next := newLedger()
		r.handler.Open(Source{Epoch: 4, Counts: next})
		if got := decode[batchAnswer](t, r.get("/v1/counts?links=a")); got.Epoch != 4 {
			t.Fatalf("answer %+v, want one of epoch 4", got)
		}
		wantProblem(t, r.get("/links/a/clicks?history=1h"), 501, "no_history", "")
		r.handler.Close()
		r.handler.Close() // once more does nothing
	})
}

// Many clients poll the same and other links while links come and go: nothing is watched twice, and nothing stays.
func TestManyRequestsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxLinks = 12 })
		var crowd sync.WaitGroup
		for n := range 4 {
			crowd.Go(func() {
				for i := range 200 {
					w := r.get(fmt.Sprintf("/v1/counts?links=a,l%d,l%d", (n*i)%16, i%16))
					if w.Code != http.StatusOK {
						t.Errorf("answer %d %s", w.Code, w.Body)
					}
					time.Sleep(time.Duration(1+n) * time.Millisecond)
				}
			})
		}
		for i := range 300 {
			r.ledger.click(fmt.Sprintf("l%d", i%16), false)
			time.Sleep(time.Millisecond)
		}
		crowd.Wait()
		if n := r.ledger.watched(); n != 12 {
			t.Fatalf("%d links are watched, want the 12 that may be", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := r.ledger.watched(); n != 0 {
			t.Fatalf("%d links are watched, want none", n)
		}
	})
}
