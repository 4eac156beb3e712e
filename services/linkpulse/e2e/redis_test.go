package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/simnet"
)

// observe reads the totals in Redis, and the counts that gateways answer over plain HTTP, at moments of no importance.
// All of it is judged: whatever is stored or answered must be the fold of the log at the offset that comes with it.
func (w *world) observe() {
	ctx, cancel := context.WithCancel(w.t.Context())
	stop := w.stopPeople
	w.stopPeople = func() {
		cancel()
		stop()
	}
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
	w.people.Go(func() {
		store := w.openTotals("observer")
		defer store.Close()
		for ctx.Err() == nil {
			_, _ = w.readStored(ctx, store) // it may be away
			pause(ctx, time.Duration(rng.Int64N(int64(2*time.Second))))
		}
	})
	other := rand.New(rand.NewPCG(w.rng.Uint64(), 0))
	w.people.Go(func() {
		transport := &http.Transport{DialContext: w.net.Host("poller").Dial}
		defer transport.CloseIdleConnections()
		poller := &http.Client{Transport: transport, Timeout: 5 * time.Second}
		papers := w.newPapers("poller", w.links, other)
		for n := 0; ctx.Err() == nil; n++ {
			gateways := w.stack.Gateways()
			w.poll(ctx, poller, gateways[other.IntN(len(gateways))], inquiry{name: fmt.Sprint("poll-", n), client: "poller", token: papers.show()}, papers)
			pause(ctx, time.Duration(other.Int64N(int64(3*time.Second))))
		}
	})
}

func (w *world) openTotals(host string) *totals.Store {
	store, err := totals.Open(
		totals.Config{Addrs: w.stack.RedisAddrs(), Prefix: "linkpulse", Timeout: 2 * time.Second},
		totals.WithDialer(w.net.Host(host).Dial))
	if err != nil {
		panic(err) // it does no I/O: the configuration is wrong
	}
	return store
}

// readStored records what Redis has of every link in the epoch of now, and returns where each partition is.
func (w *world) readStored(ctx context.Context, store *totals.Store) (ends []int64, err error) {
	number := w.epoch.Load()
	epoch := store.Epoch(number, totals.RuleOf(record().Fold()))
	byPartition := make([][]string, record().Partitions)
	for _, link := range append(append([]string(nil), w.links...), w.quiet...) {
		p := click.Partition(link, record().Partitions)
		byPartition[p] = append(byPartition[p], link)
	}
	for p, links := range byPartition {
		sums, pos, err := epoch.Totals(ctx, int32(p), links)
		if err != nil {
			return nil, err // it is away, or has nothing yet
		}
		ends = append(ends, pos.Next)
		for _, link := range links {
			w.recorder.Add(history.Event{Kind: history.Read, Link: link, Gateway: "redis", Count: click.Count{
				Epoch: number, Seq: pos.Next, Count: sums[link].Count, Bots: sums[link].Bots,
			}})
		}
	}
	return ends, nil
}

// storedEnds returns where the totals of every partition are in the end.
func (w *world) storedEnds(ctx context.Context) []int64 {
	store := w.openTotals("observer")
	defer store.Close()
	ends, err := w.readStored(ctx, store)
	if err != nil {
		w.t.Errorf("reading the totals in the end: %v", err)
	}
	return ends
}

// poll records what a gateway answers over plain HTTP.
func (w *world) poll(ctx context.Context, poller *http.Client, gateway string, q inquiry, papers *papers) {
	q.at = time.Now()
	answer, err := inquire(ctx, poller, http.MethodGet, gateway+"/v1/counts?links="+strings.Join(w.links, ","), q.token.text, "")
	if err != nil {
		return // it is away
	}
	if answer.status == http.StatusUnauthorized { // everybody's tokens were revoked
		papers.lose()
	}
	if err := q.counts(&w.recorder, gateway, w.links, answer); err != nil {
		w.t.Error(err)
	}
}

func (w *world) redis() simnet.Path { return simnet.Path{From: w.part(), To: w.stack.RedisAddrs()[0]} }

// offline does something to Redis while nobody is connected to it, as what happens between two of its lives.
func (w *world) offline(d time.Duration, change func()) {
	to := simnet.Path{To: w.stack.RedisAddrs()[0]}
	heal := w.net.Inject(simnet.Fault{Path: to, Refuse: true})
	w.net.Cut(to)
	w.faults.Go(func() {
		pause(w.t.Context(), d)
		change()
		heal()
	})
}

