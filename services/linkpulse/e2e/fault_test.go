package e2e

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/simnet"
)

// fault is something that goes wrong in a simulation. inflict must return at once; what takes a while goes to w.faults.
type fault struct {
	name    string
	inflict func(w *world)
}

// faults are the ways in which things break, each as likely as any other. Their details are drawn when the plan is made,
// by w.rng, so that one seed makes one plan.
func (w *world) faultsToDraw() []func() fault {
	return []func() fault{
		w.lostBrokerAnswer, w.produceError, w.produceRefused, w.fetchError, w.leaderMove, w.brokerCut, w.brokerHole,
		w.dashboardCut, w.visitorCut, w.lostAck, w.slowDashboard, w.slowNetwork, w.gatewayRestart, w.gatewayCut, w.ingestRestart,
		w.outage, w.outage,
		w.redisBack, w.redisBack, w.redisFlushed, w.redisAway, w.redisHole, w.redisRefuses, w.lostRedisAnswer, w.slowRedis,
		w.zombieTally, w.zombieTally, w.tallyRestart, w.foreignProducer,
	}
}

// breakThings carries out a plan of faults while the load is on, and waits for the load to end.
func (w *world) breakThings(loadEnds func()) {
	type step struct {
		at time.Duration
		fault
	}
	draw := w.faultsToDraw()
	plan := make([]step, 3+w.rng.IntN(10))
	for i := range plan {
		at := time.Duration(w.rng.Int64N(int64(simLoad)))
		plan[i] = step{at, draw[w.rng.IntN(len(draw))]()}
	}
	sort.SliceStable(plan, func(i, j int) bool { return plan[i].at < plan[j].at })
	start := time.Now()
	for _, s := range plan {
		pause(w.t.Context(), s.at-time.Since(start))
		w.t.Logf("%6.3f s: %s", time.Since(start).Seconds(), s.name)
		s.inflict(w)
	}
	loadEnds()
}

func (w *world) healLater(heal func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heals = append(w.heals, heal)
}

// during puts a fault of the network in force for a while.
func (w *world) during(f simnet.Fault, d time.Duration) {
	heal := w.net.Inject(f)
	w.faults.Go(func() {
		pause(w.t.Context(), d)
		heal()
	})
}

func (w *world) seconds(most float64) time.Duration {
	return time.Duration(w.rng.Float64() * most * float64(time.Second))
}

// part draws one of the services, or all of them.
func (w *world) part() string {
	return []string{"", "", "ingest", "tally-1", "gateway-1", "gateway-2"}[w.rng.IntN(6)]
}

// kafka selects the connections between services and one of the brokers.
func (w *world) kafka() simnet.Path {
	brokers := w.stack.Kafka()
	return simnet.Path{From: w.part(), To: brokers[w.rng.IntN(len(brokers))]}
}

func (w *world) gateway() int { return w.rng.IntN(len(w.stack.Gateways())) }

func (w *world) dashboard() *dashboard { return w.dashboards[w.rng.IntN(len(w.dashboards))] }

// lostBrokerAnswer: the broker does what it was asked to, and its answer is cut off.
func (w *world) lostBrokerAnswer() fault {
	f := simnet.Fault{
		Path: w.kafka(), CutWay: simnet.ToDialer, CutAfter: w.rng.Int64N(60), CutTimes: 1 + w.rng.IntN(6),
	}
	return fault{fmt.Sprintf("%d answers of %s are cut after %d bytes", f.CutTimes, f.Path.To, f.CutAfter), func(w *world) { w.net.Inject(f) }}
}

// produceError: the broker appends, and says that it did not.
func (w *world) produceError() fault {
	err := []*kerr.Error{kerr.RequestTimedOut, kerr.NotEnoughReplicasAfterAppend}[w.rng.IntN(2)]
	return w.kafkaError(err, kmsg.Produce)
}

// produceRefused: the broker does not append, and says so.
func (w *world) produceRefused() fault {
	err := []*kerr.Error{
		kerr.NotEnoughReplicas, kerr.NotLeaderForPartition, kerr.UnknownServerError, kerr.KafkaStorageError,
		kerr.UnknownTopicOrPartition, kerr.OutOfOrderSequenceNumber,
	}[w.rng.IntN(6)]
	return w.kafkaError(err, kmsg.Produce)
}

func (w *world) fetchError() fault {
	err := []*kerr.Error{
		kerr.NotLeaderForPartition, kerr.OffsetNotAvailable, kerr.KafkaStorageError, kerr.UnknownServerError, kerr.FencedLeaderEpoch,
	}[w.rng.IntN(5)]
	if w.rng.IntN(2) == 0 {
		return w.kafkaError(err, kmsg.Fetch)
	}
	d := w.seconds(15) // clicks are appended and nobody can read them
	return fault{fmt.Sprintf("every Fetch answers %s for %v", err.Message, d), func(w *world) {
		h := w.stack.Broker().Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: record().Topic, Err: err, Count: -1})
		w.faults.Go(func() {
			pause(w.t.Context(), d)
			h.Remove()
		})
	}}
}

func (w *world) kafkaError(err *kerr.Error, key kmsg.Key) fault {
	count := 1 + w.rng.IntN(8)
	return fault{fmt.Sprintf("%d × %s answers %s", count, key.Name(), err.Message), func(w *world) {
		h := w.stack.Broker().Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: record().Topic, Err: err, Count: count})
		w.healLater(h.Remove)
	}}
}

