package bench

import (
	"context"
	"fmt"
	"time"
)

// generator is the load generator at work. One goroutine posts every click when it is due and reads all that comes, so
// nothing of it waits for another part of it.
type generator struct {
	run    *run
	poll   notifier
	sender *sender
}

// breath is the longest wait of the generator: how soon it notices that it shall end.
const breath = 50 * time.Millisecond

// work goes on until ctx ends or something is wrong.
func (g *generator) work(ctx context.Context) error {
	g.poll.begin()
	for ctx.Err() == nil {
		next, err := g.sender.dispatch(ctx)
		if err != nil {
			return err
		}
		ready, err := g.poll.wait(g.run.clock(next))
		if err != nil {
			return err
		}
		for _, h := range ready {
			if err := h.readable(); err != nil {
				return err
			}
			if g.run.now() < next {
				continue
			}
			if next, err = g.sender.dispatch(ctx); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

// clock returns the time at which the load has run for so long, or that of the next breath if it comes sooner.
func (r *run) clock(at time.Duration) time.Time {
	if at-r.now() > breath {
		return time.Now().Add(breath)
	}
	return r.start.Add(time.Duration(r.begin.Load()) + at)
}

// newGenerator returns a generator whose connections to ingest are open. It is to be closed.
func newGenerator(ctx context.Context, r *run) (g *generator, err error) {
	g = &generator{run: r, poll: newWatchers()}
	if r.target.Dial == nil {
		if g.poll, err = newNotifier(); err != nil {
			return nil, err
		}
	}
	if g.sender, err = newSender(r, g.poll); err == nil {
		err = g.sender.open(ctx)
	}
	if err != nil {
		g.poll.close()
		return nil, fmt.Errorf("connecting to ingest: %w", err)
	}
	return g, nil
}

// watch takes over the dashboards' connections. Where it fails, some of them may be left as they were.
func (g *generator) watch(dashboards []*dashboard) error {
	for _, d := range dashboards {
		if err := d.attach(g.poll); err != nil {
			return err
		}
	}
	return nil
}

// start begins to work. leave ends that and closes all connections.
func (g *generator) start(ctx context.Context, stop context.CancelCauseFunc) (leave func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := g.work(ctx); ctx.Err() == nil {
			stop(err)
		}
	}()
	return func() {
		stop(errDone) // first, so that a connection's end is no news
		<-done
		g.poll.close()
	}
}
