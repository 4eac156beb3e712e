package totalstest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/linkpulse/linkpulse/pkg/fold"
	"github.com/linkpulse/linkpulse/pkg/totals"
)

// Server is a Redis to test the package totals on.
type Server struct {
	// Config reaches it, with Options.
	Config  totals.Config
	Options []totals.Option
	// Raw is a client of the same server, for what the package totals would not do.
	Raw rueidis.Client
}

// failer is what tests and checks of properties have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
	Context() context.Context
}

// Conform runs what has to hold on every Redis: in memory, alone, behind Sentinels or in a cluster. The server may be in
// use by others under another prefix.
func Conform(t *testing.T, s Server) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *bench){
		"apply":                    testApply,
		"links named like fields":  testNames,
		"refusals":                 testRefusals,
		"an epoch beside another":  testEpochs,
		"nothing in part":          testNothingInPart,
		"numbers":                  testNumbers,
		"created anew":             testCreatedAnew,
		"minutes":                  testMinutes,
		"history":                  testHistory,
		"history that is no hash":  testHistoryOfOtherTypes,
		"dump and restore":         testDumpAndRestore,
		"restore that is refused":  testRestoreRefused,
		"expire and remove":        testExpireAndRemove,
		"many links":               testManyLinks,
		"owners, zombies and time": testProperty,
	} {
		t.Run(name, func(t *testing.T) { test(t, newBench(t, s)) })
	}
}

// bench is one test's part of a server: an epoch of its own.
type bench struct {
	server Server
	store  *totals.Store
	epoch  *totals.Epoch
	number int64
}

// rule of all tests.
func rule() totals.Rule { return totals.RuleOf(fold.Params{Window: 1000, Within: time.Hour}) }

func newBench(t *testing.T, s Server) *bench {
	t.Helper()
	store, err := totals.Open(s.Config, s.Options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	b := &bench{server: s, store: store}
	b.begin(t)
	return b
}

// begin takes an epoch that nobody has.
func (b *bench) begin(tb failer) {
	tb.Helper()
	n, err := b.server.Raw.Do(tb.Context(), b.server.Raw.B().Incr().Key(b.server.Config.Prefix+":conform").Build()).AsInt64()
	if err != nil {
		tb.Fatalf("taking an epoch: %v", err)
	}
	b.number, b.epoch = n, b.store.Epoch(n, rule())
}

func (b *bench) totalsKey() string { return b.key("totals") }

func (b *bench) minuteKey(minute int64) string {
	return b.key("minute:" + strconv.FormatInt(minute, 10))
}

// key of partition 0.
func (b *bench) key(name string) string {
	return b.server.Config.Prefix + ":{" + strconv.FormatInt(b.number, 10) + ":0}:" + name
}

// do runs a command on a key.
func (b *bench) do(tb failer, command, key string, args ...string) {
	tb.Helper()
	c := b.server.Raw.B().Arbitrary(command).Keys(key).Args(args...).Build()
	if err := b.server.Raw.Do(tb.Context(), c).Error(); err != nil {
		tb.Fatalf("%s %s %q: %v", command, key, args, err)
	}
}

// image is what keys of a partition hold.
type image map[string]hash

type hash struct {
	fields  map[string]string
	seconds int64 // until it expires
}

// take takes an image of the totals and some minutes. Keys that are no hashes have one field, "".
func (b *bench) take(tb failer, minutes ...int64) image {
	tb.Helper()
	keys := []string{b.totalsKey()}
	for _, m := range minutes {
		keys = append(keys, b.minuteKey(m))
	}
	var cmds rueidis.Commands
	for _, key := range keys {
		c := b.server.Raw.B()
		cmds = append(cmds, c.Type().Key(key).Build(), c.Hgetall().Key(key).Build(), c.Ttl().Key(key).Build())
	}
	answers := b.server.Raw.DoMulti(tb.Context(), cmds...)
	im := make(image)
	for i, key := range keys {
		kind, err := answers[3*i].ToString()
		fields, _ := answers[3*i+1].AsStrMap() // an error where it is no hash
		seconds, ttlErr := answers[3*i+2].AsInt64()
		switch {
		case err != nil || ttlErr != nil:
			tb.Fatalf("reading %s: %v, %v", key, err, ttlErr)
		case kind == "hash":
			im[key] = hash{fields: fields, seconds: seconds}
		case kind != "none":
			im[key] = hash{fields: map[string]string{"": kind}, seconds: seconds}
		}
	}
	return im
}

// equal compares what is stored; time goes on meanwhile.
func (im image) equal(other image) bool {
	return maps.EqualFunc(im, other, func(a, b hash) bool { return maps.Equal(a.fields, b.fields) })
}

// put makes the partition what it was when an image was taken.
func (b *bench) put(tb failer, im image, minutes ...int64) {
	tb.Helper()
	b.do(tb, "DEL", b.totalsKey())
	for _, m := range minutes {
		b.do(tb, "DEL", b.minuteKey(m))
	}
	for key, h := range im {
		args := make([]string, 0, 2*len(h.fields))
		for field, value := range h.fields {
			args = append(args, field, value)
		}
		b.do(tb, "HSET", key, args...)
		if h.seconds > 0 {
			b.do(tb, "EXPIRE", key, strconv.FormatInt(h.seconds, 10))
		}
	}
}

// apply applies batches that must be applied.
func (b *bench) apply(tb failer, batches ...totals.Batch) {
	tb.Helper()
	for i := range batches {
		if err := b.epoch.Apply(tb.Context(), &batches[i]); err != nil {
			tb.Fatalf("applying: %v", err)
		}
	}
}

// links in one click each.
func oneEach(links ...string) (list []totals.LinkDelta) {
	for _, l := range links {
		list = append(list, totals.LinkDelta{Link: l, Count: 1, AtMs: 1})
	}
	return list
}

// thisMinute returns the minute of now. A test that runs into the next does not notice: both are kept.
func thisMinute() int64 { return time.Now().Unix() / 60 }

// minutesOf returns the minutes of a batch.
func minutesOf(b *totals.Batch) (minutes []int64) {
	for _, m := range b.Minutes {
		minutes = append(minutes, m.Minute)
	}
	return slices.Compact(minutes)
}
