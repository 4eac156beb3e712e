package follower

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/lineage"
)

const (
	// endGrace is for how long a log may end below what was read of it: a new leader learns the end of its log a moment
	// after it is elected.
	endGrace = 10 * time.Second
	// lookAgain is the longest wait until a partition that has stopped looks at its log again. A look costs two fetches of
	// up to a megabyte.
	lookAgain = 10 * time.Second
	// stoodStill is how far apart two answers can only be where this process did not run: a fetch is answered or given up
	// within two seconds. Anything may have happened to the topic meanwhile, and no fetch has failed of it.
	stoodStill = 5 * time.Second
)

// errOtherLog says that a record which was counted is not in the log, and retention has not cut it.
var errOtherLog = errors.New("the topic was created anew")

// trail is what a follower keeps of the log that it has read, to notice that another one is in its place: a topic that
// was deleted and created again has the old one's name, and once it is long enough its offsets. It costs a copy of one
// record a chunk; what that record's fingerprint is, is worked out only when somebody asks.
type trail struct {
	// next is the offset up to which the log was applied.
	next int64
	// last is a copy of the last record below next, in room.
	last    fold.Record
	hasLast bool
	room    []byte
	// unsure is set by whatever a topic can be created anew behind, until the log has shown the last record again.
	unsure bool
	// answered is when the log last answered, behindSince since when it ends below next; zero while it does not.
	answered, behindSince time.Time
}

// keep notes that a chunk was applied.
func (t *trail) keep(chunk *feed.Chunk) {
	t.next = chunk.Next
	n := len(chunk.Records)
	if n == 0 {
		return
	}
	t.last, t.hasLast = chunk.Records[n-1], true
	key := len(t.last.Key)
	t.room = append(append(t.room[:0], t.last.Key...), t.last.Value...)
	t.last.Key, t.last.Value = t.room[:key:key], t.room[key:]
}

func (t *trail) fingerprint() totals.Fingerprint {
	if !t.hasLast {
		return totals.Fingerprint{}
	}
	return totals.FingerprintOf(t.last)
}

// check makes sure that a chunk is of the log that was read so far, before anything of it is counted. The record is asked
// for after the chunk came: a log that still has it then is the one that the chunk is of. Where the source tells logs
// apart, a chunk of another one is noticed by itself, however fast that has grown; it is good all the same if it can show
// the record, as the copy of a log in another cluster does.
func (p *partition) check(ctx context.Context, t *trail, chunk *feed.Chunk) error {
	if chunk.Marks.End < t.next {
		return fmt.Errorf("%w: it ends at %d, the position is %d", feed.ErrBeyondEnd, chunk.Marks.End, t.next)
	}
	isOrigin := p.isOrigin(chunk.Marks.Log)
	if !isOrigin && t.next == 0 { // nothing was counted of the other one; what totals were read may be of it
		p.startOver()
		isOrigin = true
	}
	if !isOrigin || t.unsure || time.Since(t.answered) > stoodStill {
		shown, err := p.hasRecord(ctx, t.fingerprint())
		if err != nil {
			return err
		}
		if !isOrigin && shown != chunk.Marks.Log {
			return fmt.Errorf("%w: it has another id, and nothing shows that its records are the same", errOtherLog)
		}
	}
	p.comesFrom(chunk.Marks.Log)
	t.unsure, t.answered, t.behindSince = false, time.Now(), time.Time{}
	return nil
}

// isOrigin tells whether nothing is known that speaks against a log's being the one that the counts are of.
func (p *partition) isOrigin(log feed.LogID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return log.IsZero() || p.origin.IsZero() || log == p.origin
}

// startOver reads all totals again.
func (p *partition) startOver() {
	p.mu.Lock()
	p.forget()
	p.mu.Unlock()
	p.wakeReader()
}

// comesFrom notes which log the counts are of.
func (p *partition) comesFrom(log feed.LogID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !log.IsZero() {
		p.origin = log
	}
}

// hasRecord returns nil where the log has a record, and the log that has shown it, if that is known. It is taken for
// granted where there was none yet, or retention has cut it. An error wraps errOtherLog where something else is in its
// place, and [feed.ErrBeyondEnd] where the log ends before it; any other one passes by itself.
func (p *partition) hasRecord(ctx context.Context, f totals.Fingerprint) (shown feed.LogID, err error) {
	found, log, err := lineage.Find(ctx, p.source, p.id, f)
	switch {
	case err != nil:
		return shown, err
	case found == lineage.Other:
		return shown, fmt.Errorf("%w: another record is at offset %d than the one that was counted there", errOtherLog, f.Offset)
	case found == lineage.Short:
		return shown, fmt.Errorf("%w: the record at %d was counted", feed.ErrBeyondEnd, f.Offset)
	case found == lineage.There:
		return log, nil
	}
	return shown, nil
}

// suspect notes an error of the log, behind which it may have become another, and stops the partition where it has.
func (p *partition) suspect(t *trail, err error) {
	t.unsure = true
	beyond := errors.Is(err, feed.ErrBeyondEnd)
	switch {
	case errors.Is(err, errOtherLog):
		p.stop(stopRecreated, err)
	case !beyond:
		t.behindSince = time.Time{}
	case t.behindSince.IsZero():
		t.behindSince = time.Now()
	case time.Since(t.behindSince) >= endGrace:
		p.stop(stopBeyondEnd, err)
	}
}

// stop makes all links of the partition syncing until it goes on, which it does where the log turns out to be the old
// one after all. Otherwise a new epoch ends it: what clients were told of this one is of a log that is no more, and no
// number of another log may follow it.
func (p *partition) stop(reason string, err error) {
	p.mu.Lock()
	was := p.stopped
	p.stopped = reason
	if was == "" {
		p.forget()
	}
	p.mu.Unlock()
	if was == reason {
		return
	}
	if was != "" {
		p.metrics.stopped.WithLabelValues(was).Dec()
	}
	p.metrics.stopped.WithLabelValues(reason).Inc()
	p.log.Error("the log is not the one that was counted: all links of the partition are syncing. "+
		"Begin a new epoch with `linkpulse totals rebuild --topic NAME`", zap.String("stopped", reason), zap.Error(err))
}

// resume ends a stop, if there is one.
func (p *partition) resume() {
	p.mu.Lock()
	was := p.stopped
	p.stopped = ""
	p.mu.Unlock()
	if was == "" {
		return
	}
	p.metrics.stopped.WithLabelValues(was).Dec()
	p.log.Info("the log is the one that was counted, going on", zap.String("stopped", was))
	p.wakeReader()
}

// lastRead returns the fingerprint of the last record that the follower knows.
func (p *partition) lastRead() totals.Fingerprint {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.read.fingerprint()
}

func (p *partition) stopReason() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}