// redisBack: Redis dies and comes back with what it had a while ago, as from an older file or from a replica that was
// behind.
func (w *world) redisBack() fault {
	age, down := w.seconds(8), 10*time.Millisecond+w.seconds(3)
	return fault{fmt.Sprintf("redis dies %v from now and comes back %v later as it is now", age, down), func(w *world) {
		restore := (&totalstest.Redis{Miniredis: w.stack.Redis().Server()}).Backup()
		w.faults.Go(func() {
			pause(w.t.Context(), age)
			w.offline(down, func() {
				restore()
				w.recorder.Add(history.Event{Kind: history.Restored})
			})
		})
	}}
}

// redisFlushed: everything in Redis is gone; the log still has all of it.
func (w *world) redisFlushed() fault {
	return fault{"redis is flushed", func(w *world) { w.stack.Redis().Server().FlushAll() }}
}

func (w *world) redisAway() fault {
	d := w.seconds(15)
	return fault{fmt.Sprintf("redis is away for %v", d), func(w *world) { w.offline(d, func() {}) }}
}

func (w *world) redisHole() fault {
	f := simnet.Fault{Path: w.redis(), BlackHole: simnet.Way(1 + w.rng.IntN(3))}
	d := w.seconds(12)
	return fault{fmt.Sprintf("redis is behind a black hole for %q (ways %d) for %v", f.Path.From, f.BlackHole, d), func(w *world) {
		heal := w.net.Inject(f)
		w.faults.Go(func() {
			pause(w.t.Context(), d)
			w.net.Cut(f.Path) // what is under way is lost
			heal()
		})
	}}
}

// redisRefuses: a replica took over that still takes itself for one, a server that loads its file, one without memory.
func (w *world) redisRefuses() fault {
	says := []string{
		"READONLY You can't write against a read only replica.", "LOADING Redis is loading the dataset in memory",
		"OOM command not allowed when used memory > 'maxmemory'.", "BUSY Redis is busy running a script.",
	}[w.rng.IntN(4)]
	d := w.seconds(8)
	return fault{fmt.Sprintf("redis answers %q for %v", says, d), func(w *world) {
		w.stack.Redis().Server().SetError(says)
		w.faults.Go(func() {
			pause(w.t.Context(), d)
			w.stack.Redis().Server().SetError("")
		})
	}}
}

// lostRedisAnswer: Redis does what it was asked to, and its answer is cut off.
func (w *world) lostRedisAnswer() fault {
	f := simnet.Fault{Path: w.redis(), CutWay: simnet.ToDialer, CutAfter: w.rng.Int64N(200), CutTimes: 1 + w.rng.IntN(6)}
	return fault{fmt.Sprintf("%d answers of redis to %q are cut after %d bytes", f.CutTimes, f.Path.From, f.CutAfter), func(w *world) { w.net.Inject(f) }}
}

func (w *world) slowRedis() fault {
	f := simnet.Fault{Path: w.redis(), Delay: w.seconds(2.5), Jitter: w.seconds(0.2)}
	d := w.seconds(10)
	return fault{fmt.Sprintf("redis is %v away from %q for %v", f.Delay, f.Path.From, d), func(w *world) { w.during(f, d) }}
}

// zombieTally: an owner that Kafka does not hear of any more, and takes for dead, goes on with Redis.
func (w *world) zombieTally() fault {
	who := []string{"ingest", "tally-1"}[w.rng.IntN(2)]
	d := 8*time.Second + w.seconds(12) // about a session, and longer
	return fault{fmt.Sprintf("%s is cut off from kafka for %v", who, d), func(w *world) {
		for _, addr := range w.stack.Kafka() {
			path := simnet.Path{From: who, To: addr}
			heal := w.net.Inject(simnet.Fault{Path: path, BlackHole: simnet.ToDialer})
			w.faults.Go(func() {
				pause(w.t.Context(), d)
				w.net.Cut(path)
				heal()
			})
		}
	}}
}

func (w *world) tallyRestart() fault {
	down := w.seconds(12)
	return fault{fmt.Sprintf("the second tally is restarted, %v down", down), func(w *world) {
		w.restart(down, func(ctx context.Context) error { return w.stack.StopTally(ctx, 0) },
			func(ctx context.Context) error { return w.stack.StartTally(ctx, 0) })
	}}
}
