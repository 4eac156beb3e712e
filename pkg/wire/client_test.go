package wire_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

func TestDecodeClientTakesAnyJSONText(t *testing.T) {
	t.Parallel()
	want := wire.ClientMessage{Type: wire.TypeSubscribe, Links: []string{"x7Kp2", "x7Kp2"}, IntervalMs: 3_600_000}
	for _, text := range []string{
		`{"type":"subscribe","links":["x7Kp2","x7Kp2"],"interval_ms":3600000}`,
		`{"interval_ms":3600000,"links":["x7Kp2","x7Kp2"],"type":"subscribe"}`,
		" \r\n\t{ \"type\" : \"subscribe\" ,\n\"links\" : [ \"x7Kp2\" , \"x7Kp2\" ] , \"interval_ms\" : 3600000 } \n",
		`{"\u0074ype":"sub\u0073cribe","links":["x7\u004bp2","x7Kp2"],"interval_ms":3600000}`,
	} {
		got, err := wire.DecodeClient([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis read as %+v, %v", text, got, err)
		}
	}
}

// A dashboard of a thousand links with ids of usual length subscribes in one message.
func TestDecodeClientLargestMessage(t *testing.T) {
	t.Parallel()
	var links []string
	for i := range wire.MaxSubscriptions {
		links = append(links, fmt.Sprintf("link-%08d", i))
	}
	text := wire.AppendClient(nil, wire.ClientMessage{Type: wire.TypeSubscribe, Links: links, IntervalMs: wire.KeepInterval})
	if len(text) > wire.MaxClientMessage {
		t.Fatalf("a subscribe of %d links of 13 characters has %d bytes", len(links), len(text))
	}
	m, err := wire.DecodeClient(text)
	if err != nil || !reflect.DeepEqual(m.Links, links) {
		t.Fatalf("%d links, %v", len(m.Links), err)
	}
}

// Nesting is not followed, however deep it is: the limit on the message is the limit on the work.
func TestDecodeClientDepth(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strings.Repeat("[", wire.MaxClientMessage),
		strings.Repeat(`{"a":`, wire.MaxClientMessage/5),
		`{"type":"subscribe","links":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
	} {
		if _, err := wire.DecodeClient([]byte(text)); err == nil {
			t.Errorf("%.40s… was taken", text)
		}
	}
}

func TestDecodeClientRepeatsLittle(t *testing.T) {
	t.Parallel()
	hostile := strings.Repeat("é\x1b[31m", 1000)
	for _, text := range []string{
		`{"type":"subscribe","links":[],` + quoted(hostile) + `:1}`,
		`{"type":` + quoted(hostile) + `}`,
		`{"type":"subscribe","links":[` + quoted(hostile) + `]}`,
		`{"type":"auth","token":` + quoted(hostile) + `}`,
	} {
		_, err := wire.DecodeClient([]byte(text))
		var refused *wire.DecodeError
		if !errors.As(err, &refused) || len(refused.Message) > 250 || strings.Contains(refused.Message, "\x1b") {
			t.Errorf("the answer has %d bytes: %v", len(refused.Message), err)
		}
	}
}

// quoted returns s as a JSON string.
func quoted(s string) string {
	text := string(wire.AppendError(nil, wire.Error{Message: s}))
	return strings.TrimSuffix(strings.TrimPrefix(text, `{"type":"error","code":"","message":`), "}")
}

func TestClientMessagesSurviveTheWire(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := wire.ClientMessage{
			Type:       rapid.SampledFrom([]string{wire.TypeSubscribe, wire.TypeUnsubscribe, wire.TypeAuth}).Draw(t, "type"),
			IntervalMs: wire.KeepInterval,
		}
		if m.Type == wire.TypeAuth {
			m.Token = rapid.StringN(0, -1, wire.MaxTokenLen).Filter(utf8.ValidString).Draw(t, "token")
		} else {
			m.Links = rapid.SliceOfN(rapid.StringMatching(`[A-Za-z0-9._~:-]{1,128}`), 0, 20).Draw(t, "links")
		}
		if m.Type == wire.TypeSubscribe {
			m.IntervalMs = rapid.Int64Range(wire.KeepInterval, wire.MaxInterval.Milliseconds()).Draw(t, "interval")
		}
		text := wire.AppendClient(nil, m)
		got, err := wire.DecodeClient(text)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%s\nis read as %+v, %v; want %+v", text, got, err, m)
		}
	})
}

// spaced is a message as nobody writes it, which is read the general way. It means the same.
func spaced(text []byte) []byte { return append(slices.Clone(text), ' ') }

// An auth as everybody writes it has a way of its own, on which it must be read as on the general one.
func TestDecodeClientReadsAuthAlike(t *testing.T) {
	t.Parallel()
	for _, token := range []string{
		"", "eyJ.a-b_c", `a"b`, `a\"b`, `a\u0041`, `a\`, `","x":"`, `","token":"b`, "a\nb", "a b", "ä", "\x7f", "\x00", `a"}`, "~!#$%&'()*+,/:;<=>?@[]^`{|}",
		strings.Repeat("a", wire.MaxTokenLen), strings.Repeat("a", wire.MaxTokenLen+1),
	} {
		text := []byte(`{"type":"auth","token":"` + token + `"}`)
		got, err := wire.DecodeClient(text)
		want, wantErr := wire.DecodeClient(spaced(text))
		if !reflect.DeepEqual(got, want) || (err == nil) != (wantErr == nil) {
			t.Errorf("%.60q: %+v, %v; in the general way %+v, %v", text, got, err, want, wantErr)
		}
	}
}

func FuzzDecodeClient(f *testing.F) {
	for _, m := range invalidMessages(f) {
		f.Add([]byte(m.Message))
	}
	for _, name := range []string{"subscribe", "subscribe_interval", "subscribe_pace_alone", "unsubscribe", "auth"} {
		f.Add(golden(f, "client/"+name+".json"))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := wire.DecodeClient(text)
		if general, generalErr := wire.DecodeClient(spaced(text)); (err == nil) != (generalErr == nil) || !reflect.DeepEqual(m, general) {
			t.Fatalf("%q is %+v, %v; in the general way %+v, %v", text, m, err, general, generalErr)
		}
		if err != nil {
			var refused *wire.DecodeError
			if !errors.As(err, &refused) || refused.Code == "" || refused.Message == "" || len(refused.Message) > 1024 {
				t.Fatalf("%q is refused with %#v", text, err)
			}
			return
		}
		for _, link := range m.Links {
			if err := click.CheckLink(link); err != nil {
				t.Fatalf("%q gave the link %q: %v", text, link, err)
			}
		}
		again, err := wire.DecodeClient(wire.AppendClient(nil, m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%q is read as %+v, and that as %+v, %v", text, m, again, err)
		}
	})
}
