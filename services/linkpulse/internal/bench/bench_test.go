package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/pprof"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/simnet"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/tokenflag"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "dev" {
		os.Exit(dev(os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

var load = Load{
	Dashboards: 20, Links: 5, Pool: 20, Rate: 50, Senders: 4, Seed: 7,
	Warmup: time.Second, Duration: 20 * time.Second, Settle: 5 * time.Second,
}

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance*want }

func TestRunMeasuresWhatItSays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, target := startSystem(t, func(n int) answer {
			return answer{wait: 3 * time.Millisecond, lose: n%50 == 0} // every 50th answer is lost
		})
		s.net.Inject(simnet.Fault{Delay: 2 * time.Millisecond})
		var probes []bool
		target.Probe = func(_ context.Context, collect bool) (Usage, error) {
			probes = append(probes, collect)
			n := int64(len(probes))
			return Usage{CPU: time.Duration(n) * time.Second, RSS: n * 100_000, Live: n * 60_000}, nil
		}
		var posted, clicks int
		target.Progress = func(p, c int) { posted, clicks = p, c }
		got, err := Run(t.Context(), load, target)
		if err != nil {
			t.Fatal(err)
		}
		// Of 50 clicks/s each one is told to a quarter of 20 dashboards.
		if !near(got.Delivered, 250, 0.1) || !near(float64(got.Clicks), 1050, 0.1) || got.Missing != 0 {
			t.Errorf("delivered %v frames/s of %d clicks, %d missing", got.Delivered, got.Clicks, got.Missing)
		}
		// There, 3 ms, and back: the p50 is that of a sender that is not behind.
		if !near(got.P50, 7, 0.01) || got.P99 < 7 || got.P999 < got.P99 || got.Max < got.P999 {
			t.Errorf("p50 %v, p99 %v, p99.9 %v, max %v ms; want 7 ms or a little more", got.P50, got.P99, got.P999, got.Max)
		}
		if got.Retries == 0 || got.Retries > got.Requests/40 {
			t.Errorf("%d of %d requests sent again, want every 50th", got.Retries, got.Requests)
		}
		if len(probes) != 4 || !probes[0] || !probes[1] || probes[2] || probes[3] {
			t.Errorf("probes with collection: %v, want it for memory and not for CPU", probes)
		}
		if got.RSSPerConnection != 100_000/20 || got.LivePerConnection != 60_000/20 || !near(got.CPUPerFrame, 1e6/float64(got.Frames), 0.001) || got.Cores != 0.05 {
			t.Errorf("%d bytes per connection, %v µs per frame, %v cores", got.RSSPerConnection, got.CPUPerFrame, got.Cores)
		}
		if clicks != int(got.Clicks) || posted == 0 {
			t.Errorf("progress: %d of %d", posted, clicks)
		}
	})
}

// Who polls every two seconds hears of a click a second later on average, and two at most.
func TestPolling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, target := startSystem(t, nil)
		polling := load
		polling.Poll = 2 * time.Second
		memory := int64(10_000_000)
		target.Probe = func(context.Context, bool) (Usage, error) {
			memory -= 1_000_000 // the server gives some back
			return Usage{RSS: memory, Live: memory}, nil
		}
		got, err := Run(t.Context(), polling, target)
		if err != nil {
			t.Fatal(err)
		}
		if !near(got.P50, 1000, 0.1) || !near(got.Max, 2000, 0.05) || got.Missing != 0 {
			t.Errorf("p50 %v, max %v ms, %d missing", got.P50, got.Max, got.Missing)
		}
		if !near(got.Delivered, 10, 0.01) || got.PollMs != 2000 {
			t.Errorf("%v answers/s to polls every %d ms, want 10", got.Delivered, got.PollMs)
		}
		if got.RSSPerConnection != 0 || got.LivePerConnection != 0 {
			t.Errorf("a connection takes %d and %d bytes", got.RSSPerConnection, got.LivePerConnection)
		}
		var out bytes.Buffer
		if err := got.Print(&out); err != nil || !strings.Contains(out.String(), "answers to polls, every 2000 ms") {
			t.Errorf("%v: %s", err, out.String())
		}
	})
}