// outage lasts longer than the producer tries: clicks are refused, or nobody knows what became of them.
func (w *world) outage() fault {
	d := 31*time.Second + w.seconds(10)
	if w.rng.IntN(2) == 0 {
		return fault{fmt.Sprintf("no broker appends for %v", d), func(w *world) {
			h := w.stack.Broker().Cluster().Fault(kfake.Fault{
				Keys: []kmsg.Key{kmsg.Produce}, Topic: record().Topic, Err: kerr.NotEnoughReplicas, Count: -1,
			})
			w.faults.Go(func() {
				pause(w.t.Context(), d)
				h.Remove()
			})
		}}
	}
	path := w.kafka()
	f := simnet.Fault{Path: path, BlackHole: simnet.Way(1 + w.rng.IntN(3))}
	return fault{fmt.Sprintf("%s is behind a black hole (ways %d) for %v, then its connections end", path.To, f.BlackHole, d), func(w *world) {
		heal := w.net.Inject(f)
		w.faults.Go(func() {
			pause(w.t.Context(), d)
			w.net.Cut(path) // what is under way is lost
			heal()
		})
	}}
}

func (w *world) leaderMove() fault {
	partition, node := int32(w.rng.IntN(record().Partitions)), int32(w.rng.IntN(3))
	return fault{fmt.Sprintf("partition %d moves to broker %d", partition, node), func(w *world) {
		if err := w.stack.Broker().Cluster().MoveTopicPartition(record().Topic, partition, node); err != nil {
			w.t.Errorf("moving partition %d: %v", partition, err)
		}
	}}
}

func (w *world) brokerCut() fault {
	path := w.kafka()
	return fault{"all connections to " + path.To + " are cut", func(w *world) { w.net.Cut(path) }}
}

func (w *world) brokerHole() fault {
	f := simnet.Fault{Path: w.kafka(), BlackHole: simnet.Way(1 + w.rng.IntN(3))}
	d := w.seconds(12)
	return fault{fmt.Sprintf("%s is behind a black hole (ways %d) for %v", f.Path.To, f.BlackHole, d), func(w *world) { w.during(f, d) }}
}

func (w *world) dashboardCut() fault {
	d := w.dashboard()
	return fault{d.name + " is cut", func(w *world) { w.net.Cut(simnet.Path{From: d.name}) }}
}

func (w *world) visitorCut() fault {
	return fault{"all visitors are cut", func(w *world) { w.net.Cut(simnet.Path{From: "visitor"}) }}
}

// lostAck: ingest accepts clicks, and the visitors never hear of it.
func (w *world) lostAck() fault {
	f := simnet.Fault{Path: simnet.Path{From: "visitor"}, CutWay: simnet.ToDialer, CutAfter: w.rng.Int64N(20), CutTimes: 1 + w.rng.IntN(5)}
	return fault{fmt.Sprintf("%d answers of ingest are lost", f.CutTimes), func(w *world) { w.net.Inject(f) }}
}

func (w *world) slowDashboard() fault {
	d, stall := w.dashboard(), w.seconds(25)
	return fault{fmt.Sprintf("%s does not read for %v", d.name, stall), func(w *world) {
		w.slowed[d.name] = true // nothing else runs on this goroutine
		d.slowDown(stall)
	}}
}

func (w *world) slowNetwork() fault {
	f := simnet.Fault{Delay: w.seconds(0.05), Jitter: w.seconds(0.2), Chop: 1 + w.rng.IntN(200)}
	if w.rng.IntN(2) == 0 {
		f.Path = w.kafka()
	}
	d := w.seconds(10)
	return fault{fmt.Sprintf("the network to %q is slow for %v", f.Path.To, d), func(w *world) { w.during(f, d) }}
}

// gatewayRestart is a rolling upgrade of one gateway: it drains, goes away, and comes back.
func (w *world) gatewayRestart() fault {
	i, down := w.gateway(), w.seconds(5)
	return fault{fmt.Sprintf("gateway %d is restarted, %v down", i, down), func(w *world) {
		w.restart(down, func(ctx context.Context) error { return w.stack.StopGateway(ctx, i) },
			func(ctx context.Context) error {
				select {
				case w.started <- w.stack.Gateways()[i]:
				default:
				}
				return w.stack.StartGateway(ctx, i)
			})
	}}
}

// gatewayCut is what dashboards see of a gateway that crashes and comes back: everything is cut, and for a while nobody
// answers.
func (w *world) gatewayCut() fault {
	path := simnet.Path{To: hostOf(w.stack.Gateways()[w.gateway()])}
	d := w.seconds(5)
	return fault{fmt.Sprintf("nobody reaches %s for %v", path.To, d), func(w *world) {
		w.during(simnet.Fault{Path: path, Refuse: true}, d)
		w.net.Cut(path)
	}}
}

func (w *world) ingestRestart() fault {
	down := w.seconds(3)
	return fault{fmt.Sprintf("ingest is restarted, %v down", down), func(w *world) {
		stop := func(ctx context.Context) error {
			if err := w.stack.StopIngest(ctx); err != nil { // clicks without an outcome, where no broker takes them
				w.t.Logf("stopping ingest: %v", err)
			}
			return nil
		}
		w.restart(down, stop, w.stack.StartIngest)
	}}
}

// restart stops and starts a part, one restart at a time.
func (w *world) restart(down time.Duration, stop, start func(context.Context) error) {
	w.faults.Go(func() {
		w.restarting <- struct{}{}
		defer func() { <-w.restarting }()
		ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
		defer cancel()
		if err := stop(ctx); err != nil {
			w.t.Errorf("stopping a part: %v", err)
		}
		pause(ctx, down)
		if err := start(ctx); err != nil {
			w.t.Errorf("starting a part: %v", err)
		}
	})
}
