package follower

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
)

// fromRedis is the Snapshotter of a gateway.
type fromRedis struct{ *totals.Epoch }

func (s fromRedis) Totals(ctx context.Context, partition int32, links []string) (map[string]fold.Total, At, error) {
	sums, at, err := s.Epoch.Totals(ctx, partition, links)
	if errors.Is(err, totals.ErrMissing) {
		err = fmt.Errorf("%w: %w", ErrMissing, err)
	}
	return sums, At{Position: at}, err
}

// redisRig is a running Set whose totals are in a Redis.
type redisRig struct {
	*rig
	t      *testing.T
	redis  *totalstest.Redis
	totals *totals.Epoch
	params fold.Params
}

// runOnRedis starts a Set in the test's bubble, on a log that prepare fills and totals that are at its end.
func runOnRedis(t *testing.T, partitions int, window int64, prepare func(*feedtest.Topic)) *redisRig {
	t.Helper()
	r := &redisRig{t: t, redis: totalstest.New(t), params: configOf(window).Fold}
	r.totals = r.redis.Open(t).Epoch(3, totals.RuleOf(r.params))
	topic := feedtest.New(partitions)
	if prepare != nil {
		prepare(topic)
	}
	cfg := configOf(window)
	cfg.Partitions, cfg.Patience = partitions, time.Second
	r.rig = runSet(t, cfg, topic, fromRedis{r.totals})
	r.tally(-1)
	return r
}

// tally brings the totals of all partitions on.
func (r *redisRig) tally(to int64) {
	r.t.Helper()
	for p := range r.partitions {
		if err := totalstest.Tally(r.t.Context(), r.totals, r.topic, r.params, int32(p), to); err != nil {
			r.t.Fatal(err)
		}
	}
}

// A storm of subscribes, as after the loss of another gateway: every link is read once, in a few batches per partition,
// and the partitions share round trips instead of waiting for each other.
func TestStormOfSubscribes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const partitions, links, latency = 12, 10_000, 5 * time.Millisecond
		r := runOnRedis(t, partitions, 100, nil)
		watchAll(r.Set, 1)
		synctest.Wait() // connected
		before := r.redis.Calls("HMGET")
		r.redis.Latency(latency)
		begun := time.Now()
		all := make([]*Watched, 0, links)
		for i := range links {
			all = append(all, r.Watch(fmt.Sprintf("storm%d", i), new(flag)))
		}
		for r.metric(t, "follower_waiting_links") > 0 {
			time.Sleep(latency)
			synctest.Wait()
		}
		// The first link that a partition hears of is read at once, alone or with the few that came meanwhile; all others
		// of the partition go into the next read.
		if took := time.Since(begun); took > 2*latency {
			t.Errorf("the storm was over after %v, want two round trips of %v", took, latency)
		}
		for _, w := range all {
			wantCount(t, w, 0)
		}
		calls := r.redis.Calls("HMGET")
		reads, arguments := calls.Count-before.Count, calls.Arguments-before.Arguments
		if reads > 2*partitions {
			t.Errorf("%d reads for %d links, want two of each of %d partitions at most", reads, links, partitions)
		}
		if want := 5*links + 4*reads; arguments != want { // five fields of a link; the key, the offset, the rule and the last record of a read
			t.Errorf("%d arguments in %d reads, want %d: each link once", arguments, reads, want)
		}
		r.Watch("storm0", new(flag)) // known: nothing to read
		synctest.Wait()
		if got := r.redis.Calls("HMGET").Count; got != calls.Count {
			t.Error("a link that is known was read again")
		}
	})
}

func TestFirstSubscribeCostsOneRoundTrip(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const latency = 3 * time.Millisecond
		r := runOnRedis(t, 1, 100, nil)
		r.append("a1 a2 b1")
		r.tally(-1)
		watchAll(r.Set, 1)
		synctest.Wait() // connected
		r.redis.Latency(latency)
		w := r.Watch("a", new(flag))
		time.Sleep(latency - time.Nanosecond)
		synctest.Wait()
		wantSyncing(t, w)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		wantCount(t, w, 2)
	})
}