// A system that stands still for two seconds must be charged with the wait of every click that was due meanwhile, not
// only with that of the requests that happened to be under way.
func TestAStallIsNotOmitted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, target := startSystem(t, func(int) answer {
			if at := time.Since(start); at > 10*time.Second && at < 12*time.Second {
				return answer{wait: 12*time.Second - at}
			}
			return answer{}
		})
		got, err := Run(t.Context(), load, target)
		if err != nil {
			t.Fatal(err)
		}
		// A tenth of the clicks waits for up to two seconds, evenly spread.
		if got.P50 > 1 || !near(got.Max, 2000, 0.1) || !near(got.P99, 1800, 0.1) {
			t.Fatalf("p50 %v, p99 %v, max %v ms; want next to nothing, 1800 and 2000", got.P50, got.P99, got.Max)
		}
	})
}

// A connection that ends before the answer, or between two requests, costs a try and no click.
func TestConnectionsThatEndAreReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hangUp := func(n int) answer { return answer{hangUp: n%20 == 0} }
		_, target := startSystem(t, hangUp, func(srv *http.Server) { srv.IdleTimeout = 150 * time.Millisecond })
		got, err := Run(t.Context(), load, target)
		if err != nil || got.Missing > 0 || got.Retries == 0 || got.Retries > got.Requests/15 {
			t.Fatalf("%d missing, %d of %d requests sent again: %v", got.Missing, got.Retries, got.Requests, err)
		}
	})
}

// Clicks that are due while all connections wait go together on the next one that is free.
func TestClicksThatWaitGoTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, target := startSystem(t, func(int) answer { return answer{wait: time.Second} })
		few := load
		few.Senders, few.Pool = 2, 400
		got, err := Run(t.Context(), few, target)
		if err != nil || got.Missing > 0 || got.Requests > 2*(21+few.Settle.Milliseconds()/1000) {
			t.Fatalf("%d requests for %d clicks, %d missing: %v", got.Requests, got.Clicks, got.Missing, err)
		}
		// They wait for a connection, which is the load generator's to have, and are charged with it.
		if got.SenderP50 < 100 || got.P50 < 1000 {
			t.Fatalf("p50 %v ms, of which late %v", got.P50, got.SenderP50)
		}
	})
}

func TestWhatIsMissingIsReported(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, target := startSystem(t, func(n int) answer { return answer{mute: n > 1000} })
		small := load
		small.Pool, small.Links, small.Dashboards = 1, 1, 1
		small.Rate, small.Senders = 60, 1
		got, err := Run(t.Context(), small, target)
		if err != nil || got.Missing == 0 || got.Missing != got.Clicks-1000 {
			t.Fatalf("%d of %d clicks missing, %v; want those after the 1000th request", got.Missing, got.Clicks, err)
		}
		var b bytes.Buffer
		if err := got.Print(&b); err != nil || !strings.Contains(b.String(), "MISSING") || !strings.Contains(b.String(), "unknown") {
			t.Fatalf("report: %v\n%s", err, &b)
		}
	})
}

