package clickpb_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/clickpb"
)

// record draws a record with every field set or left out.
func record(t *rapid.T) click.Record {
	r := click.Record{
		Bot:          rapid.Bool().Draw(t, "bot"),
		AtMs:         rapid.Int64().Draw(t, "at_ms"),
		Country:      rapid.SampledFrom([]string{"", "DE", "NZ"}).Draw(t, "country"),
		ReferrerHost: rapid.String().Filter(func(s string) bool { return strings.ToValidUTF8(s, "") == s }).Draw(t, "referrer_host"),
	}
	if rapid.Bool().Draw(t, "has id") {
		copy(r.ID[:], rapid.SliceOfN(rapid.Byte(), len(r.ID), len(r.ID)).Draw(t, "event_id"))
	}
	return r
}

func message(r click.Record) *clickpb.Click {
	m := &clickpb.Click{Version: click.RecordVersion, Bot: r.Bot, AtMs: r.AtMs, Country: r.Country, ReferrerHost: r.ReferrerHost}
	if !r.ID.IsZero() {
		m.EventId = r.ID[:]
	}
	return m
}

// What the ingest service writes by hand is the message, and the bytes are those of the canonical order too.
func TestHandWrittenRecordIsTheMessage(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := record(t)
		written := r.Append(nil)
		var read clickpb.Click
		if err := proto.Unmarshal(written, &read); err != nil {
			t.Fatalf("reading %x: %v", written, err)
		}
		if want := message(r); !proto.Equal(&read, want) {
			t.Fatalf("%x is read as %v, want %v", written, &read, want)
		}
		if len(read.ProtoReflect().GetUnknown()) > 0 {
			t.Fatalf("%x has fields that the message does not know", written)
		}
	})
}

// What another program writes with the generated code is read by hand as it was meant, also when it has fields of a
// later version and whatever their order.
func TestMessageIsReadByHand(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := record(t)
		var value []byte
		if rapid.Bool().Draw(t, "later field first") {
			value = append(value, 0xfa, 0x01, 3, 'n', 'e', 'w') // field 31, bytes
		}
		value, err := proto.MarshalOptions{Deterministic: rapid.Bool().Draw(t, "deterministic")}.MarshalAppend(value, message(want))
		if err != nil {
			t.Fatal(err)
		}
		got, err := click.Decode([]byte("x7Kp2"), value)
		if err != nil || got != want {
			t.Fatalf("%x is read as %+v, %v; want %+v", value, got, err, want)
		}
	})
}

// Every field of the message is one that the hand-written code writes: a new one must be decided about there.
func TestNoFieldIsForgotten(t *testing.T) {
	t.Parallel()
	full := click.Record{ID: click.ID{1}, Bot: true, AtMs: 1, Country: "DE", ReferrerHost: "news.example"}
	var m clickpb.Click
	if err := proto.Unmarshal(full.Append(nil), &m); err != nil {
		t.Fatal(err)
	}
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); !m.ProtoReflect().Has(f) {
			t.Errorf("package click does not write %s", f.FullName())
		}
	}
}

// A visitor's address and user agent must never get a field, not even by accident: the names are taken.
func TestNamesOfPersonalDataAreReserved(t *testing.T) {
	t.Parallel()
	reserved := (&clickpb.Click{}).ProtoReflect().Descriptor().ReservedNames()
	for _, name := range []protoreflect.Name{"ip", "user_agent", "referrer"} {
		if !reserved.Has(name) {
			t.Errorf("%s is not reserved in Click", name)
		}
	}
}