// Whatever happens to Redis: links that are known go on, others are syncing and nothing else is wrong with the gateway,
// and two seconds after the end of the fault every link has its count.
func TestFaultsOfRedis(t *testing.T) {
	t.Parallel()
	const patience = 2 * time.Second
	for _, tc := range []struct {
		name        string
		begin, end  func(r *redisRig)
		staysKnown  bool // new links are known at once during the fault
		wantMetrics string
	}{
		{
			name:        "away",
			begin:       func(r *redisRig) { r.redis.Away(true) },
			end:         func(r *redisRig) { r.redis.Away(false); r.tally(-1) },
			wantMetrics: readFailed,
		},
		{
			name:        "mute",
			begin:       func(r *redisRig) { r.redis.Mute(true) },
			end:         func(r *redisRig) { r.redis.Mute(false) },
			wantMetrics: readFailed,
		},
		{
			name:        "refuses to answer",
			begin:       func(r *redisRig) { r.redis.SetError("LOADING Redis is loading the dataset in memory") },
			end:         func(r *redisRig) { r.redis.SetError("") },
			wantMetrics: readFailed,
		},
		{
			name:        "flushed, and the tally folds the log again",
			begin:       func(r *redisRig) { r.redis.FlushAll() },
			end:         func(r *redisRig) { r.tally(-1) },
			wantMetrics: readMissing,
		},
		{
			name: "flushed, and the tally is not there yet",
			begin: func(r *redisRig) {
				r.redis.FlushAll()
				r.tally(1)
			},
			end:         func(r *redisRig) { r.tally(-1) },
			wantMetrics: readBehind,
		},
		{
			name:       "slow",
			begin:      func(r *redisRig) { r.redis.Latency(900 * time.Millisecond) },
			end:        func(r *redisRig) { r.redis.Latency(0) },
			staysKnown: true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := runOnRedis(t, 1, 3, nil)
				r.append("a1 a2 b1 c1 c2 c3 c4")
				r.tally(-1)
				a := r.Watch("a", new(flag))
				synctest.Wait()
				wantCount(t, a, 2)
				tc.begin(r)
				b, nobody := r.Watch("b", new(flag)), r.Watch("nobody", new(flag))
				time.Sleep(7 * time.Second)
				r.append("a3 b2")
				time.Sleep(time.Second)
				synctest.Wait()
				wantCount(t, a, 3)
				if err := r.Ready(); err != nil {
					t.Fatalf("unready: %v", err)
				}
				if _, known := b.Read(); known != tc.staysKnown {
					t.Fatalf("known during the fault: %v", known)
				}
				if tc.wantMetrics != "" && r.metric(t, "follower_snapshot_reads_total", tc.wantMetrics) == 0 {
					t.Errorf("no read %q in the metrics", tc.wantMetrics)
				}
				ended := time.Now()
				go tc.end(r) // a tally may have to wait for the Redis, too
				late := r.Watch("c", new(flag))
				time.Sleep(patience - time.Since(ended))
				synctest.Wait()
				wantCount(t, a, 3)
				wantCount(t, b, 2)
				wantCount(t, nobody, 0)
				wantCount(t, late, 4)
			})
		})
	}
}

// A Redis that restarts with an older file knows less than before: totals below the ring cannot be used, those inside it
// can, and either way no count is wrong or goes back.
func TestRedisRollsBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := runOnRedis(t, 1, 3, nil)
		r.append("a1 b1")
		r.tally(-1)
		old := r.redis.Backup()
		r.append("a2 b2 a3 b3")
		r.tally(-1)
		a := r.Watch("a", new(flag))
		synctest.Wait()
		wantReading(t, a, 3, 6)
		old()
		b := r.Watch("b", new(flag))
		synctest.Wait()
		wantSyncing(t, b) // totals at 2, the ring begins at 3
		wantReading(t, a, 3, 6)
		r.tally(4)
		time.Sleep(totalsBackoff)
		synctest.Wait()
		wantReading(t, b, 3, 6)
		r.append("a4 b4")
		synctest.Wait()
		wantReading(t, a, 4, 8)
		wantReading(t, b, 4, 8)
	})
}
