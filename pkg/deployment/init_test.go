package deployment_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
)

// records is how many records the control topic was given.
func (w *world) records() int64 {
	return w.fake.PartitionInfo(deployment.ControlTopic, 0).HighWatermark
}

// raceToControl makes callers that write to the control topic do so at once: nobody's record is taken at the first attempt,
// so that all have read the topic before one is.
func raceToControl(fake *kfake.Cluster, callers int) {
	fake.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: deployment.ControlTopic, Err: kerr.NotLeaderForPartition, Count: callers,
	})
}

// Of several that initialise at once, one decides for all: whoever wanted the same is content, whoever did not is told,
// and what stands, and what compaction leaves, is what all were told.
func TestInitsAtOnceThatDiffer(t *testing.T) {
	inWorld(t, func(w *world) {
		const callers = 6
		raceToControl(w.fake, callers)
		var records [callers]deployment.Record
		var errs [callers]error
		window := func(caller int) int64 { return int64(100 + caller/2) } // two of each
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				want := deployment.Default()
				want.Window = window(i)
				records[i], errs[i] = deployment.Init(w.t.Context(), w.cluster, want, topics())
			})
		}
		wg.Wait()
		if w.records() < 3 {
			w.t.Fatalf("there was no race: %d records", w.records())
		}
		stands, err := w.wait()
		if err != nil {
			w.t.Fatal(err)
		}
		content := 0
		for i, err := range errs {
			var conflict *deployment.ConflictError
			if wanted := window(i) == stands.Window; wanted == errors.As(err, &conflict) || (err != nil && conflict == nil) {
				w.t.Errorf("caller %d asked for a window of %d, %d stands: %v", i, window(i), stands.Window, err)
			}
			if records[i].Window != stands.Window {
				w.t.Errorf("caller %d was told a window of %d, %d stands", i, records[i].Window, stands.Window)
			}
			if err == nil {
				content++
			}
		}
		if content != 2 {
			w.t.Errorf("%d are content, want 2", content)
		}
	})
}

// Whatever came behind the record that was agreed on, Init puts that back: compaction would leave only the other.
func TestInitPutsTheRecordBack(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*deployment.Record){
		"another record of the epoch":  func(r *deployment.Record) { r.Window = 7 },
		"a record of an earlier epoch": func(r *deployment.Record) { r.Epoch = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				second := w.init(deployment.Default())
				second.Epoch = 2
				w.rewrite(second)
				other := second
				change(&other)
				w.rewrite(other)
				if got := w.init(deployment.Default()); got.Epoch != 2 || got.Window != second.Window || w.records() != 4 {
					w.t.Fatalf("Init = %+v, %d records", got, w.records())
				}
				if got, err := w.wait(); err != nil || got.Epoch != 2 || got.Window != second.Window {
					w.t.Fatalf("Wait = %+v, %v", got, err)
				}
			})
		})
	}
}

// Nobody told whether the record was appended: the topic tells.
func TestInitWithAnUnknownOutcome(t *testing.T) {
	inWorld(t, func(w *world) {
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: deployment.ControlTopic, Err: kerr.RequestTimedOut, Count: -1})
		time.AfterFunc(40*time.Second, h.Remove)
		r := w.init(deployment.Default())
		if got, err := w.wait(); err != nil || got != r || w.records() != 1 {
			w.t.Fatalf("Wait = %+v, %v; Init returned %+v; %d records", got, err, r, w.records())
		}
	})
}

// The topic was created a moment ago, and its leader says so before it serves it.
func TestInitWaitsForTheLeader(t *testing.T) {
	inWorld(t, func(w *world) {
		w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: deployment.ControlTopic, Err: kerr.NotLeaderForPartition, Count: 3})
		if r := w.init(deployment.Default()); r.Epoch != 1 || w.records() != 1 {
			w.t.Fatalf("Init = %+v, %d records", r, w.records())
		}
	})
}

func TestTopicsCheck(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		topics deployment.Topics
		want   string // "" where nothing is wrong
	}{
		"production":              {deployment.Topics{Replicas: 3, MinInsync: 2, Retention: deployment.DefaultRetention}, ""},
		"one broker":              {topics(), ""},
		"no replicas":             {deployment.Topics{MinInsync: 1, Retention: time.Hour * 24}, "replicas is 0"},
		"more in sync than exist": {deployment.Topics{Replicas: 1, MinInsync: 2, Retention: time.Hour * 24}, "min insync replicas is 2"},
		"none in sync":            {deployment.Topics{Replicas: 3, Retention: time.Hour * 24}, "min insync replicas is 0"},
		"short retention":         {deployment.Topics{Replicas: 1, MinInsync: 1, Retention: 2 * time.Hour}, "must be more than 2h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tc.topics.Check(deployment.Default())
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Fatalf("Check = %v, want %q", err, tc.want)
			}
		})
	}
}

func TestRecordCheckOfNames(t *testing.T) {
	t.Parallel()
	for name, legal := range map[string]bool{
		"clicks": true, "a.b_c-D9": true, strings.Repeat("x", 249): true,
		"": false, ".": false, "..": false, "a/b": false, "a b": false, "klicks-ä": false,
		strings.Repeat("x", 250): false, deployment.ControlTopic: false,
	} {
		r := deployment.Default()
		r.Topic = name
		if err := r.Check(); (err == nil) != legal {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// A topic that somebody has made otherwise is told, with everything that is wrong, before there is a record.
func TestInitRefusesAForeignTopic(t *testing.T) {
	inWorld(t, func(w *world) {
		foreign := kafkalog.TopicSpec{Name: "clicks", Partitions: 1, Replicas: 1, Settings: map[string]string{
			"cleanup.policy": "compact", "retention.bytes": "1000",
		}}
		if err := w.cluster.EnsureTopics(w.t.Context(), foreign); err != nil {
			w.t.Fatal(err)
		}
		_, err := deployment.Init(w.t.Context(), w.cluster, deployment.Default(), topics())
		var topic *kafkalog.TopicError
		if !errors.As(err, &topic) || topic.Topic != "clicks" {
			w.t.Fatalf("Init = %v", err)
		}
		for _, part := range []string{"1 partitions", "cleanup.policy", "retention.bytes", "message.timestamp.type"} {
			if !strings.Contains(err.Error(), part) {
				w.t.Errorf("%q does not tell of %s", err, part)
			}
		}
		if n := w.records(); n != 0 {
			w.t.Fatalf("%d records were written", n)
		}
	})
}
