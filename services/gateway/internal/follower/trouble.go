package follower

import (
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
)

// resultOf names what an error of the Snapshotter says.
func resultOf(err error) (result string) {
	switch {
	case errors.Is(err, ErrMissing):
		return readMissing
	case errors.Is(err, ErrRule):
		return readRule
	case errors.Is(err, errOtherLog):
		return readRecreated
	case errors.Is(err, feed.ErrBeyondEnd):
		return readAhead
	default:
		return readFailed
	}
}

// trouble knows how many partitions cannot read their totals, and why. An outage of the store meets all of them at once
// and is said once: when the first one meets it, and when the last one is out of it.
type trouble struct {
	log   *zap.Logger
	gauge *prometheus.GaugeVec

	mu         sync.Mutex     // guards partitions
	partitions map[string]int // how many are in each state, by the result of their last read
}

func newTrouble(log *zap.Logger, gauge *prometheus.GaugeVec) *trouble {
	return &trouble{log: log, gauge: gauge, partitions: make(map[string]int)}
}

// change notes that a partition's read ended as to, the one before as from.
func (t *trouble) change(from, to string, details ...zap.Field) {
	if from == to {
		return
	}
	isLast, isFirst := t.move(from, to)
	if isFirst {
		level, text := troubleText(to)
		t.log.Log(level, text, details...)
	}
	if isLast && to == readLanded {
		t.log.Info("totals are read again", zap.String("after", from))
	}
}

// over notes that nobody waits any more for a partition's totals, whatever the last read of them said.
func (t *trouble) over(from string) {
	if from != readLanded {
		t.move(from, readLanded)
	}
}

// move tells whether the partition was the last one to leave a state, and whether it is the first one to enter the other.
func (t *trouble) move(from, to string) (isLast, isFirst bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if from != readLanded {
		t.partitions[from]--
		isLast = t.partitions[from] == 0
		t.gauge.WithLabelValues(from).Set(float64(t.partitions[from]))
	}
	if to != readLanded {
		t.partitions[to]++
		isFirst = t.partitions[to] == 1
		t.gauge.WithLabelValues(to).Set(float64(t.partitions[to]))
	}
	return isLast, isFirst
}

// troubleText says what a result means and what ends it.
func troubleText(result string) (zapcore.Level, string) {
	switch result {
	case readBehind:
		return zap.WarnLevel, "totals are older than the ring: links that nobody watched yet are syncing until the tally has caught up"
	case readMissing:
		return zap.WarnLevel, "there are no totals: links that nobody watched yet are syncing until the tally has written them"
	case readRule:
		return zap.ErrorLevel, "totals were counted by another rule than this deployment's: links that nobody watched yet are " +
			"syncing until totals of its own rule are there"
	case readRecreated:
		return zap.ErrorLevel, "totals are of another log than the one that is there: links that nobody watched yet are syncing. " +
			"Begin a new epoch with `linkpulse totals rebuild --topic NAME`"
	case readAhead:
		return zap.WarnLevel, "totals have records that the log does not have: links that nobody watched yet are syncing until it " +
			"has them. If it stays so the topic was created anew: begin a new epoch with `linkpulse totals rebuild --topic NAME`"
	default:
		return zap.WarnLevel, "totals cannot be read: links that nobody watched yet are syncing until they can; the others go on"
	}
}
