package lineage_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/fold/feed/feedtest"
	"github.com/linkpulse/linkpulse/pkg/totals"
	"github.com/linkpulse/linkpulse/pkg/totals/lineage"
)

func record(n int64) fold.Record {
	return fold.Record{Offset: n, TimeMs: 1000 + n, Key: []byte("x7Kp2"), Value: []byte{byte(n)}}
}

func TestFind(t *testing.T) {
	t.Parallel()
	errAway := errors.New("leader away")
	third := totals.FingerprintOf(record(2))
	for _, tc := range []struct {
		name    string
		look    totals.Fingerprint
		happens func(*feedtest.Topic)
		want    lineage.Finding
		err     error
		isKnown bool // in which log
	}{
		{"there", third, func(*feedtest.Topic) {}, lineage.There, nil, true},
		{"nothing was counted", totals.Fingerprint{}, func(l *feedtest.Topic) { l.Fail(0, 1, errAway) }, lineage.Unasked, nil, false},
		{"cut", third, func(l *feedtest.Topic) { l.Cut(0, 3) }, lineage.Cut, nil, false},
		{"all cut but that one", third, func(l *feedtest.Topic) { l.Cut(0, 2) }, lineage.There, nil, true},
		{"ends there", third, func(l *feedtest.Topic) { l.Truncate(0, 2) }, lineage.Short, nil, true},
		{"ends long before", third, func(l *feedtest.Topic) { l.Truncate(0, 1) }, lineage.Short, nil, false},
		{"another record", third, func(l *feedtest.Topic) { l.CreateAnew(0, record(7), record(8), record(9)) }, lineage.Other, nil, true},
		{"a hole", third, func(l *feedtest.Topic) { l.Truncate(0, 2); l.Hole(0, 3) }, lineage.Other, nil, true},
		{"hidden at first", third, func(l *feedtest.Topic) { l.Hide(0, 2, 1) }, lineage.There, nil, true},
		{"cannot be asked", third, func(l *feedtest.Topic) { l.Fail(0, 1, errAway) }, lineage.Unasked, errAway, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := feedtest.New(1)
				log.HasIDs = true
				for n := range int64(5) {
					log.Append(0, record(n))
				}
				tc.happens(log)
				got, id, err := lineage.Find(t.Context(), log, 0, tc.look)
				if got != tc.want || id.IsZero() == tc.isKnown || !errors.Is(err, tc.err) {
					t.Fatalf("%v in log %x, %v", got, id, err)
				}
			})
		})
	}
}
