package kafkalog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

const (
	// refreshEvery is the least time between two refreshes of a topic's metadata that errors cause. All partitions of a
	// topic share connections and metadata; when a broker dies they all notice at once.
	refreshEvery = 100 * time.Millisecond
	// refreshTimeout is how long a refresh may take. The library asks one broker, picked at random, and that may be the
	// one that hangs: to try again soon is better than to wait for it.
	refreshTimeout = time.Second
	// cacheTimeout is for an answer that the library has in memory.
	cacheTimeout = 10 * time.Millisecond
)

// topicClient sends the requests that concern one topic, with connections and metadata that are the topic's own.
type topicClient struct {
	c       *Cluster
	name    string
	current atomic.Pointer[kafka.Client]
	known   atomic.Pointer[feed.LogID] // the topic's id, nil while it is to be asked for

	mu         sync.Mutex // guards what follows; never held across I/O
	refreshed  time.Time
	refreshing bool
	again      error // the last cause that came meanwhile
	closed     bool
	retired    []retired      // clients that were replaced a moment ago
	running    sync.WaitGroup // of renew; added to under mu, before closed
}

// retired is a client that was replaced. Whoever took it just before may begin a request with it just after, for which it
// makes connections again: they are dropped a second time when nobody can do that any more.
type retired struct {
	client *kafka.Client
	at     time.Time
}

// retireFor is longer than anybody holds a client between taking it and beginning a request.
const retireFor = 5 * time.Second

func (t *topicClient) client() *kafka.Client { return t.current.Load() }

// close ends what the client keeps running. The cluster's connections are closed already.
func (t *topicClient) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.running.Wait()
	dropConnections(t.client())
	for _, r := range t.retired { // nobody adds to it any more
		dropConnections(r.client)
	}
}

// refresh looks for the topic's leaders anew, because a request failed with cause. Without it a moved leader is found
// when the metadata expires: 3.4 s on average instead of 25 ms. It does not wait. What comes while it is too early, or while
// metadata is on its way that may be older than the cause, is seen to a moment later: whoever met it would otherwise find
// the same leader again after its next wait.
func (t *topicClient) refresh(cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	if t.refreshing {
		t.again = cause
		return
	}
	t.refreshing = true
	early := refreshEvery - time.Since(t.refreshed)
	t.running.Go(func() {
		for cause := cause; cause != nil; cause = t.nextCause() {
			pauseFor(t.c.ctx, early)
			t.renew(cause)
			early = refreshEvery
		}
	})
}

// nextCause ends a refresh, unless there was another cause meanwhile.
func (t *topicClient) nextCause() (cause error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cause, t.again = t.again, nil
	t.refreshed = time.Now()
	if t.closed {
		cause = nil
	}
	t.refreshing = cause != nil
	return cause
}

// pauseFor waits, or until ctx ends.
func pauseFor(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// renew replaces the client by one with fresh metadata, once that is there: requests to partitions that are well go on
// with the old one meanwhile. Where the leaders are as they were, a broker is down that nobody has replaced yet. Then
// the old client stays, and with it the connections to the others; except after trouble on a connection, which is likely
// to be the trouble of all to that broker.
func (t *topicClient) renew(cause error) {
	ctx, cancel := context.WithTimeout(t.c.ctx, refreshTimeout)
	defer cancel()
	fresh := t.c.newClient(t.name)
	found, err := partitionsOf(ctx, fresh, t.name)
	if err != nil || (!connectionTrouble(cause) && t.knows(ctx, found)) {
		dropConnections(fresh)
		return
	}
	t.retire(t.current.Swap(fresh))
}

// retire drops the connections of a client that was replaced, now and, by a later call, once more. The list is bounded:
// clients are replaced every refreshEvery at most, and stay on it for retireFor.
func (t *topicClient) retire(client *kafka.Client) {
	dropConnections(client)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for len(t.retired) > 0 && now.Sub(t.retired[0].at) > retireFor {
		dropConnections(t.retired[0].client)
		t.retired = slices.Delete(t.retired, 0, 1)
	}
	t.retired = append(t.retired, retired{client: client, at: now})
}

// knows tells whether the current client has the same leaders.
func (t *topicClient) knows(ctx context.Context, found []kafka.Partition) bool {
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	known, err := partitionsOf(ctx, t.client(), t.name)
	return err == nil && slices.EqualFunc(known, found, func(a, b kafka.Partition) bool {
		return a.ID == b.ID && a.Leader == b.Leader
	})
}

// connectionTrouble tells whether an error is of a connection rather than of what a broker said, or of a dial.
func connectionTrouble(err error) bool {
	if _, ok := errors.AsType[kafka.Error](err); ok {
		return false
	}
	v, _ := judgeTransport(err)
	return v == uncertain
}

// partitions returns the partitions of the topic, from what the client has in memory.
func (t *topicClient) partitions(ctx context.Context) ([]kafka.Partition, error) {
	return partitionsOf(ctx, t.client(), t.name)
}

func partitionsOf(ctx context.Context, client *kafka.Client, topic string) ([]kafka.Partition, error) {
	res, err := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return nil, err
	}
	for _, found := range res.Topics {
		if found.Name == topic {
			return found.Partitions, found.Error
		}
	}
	return nil, kafka.UnknownTopicOrPartition
}

