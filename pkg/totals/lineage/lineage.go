// Package lineage tells whether a log is the one that totals were counted from. A topic that was deleted and created again
// has the old one's name and, once it is long enough, its offsets; what it does not have is the record that was counted
// last (COUNTING.md, rule 13).
package lineage

import (
	"context"
	"errors"

	"github.com/linkpulse/linkpulse/pkg/fold/feed"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Finding is what a log shows of a record.
type Finding uint8

// The findings.
const (
	// Unasked: there is no record to look for, because nothing was counted yet.
	Unasked Finding = iota
	// Cut: the log begins behind it. Nothing tells that it is another log, and nothing that it is the same.
	Cut
	// There: the log has the record.
	There
	// Other: another record is in its place, or a hole, which no record can have become.
	Other
	// Short: the log ends before it. A leader that is new may not know better yet.
	Short
)

// Find looks for a record in a partition, and tells in which log it did where that is known: where the finding is There,
// Other or Short. Errors are the source's. It takes a fetch, of up to a megabyte.
func Find(ctx context.Context, source feed.Source, partition int32, f totals.Fingerprint) (Finding, feed.LogID, error) {
	if f.IsZero() {
		return Unasked, feed.LogID{}, nil
	}
	reader := feed.NewReader(source, partition, f.Offset)
	defer reader.Close()
	for {
		chunk, err := reader.Next(ctx)
		switch {
		case errors.Is(err, feed.ErrLost):
			return Cut, feed.LogID{}, nil
		case errors.Is(err, feed.ErrBeyondEnd):
			return Short, feed.LogID{}, nil
		case err != nil:
			return Unasked, feed.LogID{}, err
		case len(chunk.Records) > 0 && totals.FingerprintOf(chunk.Records[0]) == f:
			return There, chunk.Marks.Log, nil
		case chunk.Next > f.Offset:
			return Other, chunk.Marks.Log, nil
		case chunk.Marks.End <= f.Offset:
			return Short, chunk.Marks.Log, nil
		}
	}
}
