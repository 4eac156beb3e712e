package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

const (
	// restAfterError is how long to wait before the cluster is asked again.
	restAfterError = 500 * time.Millisecond
	// sweepEvery is how often entries that are over are removed. They concern tokens that have expired, so it is only for
	// their memory.
	sweepEvery = time.Minute
)

// Follow reads the revocations into a list, and goes on reading until ctx ends, which is the error that it returns. A
// record is in the list within milliseconds of when it was written: the broker answers as soon as there is one.
//
// It calls changed when tokens have been revoked, with a function that tells which, for whoever let them in before. The
// list has them already. changed is called by one goroutine at a time, and reading waits for it.
//
// A cluster that is away is waited for. A topic that is cut or created anew is read again from its start; what the list
// has stays in it, since nobody lifted that.
func Follow(ctx context.Context, c *kafkalog.Cluster, list *List, changed func(match func(*auth.Identity) bool)) error {
	f := &follower{cluster: c, list: list, changed: changed}
	for {
		err := f.follow(ctx)
		if ctx.Err() == nil {
			f.trouble(err)
		}
		if !rest(ctx) {
			return fmt.Errorf("following the revoked tokens: %w", context.Cause(ctx))
		}
	}
}

type follower struct {
	cluster *kafkalog.Cluster
	list    *List
	changed func(match func(*auth.Identity) bool)

	log   *kafkalog.Follower // nil: begin at the start
	next  int64              // records below are known
	swept time.Time
	told  string // the trouble that was logged last
}

// follow is Follow until the first error of the cluster.
func (f *follower) follow(ctx context.Context) error {
	if f.log == nil {
		if err := f.begin(ctx); err != nil {
			return err
		}
	}
	for {
		batch, err := f.log.Fetch(ctx)
		if errors.Is(err, feed.ErrLost) || errors.Is(err, feed.ErrBeyondEnd) {
			f.log = nil
		}
		if err != nil {
			return err
		}
		if fresh := f.take(batch); !fresh.empty() {
			f.changed(fresh.revoked)
		}
		if m := batch.Marks(); m.Next >= m.End {
			f.complete(m.AsOf)
		}
	}
}

// begin reads the topic from its start to where it ends now. Until then the list may hold what somebody has lifted, so
// nobody is told.
func (f *follower) begin(ctx context.Context) error {
	asOf := time.Now()
	f.next = 0
	next, err := f.cluster.ReadAll(ctx, deployment.ControlTopic, 0, func(batch feed.Batch) error {
		f.take(batch)
		return nil
	})
	if err != nil {
		return err
	}
	f.log = f.cluster.Follow(deployment.ControlTopic, 0, next)
	f.complete(asOf)
	f.changed(f.list.Revoked)
	return nil
}

func (f *follower) complete(asOf time.Time) {
	f.list.complete(asOf)
	if f.told != "" {
		f.told = ""
		f.list.log.Info("the revoked tokens can be read again")
	}
	if now := time.Now(); now.Sub(f.swept) >= sweepEvery {
		f.swept = now
		f.list.sweep(now)
	}
}

// take goes through the records of a batch and returns what they revoke.
func (f *follower) take(batch feed.Batch) (fresh *set) {
	fresh = new(newSet())
	now := time.Now()
	var rec fold.Record
	for batch.Next(&rec) {
		if rec.Offset < f.next {
			continue // brokers answer with whole batches
		}
		f.next = rec.Offset + 1
		k, ours, err := parseKey(rec.Key)
		if !ours {
			continue
		}
		var r Revocation
		lifted := err == nil && len(rec.Value) == 0
		if err == nil && !lifted {
			r, err = decode(k, rec.Value)
		}
		switch {
		case err != nil:
			f.list.records.WithLabelValues(recordPoison).Inc()
			f.list.log.Error("a revocation cannot be read, and does nothing", zap.Int64("offset", rec.Offset), zap.Error(err))
		case lifted || !r.Until.After(now):
			f.list.records.WithLabelValues(recordLifts).Inc()
			f.list.remove(k)
			fresh.remove(k)
		default:
			f.list.records.WithLabelValues(recordRevokes).Inc()
			f.list.put(&r)
			fresh.put(&r)
		}
	}
	f.next = max(f.next, batch.Marks().Next)
	return fresh
}

// trouble tells once that the cluster cannot be asked.
func (f *follower) trouble(err error) {
	f.list.notReady(err)
	if f.told == err.Error() {
		return
	}
	f.told = err.Error()
	f.list.log.Warn("the revoked tokens cannot be read: what is revoked from now on is not known", zap.Error(err))
}

func rest(ctx context.Context) bool {
	timer := time.NewTimer(restAfterError)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
