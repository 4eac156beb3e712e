// Package deployment is the deployment record: what every reader of the clicks must agree on for their counts to be the
// same numbers. It is data, one record in the compacted topic linkpulse-control, and no configuration: `linkpulse init`
// writes it once, services wait for it, read it, follow it, and refuse what contradicts it.
package deployment

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/linkpulse/linkpulse/pkg/clickpb"
	"github.com/linkpulse/linkpulse/pkg/fold"
)

// ControlTopic is the compacted topic of one partition that holds the record, under the key Key.
const (
	ControlTopic = "linkpulse-control"
	Key          = "deployment"
)

// MaxPartitions is the largest partition count. Every gateway follows every partition.
const MaxPartitions = 1000

// minWithin is the least time within which a duplicate is known: below it, not even the retry of a client is one.
const minWithin = time.Second

// Record is the deployment record.
type Record struct {
	Topic       string        // of the clicks
	Partitions  int           // that link ids are hashed over
	Window      int64         // how many offsets back a duplicate is looked for
	Within      time.Duration // how far apart duplicates are at most, exclusive; whole milliseconds
	FoldVersion int           // of the rules by which records count
	Epoch       int64         // numbers the life of the counts, from 1
	CreatedAt   time.Time     // when the record was written
}

// Default is the record of a deployment that has no reason for another. The window must hold what a partition gets while
// a client may still retry: its peak in records per second times a minute, so 50,000 does for 833 clicks/s in each of 12
// partitions.
func Default() Record {
	return Record{Topic: "clicks", Partitions: 12, Window: 50_000, Within: time.Hour, FoldVersion: fold.Version, Epoch: 1}
}

// Fold returns the parameters of the fold.
func (r Record) Fold() fold.Params { return fold.Params{Window: r.Window, Within: r.Within} }

// Check returns everything that is wrong with the record.
func (r Record) Check() error {
	errs := []error{checkTopicName(r.Topic)}
	if r.Partitions < 1 || r.Partitions > MaxPartitions {
		errs = append(errs, fmt.Errorf("partitions is %d, must be 1 to %d", r.Partitions, MaxPartitions))
	}
	if err := (fold.Params{Window: r.Window, Within: max(r.Within, minWithin)}).Check(); err != nil {
		errs = append(errs, err)
	}
	if r.Within < minWithin || r.Within%time.Millisecond != 0 {
		errs = append(errs, fmt.Errorf("within is %v, must be whole milliseconds and at least %v", r.Within, minWithin))
	}
	if r.FoldVersion != fold.Version {
		errs = append(errs, fmt.Errorf("fold version is %d, this program knows %d: use a program of the deployment's version",
			r.FoldVersion, fold.Version))
	}
	if r.Epoch < 1 {
		errs = append(errs, fmt.Errorf("epoch is %d, must be at least 1", r.Epoch))
	}
	return errors.Join(errs...)
}

// maxTopicName is the longest name of a topic: Kafka names files after it.
const maxTopicName = 249

const topicNameChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

// checkTopicName tells what Kafka would refuse, before anything was created.
func checkTopicName(name string) error {
	switch legal := strings.Trim(name, topicNameChars) == ""; {
	case name == ControlTopic:
		return fmt.Errorf("topic is %q, which holds the record itself", name)
	case name == "" || name == "." || name == ".." || len(name) > maxTopicName || !legal:
		return fmt.Errorf("topic is %q, must be 1 to %d of A-Z a-z 0-9 . _ -", name, maxTopicName)
	}
	return nil
}

// Difference is a field in which two records differ.
type Difference struct{ Field, Have, Want string }

// diff returns where r, which stands, differs from want; epoch and time of writing do not count.
func (r Record) diff(want Record) []Difference {
	var ds []Difference
	add := func(field string, have, want any) {
		if have != want {
			ds = append(ds, Difference{field, fmt.Sprint(have), fmt.Sprint(want)})
		}
	}
	add("topic", r.Topic, want.Topic)
	add("partitions", r.Partitions, want.Partitions)
	add("window", r.Window, want.Window)
	add("within", r.Within, want.Within)
	add("fold version", r.FoldVersion, want.FoldVersion)
	return ds
}

// ConflictError reports that a record stands that differs from the one that was asked for. Nothing was changed: counts
// under two rules do not mix.
type ConflictError struct {
	Stands      Record
	Differences []Difference
}

// Error names every field with both values.
func (e *ConflictError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a deployment record of epoch %d stands and is never changed:", e.Stands.Epoch)
	for _, d := range e.Differences {
		fmt.Fprintf(&b, " %s is %s, %s was asked for;", d.Field, d.Have, d.Want)
	}
	b.WriteString(" ask for what stands, or begin a new epoch")
	return b.String()
}

// conflict returns a *[ConflictError] if r, which stands, differs from want.
func (r Record) conflict(want Record) error {
	if ds := r.diff(want); len(ds) > 0 {
		return &ConflictError{Stands: r, Differences: ds}
	}
	return nil
}

func (r Record) encode() ([]byte, error) {
	return proto.Marshal(&clickpb.Deployment{
		Topic: r.Topic, Partitions: uint32(r.Partitions), Window: r.Window, WithinMs: r.Within.Milliseconds(), //nolint:gosec // checked: 1 to MaxPartitions
		FoldVersion: uint32(r.FoldVersion), Epoch: r.Epoch, CreatedAtMs: r.CreatedAt.UnixMilli(), //nolint:gosec // checked: the version of the fold
	})
}

// decode reads a record and checks it.
func decode(value []byte) (Record, error) {
	var m clickpb.Deployment
	if err := proto.Unmarshal(value, &m); err != nil {
		return Record{}, fmt.Errorf("the deployment record does not decode: %w", err)
	}
	r := Record{
		Topic: m.GetTopic(), Partitions: int(m.GetPartitions()), Window: m.GetWindow(),
		Within:      time.Duration(min(m.GetWithinMs(), maxWithinMs)) * time.Millisecond,
		FoldVersion: int(m.GetFoldVersion()), Epoch: m.GetEpoch(), CreatedAt: time.UnixMilli(m.GetCreatedAtMs()),
	}
	if err := r.Check(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", errUnusable, err)
	}
	return r, nil
}

// errUnusable reports a record that is one, and that this program cannot count by.
var errUnusable = errors.New("the deployment record cannot be used")

// maxWithinMs keeps a foreign record from overflowing a duration.
const maxWithinMs = int64(365 * 24 * time.Hour / time.Millisecond)
