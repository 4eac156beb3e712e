package kafkalog

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// member records what it owns.
type member struct {
	cluster *Cluster
	stop    context.CancelFunc
	done    chan struct{}

	mu    sync.Mutex // guards what follows
	owned []int32
	begun int // how often it began to work
}

func (w *world) member() *member {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	m := &member{cluster: w.open(), stop: cancel, done: make(chan struct{})}
	set := func(p []int32) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.owned = p
		if p != nil {
			m.begun++
		}
	}
	go func() {
		defer close(m.done)
		err := m.cluster.Own(ctx, "tally", topic, func(own context.Context, a *Assignment) {
			set(a.Partitions)
			<-own.Done()
			set(nil)
		})
		if err != nil {
			w.t.Errorf("Own = %v", err)
		}
	}()
	w.t.Cleanup(func() {
		m.leave()
		m.cluster.Close()
	})
	return m
}

func (m *member) leave() {
	m.stop()
	<-m.done
}

func (m *member) partitions() []int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.owned)
}

// owns tells whether members own all of n partitions between them, each once.
func owns(n int, members ...*member) bool {
	var all []int32
	for _, m := range members {
		all = append(all, m.partitions()...)
	}
	slices.Sort(all)
	return len(all) == n && len(slices.Compact(all)) == n
}

func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > within {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func TestGroupSharesPartitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 3, 6)
		first := w.member()
		eventually(t, 10*time.Second, "one member owns all", func() bool { return owns(6, first) })
		second := w.member()
		eventually(t, 10*time.Second, "two share", func() bool {
			return owns(6, first, second) && len(first.partitions()) == 3
		})
		for range 5 {
			// The one that was there first is the group's leader: were it to join again before it leaves, all would join again.
			began := time.Now()
			first.leave()
			rest := groupHeartbeat + 100*time.Millisecond - time.Since(began)
			eventually(t, rest, "the one that is left owns all", func() bool { return owns(6, second) })
			first, second = second, w.member()
			eventually(t, 10*time.Second, "two share again", func() bool { return owns(6, first, second) && len(second.partitions()) == 3 })
			time.Sleep(groupHeartbeat / 3)
		}
	})
}

// Somebody owns each partition at every moment while members come.
func TestGroupLeavesNothingWithoutAnOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 6)
		members := []*member{w.member()}
		eventually(t, 10*time.Second, "one member owns all", func() bool { return owns(6, members...) })
		for range 3 {
			members = append(members, w.member())
			for began := time.Now(); time.Since(began) < 3*time.Second; time.Sleep(10 * time.Millisecond) {
				var all []int32
				for _, m := range members {
					all = append(all, m.partitions()...)
				}
				slices.Sort(all)
				if all = slices.Compact(all); len(all) != 6 {
					t.Fatalf("%v after a member came, only %v are owned", time.Since(began), all)
				}
			}
			if !owns(6, members...) {
				t.Fatal("they do not share")
			}
		}
	})
}

// Who cannot ask the group keeps what it was given, and is not interrupted when it is given the same again.
func TestGroupCanBeAwayForAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4)
		m := w.member()
		eventually(t, 10*time.Second, "it owns all", func() bool { return owns(4, m) })
		for _, away := range []time.Duration{2 * time.Second, time.Minute} {
			heal := w.refuse()
			for began := time.Now(); time.Since(began) < away; time.Sleep(100 * time.Millisecond) {
				if !owns(4, m) {
					t.Fatalf("after %v without the group it owns %v", time.Since(began), m.partitions())
				}
			}
			heal()
			time.Sleep(groupSession + groupRebalance)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.begun != 1 {
			t.Errorf("it began %d times", m.begun)
		}
	})
}

// A member that dies without a word is missed when its session is over.
func TestGroupMissesADeadMember(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4)
		dead, live := w.member(), w.member()
		eventually(t, 10*time.Second, "two share", func() bool { return owns(4, dead, live) && len(live.partitions()) == 2 })
		dead.cluster.conns.close()
		eventually(t, groupSession+groupRebalance+3*time.Second, "the living one owns all", func() bool { return len(live.partitions()) == 4 })
	})
}

// Leaving a group whose coordinator hangs takes a while and no more.
func TestGroupIsLeftThoughItHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4)
		m := w.member()
		eventually(t, 10*time.Second, "it owns all", func() bool { return owns(4, m) })
		defer w.hang(w.fake.ListenAddrs()[0])()
		began := time.Now()
		m.leave()
		if took := time.Since(began); took > 2*leaveWithin {
			t.Fatalf("leaving took %v", took)
		}
	})
}

// A group that cannot be reached is tried again until it can.
func TestGroupIsJoinedOnceItCanBe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 4)
		heal := w.refuse()
		m := w.member()
		time.Sleep(time.Minute)
		if got := m.partitions(); len(got) > 0 {
			t.Fatalf("it owns %v of a cluster that is away", got)
		}
		heal()
		eventually(t, 5*time.Second, "it owns all", func() bool { return owns(4, m) })
	})
}

func TestCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, 2)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := w.cluster.Own(ctx, "tally", topic, func(own context.Context, a *Assignment) {
			defer cancel()
			if err := a.Commit(own, map[int32]int64{0: 5, 1: 7}); err != nil {
				t.Error(err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		commits := w.fake.GroupInfo("tally").Commits[topic]
		if commits[0].Offset != 5 || commits[1].Offset != 7 {
			t.Fatalf("committed %v", commits)
		}
	})
}