// leaders returns a partition of each broker that leads one of the first n. It fails unless all of them have leaders.
func (t *topicClient) leaders(ctx context.Context, n int) (map[int]int32, error) {
	parts, err := t.partitions(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoLeader, err)
	}
	led := make([]bool, n)
	leaders := map[int]int32{}
	for _, i := range rand.Perm(len(parts)) { //nolint:gosec // in turn each partition is asked for; no secret
		if p := parts[i]; p.ID < n && p.Error == nil && p.Leader.Host != "" {
			led[p.ID] = true
			leaders[p.Leader.ID] = int32(p.ID) //nolint:gosec // below n
		}
	}
	if i := slices.Index(led, false); i >= 0 {
		return nil, fmt.Errorf("%w: %s/%d has no leader", ErrNoLeader, t.name, i)
	}
	return leaders, nil
}

// askLeaders returns nil if each of the first n partitions has a leader and each leader answers for one of them. What
// the library has in memory alone proves nothing: it keeps it for as long as no broker answers.
func (t *topicClient) askLeaders(ctx context.Context, n int) error {
	leaders, err := t.leaders(ctx, n)
	if err != nil {
		return err
	}
	ask := make([]kafka.OffsetRequest, 0, len(leaders))
	for _, partition := range leaders {
		ask = append(ask, kafka.LastOffsetOf(int(partition)))
	}
	res, err := t.client().ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{t.name: ask}})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoLeader, t.explain(ctx, err))
	}
	for _, p := range res.Topics[t.name] {
		if p.Error != nil {
			return fmt.Errorf("%w: asking the leader of %s/%d: %w", ErrNoLeader, t.name, p.Partition, p.Error)
		}
	}
	return nil
}

// explain returns err with its cause where the library hides that: with no metadata it says that the topic is not there,
// or a broker, also when none can be reached or the password is wrong.
func (t *topicClient) explain(ctx context.Context, err error) error {
	if !errors.Is(err, protocol.ErrNoTopic) && !errors.Is(err, kafka.BrokerNotAvailable) {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cacheTimeout)
	defer cancel()
	if _, cause := t.partitions(ctx); cause != nil && ctx.Err() == nil {
		return cause
	}
	return err
}

// Bounds are the first offset of a partition and the one after its last.
type Bounds struct{ Start, End int64 }

// Bounds returns the bounds of a partition as of now.
func (c *Cluster) Bounds(ctx context.Context, topic string, partition int32) (Bounds, error) {
	t, err := c.topic(topic)
	if err != nil {
		return Bounds{}, err
	}
	res, err := t.client().ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{
		topic: {kafka.FirstOffsetOf(int(partition)), kafka.LastOffsetOf(int(partition))},
	}})
	if err == nil {
		err = errNoPartition
		for _, p := range res.Topics[topic] {
			if p.Partition == int(partition) {
				if err = p.Error; err == nil {
					return Bounds{Start: p.FirstOffset, End: p.LastOffset}, nil
				}
			}
		}
	}
	err = t.explain(ctx, err)
	t.refresh(err)
	return Bounds{}, fmt.Errorf("asking for the bounds of %s/%d: %w", topic, partition, err)
}

// errNoPartition reports an answer that does not tell of the partition that was asked for.
var errNoPartition = errors.New("the answer does not name the partition")
