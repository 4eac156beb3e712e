package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

// tellThree: clients that do not know what became of their clicks tell three ingests at the same moment.
func (f *fleet) tellThree(t *testing.T) {
	var dialer net.Dialer
	visitors := make([]*visitor, 0, 3)
	for _, p := range append([]*process{f.ingest}, f.twins...) {
		if p != f.ingest {
			p.start(t)
			defer p.end(t)
		}
		v := newVisitor(p.url, dialer.DialContext, &f.recorder, rand.Uint64())
		defer v.close()
		visitors = append(visitors, v)
	}
	for range 100 {
		clicks, ids := make([]posted, len(f.links)), make([]click.ID, len(f.links))
		for i, link := range f.links {
			clicks[i], ids[i] = visitors[0].newClick(link)
		}
		body, err := json.Marshal(clicks)
		if err != nil {
			t.Fatal(err)
		}
		for i, link := range f.links {
			for range visitors {
				f.recorder.Sent(link, ids[i])
			}
		}
		answers := make([]error, len(visitors))
		var telling sync.WaitGroup
		for i, v := range visitors {
			telling.Go(func() { answers[i] = v.post(t.Context(), body) })
		}
		telling.Wait()
		for i, link := range f.links {
			if slices.Contains(answers, nil) {
				f.recorder.Acked(link, ids[i])
			} else {
				f.recorder.Unknown(link, ids[i])
			}
		}
	}
}

// crowd is how many dashboards lose their gateway at once.
const crowd = 2000

// killCrowded kills the gateway of two thousand dashboards. All of them must show the next click.
func (f *fleet) killCrowded(t *testing.T) {
	const link = "crowd"
	var dialer net.Dialer
	var watching sync.WaitGroup
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	defer func() {
		cancel()
		watching.Wait()
	}()
	dashboards := make([]*dashboard, crowd)
	for i := range dashboards {
		d := newDashboard(fmt.Sprint("crowd-", i), []string{link}, []string{f.gateways[0].url(), f.gateways[1].url()}, dialer.DialContext, &f.recorder)
		d.credential = f.credential
		d.backOff = func(n int) time.Duration { return rand.N(100 * time.Millisecond << min(n, 5)) }
		dashboards[i] = d
		watching.Go(func() {
			d.run(ctx)
			d.leave()
		})
	}
	v := newVisitor(f.ingest.url, dialer.DialContext, &f.recorder, rand.Uint64())
	defer v.close()
	for n := range int64(2) {
		if err := v.visit(t.Context(), 100, link); err != nil {
			t.Fatal(err)
		}
		expect(t, healed, link, n+1, dashboards...)
		if n == 0 {
			f.gateways[0].kill()
			defer f.gateways[0].start(t)
		}
	}
}

// cutWhileAway: retention has cut what no tally has read. What lay between is gone: the tallies must say so instead of
// going on at the cut, ingest goes on, and a gateway that begins now tells nobody a number.
func (f *fleet) cutWhileAway(t *testing.T) {
	for _, tally := range f.tallies {
		tally.kill()
	}
	f.underLoad(t, func(*testing.T) {})
	lost := make(map[int32]*totals.Dump) // where the log begins from now on
	stood := make(map[int32]int64)
	log := history.Log{Partitions: make([]history.Partition, f.deployment.Partitions)} // that begins at 0 no more
	if err := readEnds(t.Context(), f.kafka.Client(t), f.deployment.Topic, &log); err != nil {
		t.Fatal(err)
	}
	for p, part := range log.Partitions {
		at, err := f.epoch.Position(t.Context(), int32(p))
		if err == nil && at.Next < part.End {
			lost[int32(p)], stood[int32(p)] = new(totals.Dump), at.Next
			lost[int32(p)].Next = part.End
		}
	}
	if len(lost) == 0 {
		t.Fatal("nobody clicked while the tallies were away: the test shows nothing")
	}
	f.deleteRecords(t, lost)
	for _, tally := range f.tallies {
		tally.start(t)
	}
	for p := range lost {
		waitFor(t, fmt.Sprintf("the tally of partition %d says what is lost", p), func() bool {
			return slices.ContainsFunc(f.tallies, func(tally *process) bool {
				return tally.said(fmt.Sprintf(`"partition":%d,"error":"the tally of this partition stops (lost)`, p))
			})
		})
	}
	f.underLoad(t, func(*testing.T) {}) // nobody who clicks notices
	for p, next := range stood {
		if at, err := f.epoch.Position(t.Context(), p); err != nil || at.Next != next {
			t.Errorf("the totals of partition %d moved from %d to %d, %v", p, next, at.Next, err)
		}
	}
	f.gateways[1].kill()
	f.gateways[1].start(t)
	for _, link := range f.links {
		if _, gone := lost[click.Partition(link, f.deployment.Partitions)]; gone && !f.isSyncing(t, link) {
			t.Errorf("a gateway that began after the cut tells a count of %s", link)
		}
	}
}

// isSyncing tells whether the second gateway has no count of a link to tell.
func (f *fleet) isSyncing(t *testing.T, link string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.gateways[1].url()+"/v1/counts?links="+link, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = f.credential.header()
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Syncing []string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return slices.Contains(answer.Syncing, link)
}

// fillRedis: the disk of Redis is full, so that it refuses every write, and is freed again.
func (f *fleet) fillRedis(t *testing.T) {
	f.redis.FillDisk(t)
	pause(t.Context(), 3*time.Second)
	said := func(p *process) bool { return p.said("MISCONF") }
	if !slices.ContainsFunc(f.tallies, said) {
		t.Error("no tally was refused a write: the test shows nothing")
	}
	f.redis.FreeDisk(t)
}
