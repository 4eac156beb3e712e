package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"
)

// poller is a dashboard that asks for its counts again and again instead of being told: what people do without a push.
type poller struct {
	run    *run
	client *http.Client
	url    string
	links  []int
	told   map[int]int64 // of each link, the last count told; absent: not answered yet
	etag   string
}

// pollers returns the dashboards of a run that polls, at rest.
func (r *run) pollers() []*poller {
	rng := mrand.New(mrand.NewPCG(r.load.Seed, 2)) //nolint:gosec // who watches what, and a seed repeats it
	all := make([]*poller, r.load.Dashboards)
	for i := range all {
		p := &poller{run: r, links: rng.Perm(r.load.Pool)[:r.load.Links], told: make(map[int]int64)}
		names := make([]string, len(p.links))
		for j, link := range p.links {
			names[j] = r.name(link)
			r.owed.Add(int64(len(r.plan.due[link])))
		}
		p.url = r.target.Gateways[i%len(r.target.Gateways)] + "/v1/counts?links=" + strings.Join(names, ",")
		all[i] = p
	}
	return all
}

// poll lets all of them poll until ctx ends. The first one that is answered with something wrong ends the run.
func (r *run) poll(ctx context.Context, stop context.CancelCauseFunc, all []*poller) (wait func()) {
	transport := &http.Transport{DialContext: r.target.Dial, MaxIdleConnsPerHost: len(all), DisableCompression: true}
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	var polling sync.WaitGroup
	for i, p := range all {
		p.client = client
		// Each at a moment of its own in the interval: nobody's dashboards are opened at the same instant.
		phase := r.load.Poll * time.Duration(i) / time.Duration(len(all))
		polling.Go(func() {
			if err := p.keepPolling(ctx, phase); err != nil && ctx.Err() == nil {
				stop(fmt.Errorf("polling: %w", err))
			}
		})
	}
	return func() {
		polling.Wait()
		transport.CloseIdleConnections()
	}
}

func (p *poller) keepPolling(ctx context.Context, phase time.Duration) error {
	timer := time.NewTimer(phase)
	defer timer.Stop()
	for next := time.Now().Add(phase); ; {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
		if err := p.ask(ctx); err != nil {
			return err
		}
		next = next.Add(p.run.load.Poll)
		timer.Reset(time.Until(next))
	}
}

// ask asks once. An answer that says that nothing changed is one too.
func (p *poller) ask(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, http.NoBody)
	if err != nil {
		return err
	}
	if token := p.run.target.Token; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if p.etag != "" {
		req.Header.Set("If-None-Match", p.etag)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close() // it was read to its end, or failed
	if err != nil {
		return err
	}
	now := p.run.now()
	switch resp.StatusCode {
	case http.StatusNotModified:
		p.run.frame(now)
		return nil
	case http.StatusOK:
		p.run.frame(now)
		p.etag = resp.Header.Get("ETag")
		return p.answered(body, now)
	case http.StatusServiceUnavailable:
		return nil // it says when to come back, which is later than the next poll
	default:
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
}

func (p *poller) answered(body []byte, now time.Duration) error {
	var answer struct {
		Links []struct {
			Link  string
			Count int64
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("reading %q: %w", body, err)
	}
	for _, l := range answer.Links {
		link, err := p.run.index([]byte(l.Link))
		if err != nil {
			return err
		}
		before, known := p.told[link]
		if l.Count < before || l.Count > int64(len(p.run.plan.due[link])) {
			return fmt.Errorf("link %s: %d after %d; %d clicks are planned", l.Link, l.Count, before, len(p.run.plan.due[link]))
		}
		p.run.covered(link, before, l.Count, now)
		p.told[link] = l.Count
		if !known {
			p.run.subscribed()
		}
	}
	return nil
}
