// Package devcmd is `linkpulse dev`: the whole system in one process, on embedded parts, with a sample shortener in
// front and, if asked, visitors. It starts on loopback, at addresses that do not change, so that people and scripts
// find it.
package devcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/pkg/httpserver"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/lifecycle"
	"github.com/linkpulse/linkpulse/pkg/telemetry"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/broker"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/keyflag"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/shortener"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/traffic"
	"github.com/linkpulse/linkpulse/services/linkpulse/stack"
)

// Cmd are the flags of `linkpulse dev`.
type Cmd struct {
	IngestAddr    string   `help:"Where ingest listens." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	GatewayAddr   []string `help:"Where a gateway listens; repeat it for more gateways." default:"127.0.0.1:8081,127.0.0.1:8082" placeholder:"HOST:PORT"`
	ShortenerAddr string   `help:"Where the sample shortener listens." default:"127.0.0.1:8090" placeholder:"HOST:PORT"`
	AdminAddr     string   `help:"Where metrics and profiles are served." default:"127.0.0.1:9090" placeholder:"HOST:PORT"`
	BrokerPort    int      `help:"Port of the embedded broker on 127.0.0.1; 0 takes a free one." default:"0"`
	KafkaBrokers  []string `help:"Use this Kafka instead of the embedded broker." placeholder:"HOST:PORT"`
	RedisPort     int      `help:"Port of the embedded Redis on 127.0.0.1; 0 takes a free one." default:"0"`
	RedisAddr     string   `help:"Use this Redis instead of the embedded one." placeholder:"HOST:PORT"`
	DataDir       string   `help:"Keep the log here across restarts, and the key that tokens are signed with. Without it both live in memory." placeholder:"DIR" type:"path"`
	Auth          string   `help:"Whether gateways ask who somebody is: jwt, with a key of this system's own and a token that it prints and that its pages carry; off, and then everybody sees every link." default:"jwt" enum:"jwt,off"`
	TokenOut      string   `help:"Write the token there too, readable by nobody else, for --token-file of other commands. With --auth off there is none." placeholder:"FILE" type:"path"`
	Traffic       float64  `help:"Visits per second that made-up people make; 0 is nobody." default:"0"`
	Seed          uint64   `help:"Seed of the made-up people." default:"1"`
	JSON          bool     `help:"Print one line of JSON when everything is ready, and nothing else."`
	KeysFile      string   `help:"Take clicks only from those who have an API key of this file. The sample shortener then needs one too." placeholder:"FILE" type:"path"`

	Credentials keyflag.Flags `embed:""`
}

// startTimeout bounds the start: the parts start in about a second, a large data directory takes longer to read.
const startTimeout = 2 * time.Minute

// stopTimeout bounds each step of the stop; the gateways' drain is the longest of them.
const stopTimeout = 20 * time.Second

// Env is what the command takes from its process.
type Env struct {
	Stdout, Stderr io.Writer
	// Environ may name the API key of the sample shortener.
	Environ []string
	// Terminal tells whether Stderr is one, so that the progress line can be drawn over itself.
	Terminal bool
	Log      *zap.Logger
}

// Run starts everything, says where it is, and runs until ctx ends or a part fails.
func (c *Cmd) Run(ctx context.Context, env Env) (err error) {
	if c.Traffic < 0 {
		return errors.New("--traffic must be 0 or more visits per second")
	}
	defer collectLess()()
	credentials, err := c.Credentials.Credentials(env.Environ)
	if err != nil {
		return err
	}
	if c.KeysFile != "" && credentials == nil {
		return errors.New("--keys-file: the sample shortener sends clicks too, and needs a key of the file: --key-file")
	}
	stops := lifecycle.NewStops(env.Log)
	defer func() { err = errors.Join(err, stops.Stop(context.WithoutCancel(ctx))) }()

	key, err := c.startAuth(stops)
	if err != nil {
		return err
	}
	system, err := c.startSystem(ctx, env, key, stops)
	if err != nil {
		return err
	}
	sender, err := client.NewSender(system.Ingest(), client.SenderOptions{Credentials: credentials}) //nolint:contextcheck // Close ends it
	if err != nil {
		return err
	}
	stops.Push("click sender", stopTimeout, sender.Close)
	shop, err := shortener.New(sender, system.Gateways())
	if err != nil {
		return err
	}
	shortenerURL, err := serve(ctx, "sample shortener", c.ShortenerAddr, shop.Handler(), env, stops)
	if err != nil {
		return err
	}
	admin := telemetry.AdminHandler(system.Gatherer(), &httpserver.Health{}, true)
	adminURL, err := serve(ctx, "admin server", c.AdminAddr, admin, env, stops)
	if err != nil {
		return err
	}
	at := addresses{
		Ingest: system.Ingest(), Gateways: system.Gateways(), Shortener: shortenerURL, Admin: adminURL,
	}
	if key != nil {
		at.Token = key.token
	}
	if err := c.announce(env.Stdout, at, key, system.Kafka(), system.RedisAddrs()); err != nil {
		return err
	}
	return c.runUntilDone(ctx, env, system, sender, shortenerURL)
}

// gcPercent is how much the heap may grow between two collections, in percent of what is in use. Two thirds of the garbage
// are of the stand-ins for Redis and Kafka, in the same heap as the services'. At 2,000 clicks/s it is collected every 1.6 s
// by Go's default, and for 20 ms that takes half of a core, in which everything comes late. With this it is every 6 s, and
// the heap has up to 330 MB instead of 140. The services' own programs go by Go's default.
const gcPercent = 400

// collectLess makes collections rarer, unless GOGC says something else than Go's default.
func collectLess() (undo func()) {
	const goDefault = 100
	was := debug.SetGCPercent(gcPercent)
	if was != goDefault {
		debug.SetGCPercent(was)
	}
	return func() { debug.SetGCPercent(was) }
}

// startAuth makes the key and the token, nil where nobody asks for one.
func (c *Cmd) startAuth(stops *lifecycle.Stops) (*pass, error) {
	if c.Auth == "off" {
		return nil, nil
	}
	p, err := newPass(c.DataDir)
	if err != nil {
		return nil, err
	}
	stops.Push("key", stopTimeout, func(context.Context) error { return p.close() })
	if c.TokenOut == "" {
		return p, nil
	}
	return p, p.write(c.TokenOut)
}

func (c *Cmd) startSystem(ctx context.Context, env Env, key *pass, stops *lifecycle.Stops) (*stack.Stack, error) {
	startCtx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	samples := shortener.Samples()
	links := make([]string, len(samples))
	for i, s := range samples {
		links[i] = s.Slug
	}
	cfg := stack.Config{
		Log: env.Log, Kafka: kafkalog.Config{Brokers: c.KafkaBrokers},
		Redis: c.redis(), RedisAddr: net.JoinHostPort("127.0.0.1", strconv.Itoa(c.RedisPort)),
		Broker:     broker.Config{Port: c.BrokerPort, DataDir: c.DataDir},
		IngestAddr: c.IngestAddr, KeysFile: c.KeysFile, GatewayAddrs: c.GatewayAddr, PageLinks: links,
		Drain: time.Second, // a developer who presses Ctrl-C waits for it
	}
	key.apply(&cfg)
	system, err := stack.Start(startCtx, cfg)
	if err != nil {
		return nil, err
	}
	stops.Push("system", stopTimeout, system.Stop)
	return system, nil
}

// redis is the Redis of somebody else's that was asked for.
func (c *Cmd) redis() totals.Config {
	if c.RedisAddr == "" {
		return totals.Config{}
	}
	return totals.Config{Addrs: []string{c.RedisAddr}, Prefix: "linkpulse", Timeout: redisTimeout}
}

// redisTimeout bounds a call of Redis, as the services' default does.
const redisTimeout = 2 * time.Second

// serve serves handler at addr until the stops are undone, and returns its URL.
func serve(
	ctx context.Context, name, addr string, handler http.Handler, env Env, stops *lifecycle.Stops,
) (url string, err error) {
	l, err := httpserver.Listen(addr)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	serveCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() {
		done <- httpserver.Serve(serveCtx, httpserver.New(handler, env.Log.Named(name)), l, time.Second)
	}()
	stops.Push(name, stopTimeout, func(context.Context) error {
		stop()
		return <-done
	})
	return "http://" + l.Addr().String(), nil
}

// runUntilDone makes traffic and shows progress until ctx ends or a part fails.
func (c *Cmd) runUntilDone(
	ctx context.Context, env Env, system *stack.Stack, sender *client.Sender, shortenerURL string,
) error {
	tasks := []lifecycle.Task{{Name: "system", Run: func(ctx context.Context) error {
		select {
		case err := <-system.Failures():
			return err
		case <-ctx.Done():
			return nil
		}
	}}}
	var visits *traffic.Stats
	if c.Traffic > 0 {
		samples := shortener.Samples()
		slugs := make([]string, len(samples))
		for i, s := range samples {
			slugs[i] = s.Slug
		}
		transport := &http.Transport{MaxIdleConnsPerHost: 64}
		defer transport.CloseIdleConnections()
		g, err := traffic.New(traffic.Config{
			BaseURL: shortenerURL, Slugs: slugs, PerSecond: c.Traffic, Seed: c.Seed,
			Client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse
			}},
		})
		if err != nil {
			return err
		}
		visits = g.Stats()
		tasks = append(tasks, lifecycle.Task{Name: "traffic", Run: func(ctx context.Context) error {
			g.Run(ctx)
			return nil
		}})
	}
	if !c.JSON {
		p := progress{out: env.Stderr, terminal: env.Terminal, sender: sender, visits: visits, metrics: system.Gatherer()}
		tasks = append(tasks, lifecycle.Task{Name: "progress", Run: func(ctx context.Context) error {
			p.run(ctx)
			return nil
		}})
	}
	return lifecycle.RunAll(ctx, tasks...)
}