func TestARunThatCannotBeJudgedFails(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		behave func(n int) answer
		spoil  func(*system, *Target, *Load)
		want   string
	}{
		"a wrong delta":       {behave: func(int) answer { return answer{delta: 1} }, want: "delta 2"},
		"clicks are refused":  {behave: func(int) answer { return answer{status: http.StatusBadRequest} }, want: "refuses the load: 400"},
		"no gateway":          {spoil: func(_ *system, g *Target, _ *Load) { g.Gateways = nil }, want: "no gateway"},
		"an odd URL":          {spoil: func(_ *system, g *Target, _ *Load) { g.Gateways = []string{"server"} }, want: "want a URL"},
		"nobody listens":      {spoil: func(_ *system, g *Target, _ *Load) { g.Gateways = []string{"http://nobody:1"} }, want: "connection refused"},
		"no WebSocket there":  {spoil: func(_ *system, g *Target, _ *Load) { g.Gateways = []string{"http://server:80/not"} }, want: "404"},
		"pool too small":      {spoil: func(_ *system, _ *Target, l *Load) { l.Pool = l.Links - 1 }, want: "pool"},
		"no rate":             {spoil: func(_ *system, _ *Target, l *Load) { l.Rate = 0 }, want: "rate"},
		"the probe fails":     {spoil: func(_ *system, g *Target, _ *Load) { g.Probe = failingProbe }, want: "no such process"},
		"a connection is cut": {spoil: cutLater, want: "a dashboard is gone"},
		"an odd ingest":       {spoil: func(_ *system, g *Target, _ *Load) { g.Ingest = "https://server" }, want: "want a URL"},
		"ingest is away":      {spoil: func(_ *system, g *Target, _ *Load) { g.Ingest = "http://nobody:1" }, want: "connecting to ingest"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, target := startSystem(t, tc.behave)
				l := load
				if tc.spoil != nil {
					tc.spoil(s, &target, &l)
				}
				_, err := Run(t.Context(), l, target)
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Fatalf("error %v, want %q", err, tc.want)
				}
			})
		})
	}
}

func failingProbe(context.Context, bool) (Usage, error) { return Usage{}, syscall.ESRCH }

func cutLater(s *system, target *Target, _ *Load) {
	target.Progress = func(posted, _ int) {
		if posted > 100 {
			s.net.Cut(simnet.Path{})
		}
	}
}

func TestACancelledRunEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, target := startSystem(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := Run(ctx, load, target); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("error %v, want the deadline", err)
		}
	})
}

// The command as people call it: it starts a server of its own, measures over real sockets, and stops the server.
func TestCommand(t *testing.T) {
	t.Parallel()
	c := Cmd{
		Dashboards: 5, Links: 2, Pool: 4, Rate: 200, Senders: 2, Gateways: 1, Seed: 1, Auth: "off",
		Warmup: 100 * time.Millisecond, Duration: 300 * time.Millisecond, Settle: 10 * time.Second, JSON: true,
	}
	var stdout, stderr bytes.Buffer
	if err := c.Run(t.Context(), Env{Stdout: &stdout, Stderr: &stderr}); err != nil {
		t.Fatalf("%v\n%s", err, &stderr)
	}
	var got Result
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || got.Frames == 0 || got.Missing != 0 || got.P50 <= 0 || got.Tokens {
		t.Fatalf("%v: %s", err, &stdout)
	}
	for _, poll := range []time.Duration{0, 50 * time.Millisecond} {
		stdout.Reset()
		c.Auth, c.Poll = "jwt", poll
		if err := c.Run(t.Context(), Env{Stdout: &stdout, Stderr: &stderr}); err != nil {
			t.Fatalf("%v\n%s", err, &stderr)
		}
		if err := json.Unmarshal(stdout.Bytes(), &got); err != nil || got.Frames == 0 || !got.Tokens {
			t.Fatalf("%v: %s", err, &stdout)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx, Env{Stdout: &stdout, Stderr: &stderr}); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled command: %v", err)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ token, denied, want string }{
		{"a.b.c", "", ""}, {"", "", "401"}, {"a.b.d", "", "401"}, {"a.b.c", "bench-", "mint one for bench-*"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, target := startSystem(t, nil)
			s.token, s.denied = "a.b.c", tt.denied
			target.Token = tt.token
			got, err := Run(t.Context(), load, target)
			if err == nil && (tt.want != "" || !got.Tokens || got.Missing != 0) || err != nil && (tt.want == "" || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("%q, denied %q: %+v, %v", tt.token, tt.denied, got, err)
			}
		})
	}
	// A token for a system that the command starts itself would not be one of its own.
	c := Cmd{Flags: tokenflag.Flags{Token: "a.b.c"}}
	if err := c.Run(t.Context(), Env{}); err == nil || !strings.Contains(err.Error(), "--ingest") {
		t.Errorf("Run = %v", err)
	}
}

