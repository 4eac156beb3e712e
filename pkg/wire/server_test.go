package wire_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// A client that is older than its server ignores what it does not know.
func TestDecodeServerIsTolerant(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]wire.ServerMessage{
		`{"type":"click_update","link":"a","count":2,"delta":1,"bots":0,"seq":9,"at":5,"unique":1}`: wire.Update{
			Link: "a", Count: 2, Delta: 1, Seq: 9, At: 5,
		},
		`{"goodbye":1,"type":"goodbye","reason":"later"}`: wire.Goodbye{Reason: "later"},
		`{"type":"link_renamed","from":"a","to":"b"}`:     wire.Unknown{Type: "link_renamed"},
		`{"type":"\u0068eartbeat","at":1}`:                wire.Heartbeat{At: 1},
	} {
		if got, err := wire.DecodeServer([]byte(text)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\nis read as %#v, %v; want %#v", text, got, err, want)
		}
	}
}

func TestDecodeServerRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		``, `null`, `[]`, `"ready"`, `{}`, `{"type":1}`, `{"type":"heartbeat"`, `{"type":"heartbeat"}x`, `{"type":"later",`,
		`{"type":"click_update","count":"many"}`, `{"type":"click_update","count":1.5}`, `{"type":"subscribed","links":[1]}`,
	} {
		if m, err := wire.DecodeServer([]byte(text)); err == nil {
			t.Errorf("%s\nis read as %#v", text, m)
		}
	}
}

// Free text, whatever it holds, is one JSON string, and the one that encoding/json reads back.
func TestFreeTextIsEscaped(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(
		rapid.String(),
		rapid.StringOf(rapid.RuneFrom([]rune("\"\\/\b\f\n\r\t\x00\x1f\x7f<&>é\u2028\ufffd🦊"))),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		message := text.Draw(t, "message")
		b := wire.AppendError(nil, wire.Error{Code: wire.ErrBadMessage, Message: message})
		if !utf8.Valid(b) || !json.Valid(b) {
			t.Fatalf("%q is no JSON text", b)
		}
		want := string([]rune(message)) // every byte that is not UTF-8 becomes U+FFFD
		m, err := wire.DecodeServer(b)
		if e, ok := m.(wire.Error); err != nil || !ok || e.Message != want {
			t.Fatalf("%q was read back as %#v, %v", message, m, err)
		}
	})
}

// An update is on the way of every click to every dashboard: it must not leave work for the collector.
func TestEncodersDoNotAllocate(t *testing.T) {
	// Not parallel: AllocsPerRun counts what the whole process allocates.
	for name, m := range serverMessages() {
		dst := make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() { dst = appendMessage(dst[:0], m) }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	dst, u := make([]byte, 0, 4096), update()
	payload := wire.AppendUpdate(nil, u)
	reason := strings.Repeat("r", 200)
	for name, encode := range map[string]func(){
		"update frame": func() { dst = wire.AppendUpdateFrame(dst[:0], u) },
		"text frame":   func() { dst = wire.AppendTextFrame(dst[:0], payload) },
		"close frame":  func() { dst = wire.AppendCloseFrame(dst[:0], wire.CloseServiceRestart, reason) },
		"ping":         func() { dst = wire.AppendPing(dst[:0]) },
	} {
		if n := testing.AllocsPerRun(100, encode); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func FuzzDecodeServer(f *testing.F) {
	for name := range serverMessages() {
		f.Add(golden(f, "server/"+name+".json"))
	}
	f.Add([]byte(`{"type":"later","links":{}}`))
	f.Add([]byte(`{"type":"subscribed","links":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := wire.DecodeServer(text)
		if err != nil {
			return
		}
		if !json.Valid(text) {
			t.Fatalf("%q is no JSON and is read as %#v", text, m)
		}
		if _, ok := m.(wire.Unknown); ok {
			return
		}
		if _, err := wire.DecodeServer(appendMessage(nil, m)); err != nil && !hasLinks(m) {
			t.Fatalf("%q is read as %#v, which is written so that it cannot be read: %v", text, m, err)
		}
	})
}

// hasLinks tells the messages whose links come from a peer that may not keep to the rule for them.
func hasLinks(m wire.ServerMessage) bool {
	switch m.(type) {
	case wire.Subscribed, wire.Unsubscribed, wire.Update:
		return true
	default:
		return false
	}
}
