// Package traffic makes people up: visitors who follow the sample shortener's links at a steady rate, some links far
// more often than others, and now and then a bot.
package traffic

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Config of a generator.
type Config struct {
	// BaseURL of the shortener, without a trailing slash.
	BaseURL string
	// Slugs to follow, the most popular first.
	Slugs []string
	// PerSecond is the rate of visits, in visits per second, above 0.
	PerSecond float64
	// Seed of the visitors' choices.
	Seed uint64
	// Client makes the requests. It must not follow redirects: the click happened when the shortener answered.
	Client *http.Client
}

// Stats counts what a generator did. Read it at any time.
type Stats struct {
	Visited atomic.Int64 // redirects answered
	Failed  atomic.Int64 // requests that got no redirect
	Skipped atomic.Int64 // visits that were due while maxInFlight others had no answer yet
}

// maxInFlight bounds the visits without an answer. A shortener that hangs makes visits be skipped and counted, never
// piled up.
const maxInFlight = 256

// tick is how often due visits are made; a rate above 1/tick makes several at once.
const tick = 10 * time.Millisecond

// Generator makes visits until its context ends.
type Generator struct {
	cfg   Config
	stats Stats
	rng   *rand.Rand
	zipf  *rand.Zipf
}

// New returns a generator, or an error if the configuration makes no sense.
func New(cfg Config) (*Generator, error) {
	if len(cfg.Slugs) == 0 || cfg.PerSecond <= 0 {
		return nil, fmt.Errorf("traffic: %d slugs at %v visits/s: both must be above 0", len(cfg.Slugs), cfg.PerSecond)
	}
	rng := rand.New(rand.NewPCG(cfg.Seed, 0))                   //nolint:gosec // made-up visitors need no secrecy, and a seed repeats them
	zipf := rand.NewZipf(rng, 1.3, 2, uint64(len(cfg.Slugs)-1)) //nolint:gosec // there is at least one
	return &Generator{cfg: cfg, rng: rng, zipf: zipf}, nil
}

// Stats returns the live counters.
func (g *Generator) Stats() *Stats { return &g.stats }

// Run makes visits until ctx ends, then waits for those in flight. Call it once.
func (g *Generator) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxInFlight)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	start, made := time.Now(), 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for due := now.Sub(start).Seconds() * g.cfg.PerSecond; made+1 <= due; made++ {
				v := g.next()
				select {
				case slots <- struct{}{}:
					wg.Go(func() {
						defer func() { <-slots }()
						g.visit(ctx, v)
					})
				default:
					g.stats.Skipped.Add(1)
				}
			}
		}
	}
}

type visit struct{ slug, agent, referrer string }

// next decides who comes by; only Run's goroutine calls it, so the choices follow from the seed.
func (g *Generator) next() visit {
	v := visit{
		slug:     g.cfg.Slugs[g.zipf.Uint64()],
		agent:    peopleAgents[g.rng.IntN(len(peopleAgents))],
		referrer: referrers[g.rng.IntN(len(referrers))],
	}
	if g.rng.IntN(12) == 0 {
		v.agent, v.referrer = botAgents[g.rng.IntN(len(botAgents))], ""
	}
	return v
}

func (g *Generator) visit(ctx context.Context, v visit) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.cfg.BaseURL+"/"+v.slug, http.NoBody)
	if err != nil {
		g.stats.Failed.Add(1)
		return
	}
	req.Header.Set("User-Agent", v.agent)
	if v.referrer != "" {
		req.Header.Set("Referer", v.referrer)
	}
	resp, err := g.cfg.Client.Do(req)
	if err != nil {
		g.stats.Failed.Add(1)
		return
	}
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusFound {
		g.stats.Failed.Add(1)
		return
	}
	g.stats.Visited.Add(1)
}

//nolint:gochecknoglobals // tables that nothing changes
var (
	peopleAgents = []string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1",
	}
	botAgents = []string{
		"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
		"Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
		"facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
	}
	referrers = []string{"", "https://news.example/", "https://mail.example/inbox", "https://social.example/@team/1"}
)