func TestProgressBar(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if (&Cmd{}).progress(Env{Stderr: &out}) != nil || (&Cmd{JSON: true}).progress(Env{Stderr: &out, Terminal: true}) != nil {
		t.Fatal("a bar where no terminal is, or beside JSON")
	}
	(&Cmd{}).progress(Env{Stderr: &out, Terminal: true})(50, 100)
	if !strings.Contains(out.String(), "50%") {
		t.Fatalf("bar: %q", &out)
	}
}

func TestSchedule(t *testing.T) {
	t.Parallel()
	s := draw(10, 1000, 10*time.Second, 3)
	if !near(float64(s.all), 10_000, 0.05) {
		t.Fatalf("%d clicks, want 1000/s for 10 s", s.all)
	}
	jobs, last := s.jobs(), map[int]time.Duration{}
	for i, j := range jobs {
		if i > 0 && j.due < jobs[i-1].due || j.due >= 10*time.Second || j.due < last[j.link] {
			t.Fatalf("job %d: %+v", i, j)
		}
		last[j.link] = j.due
	}
	if len(jobs) != s.all || len(last) != 10 {
		t.Fatalf("%d jobs of %d links for %d clicks", len(jobs), len(last), s.all)
	}
	if again := draw(10, 1000, 10*time.Second, 3); again.all != s.all || again.due[7][5] != s.due[7][5] {
		t.Fatal("one seed gave two plans")
	}
}

func TestProcessUsage(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc on this system: ", err)
	}
	u, err := processUsage(os.Getpid())
	if err != nil || u.RSS < 100<<10 || u.CPU < 0 {
		t.Fatalf("usage %+v, %v", u, err)
	}
	if _, err := processUsage(1 << 30); err == nil {
		t.Fatal("a process that is not there has usage")
	}
}

func TestLiveMemory(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/heap", pprof.Handler("heap").ServeHTTP)
	mux.HandleFunc("GET /empty/debug/pprof/heap", func(http.ResponseWriter, *http.Request) {})
	srv := httptest.NewServer(mux)
	defer srv.Close()
	if live, err := liveMemory(t.Context(), srv.URL); err != nil || live < 100<<10 || live > 1<<30 {
		t.Fatalf("live memory: %d, %v", live, err)
	}
	for _, path := range []string{"/nothing", "/empty"} {
		if _, err := liveMemory(t.Context(), srv.URL+path); err == nil {
			t.Errorf("%s: live memory out of nothing", path)
		}
	}
}

func TestResultAsJSON(t *testing.T) {
	t.Parallel()
	b, err := json.Marshal(Result{CPUPerFrame: 1.5, P999: 2})
	if err != nil || !strings.Contains(string(b), `"cpu_us_per_frame":1.5`) || !strings.Contains(string(b), `"p999_ms":2`) {
		t.Fatalf("%s, %v", b, err)
	}
	var out bytes.Buffer
	r := Result{Dashboards: 3, Cores: 0.5, CPUPerFrame: 12.25, RSSPerConnection: 7000, LivePerConnection: 5000}
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "12.2 µs per delivered frame") ||
		!strings.Contains(out.String(), "7000 bytes resident per connection, 5000 bytes of heap") || strings.Contains(out.String(), "MISSING") {
		t.Fatalf("%v\n%s", err, &out)
	}
}

// What is not known of memory is said, and no number stands for it.
func TestMemoryOfAResult(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]Result{
		"not measured: dashboards that poll":                                        {PollMs: 100, Cores: 0.5},
		"unknown: the server's process":                                             {},
		"unknown resident per connection, 5000 bytes of heap and stack in use":      {Cores: 0.5, LivePerConnection: 5000},
		"7000 bytes resident per connection, unknown of heap and stack in use":      {Cores: 0.5, RSSPerConnection: 7000},
		"7000 bytes resident per connection, 5000 bytes of heap and stack in use\n": {Cores: 0.5, RSSPerConnection: 7000, LivePerConnection: 5000},
	} {
		var out bytes.Buffer
		if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "memory       "+want) {
			t.Errorf("%v, want %q in\n%s", err, want, &out)
		}
	}
}
