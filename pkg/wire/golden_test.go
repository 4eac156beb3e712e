package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

const contracts = "../../proto"

// golden reads a golden message: the file without its last newline, byte for byte.
func golden(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(contracts, "testdata", path))
	if err != nil {
		tb.Fatal(err)
	}
	return bytes.TrimSuffix(b, []byte("\n"))
}

// serverMessages are what the golden messages of the server say.
func serverMessages() map[string]wire.ServerMessage {
	const most = math.MaxInt64
	ready := wire.Ready{Protocol: 1, Connection: "c_81f2a09be345", Gateway: "gw-2", HeartbeatMs: 15000, Epoch: 1}
	expires, escaped := ready, ready
	expires.Epoch, expires.ExpiresAt = 3, 1769864400000
	escaped.HeartbeatMs, escaped.Gateway = 1000, "\"gw\"\\Zürich 🦊\n\x01"
	known := wire.LinkCount{Link: "x7Kp2", Count: 1243, Bots: 31, Seq: 88121}
	return map[string]wire.ServerMessage{
		"ready":         ready,
		"ready_expires": expires,
		"ready_escaped": escaped,
		"subscribed":    wire.Subscribed{Links: []wire.LinkCount{known}, Denied: []string{}, Syncing: []string{"a3bZ9"}},
		"subscribed_several": wire.Subscribed{
			Links:   []wire.LinkCount{known, {Link: "acme:never.clicked_~-"}},
			Denied:  []string{"b", "c"},
			Syncing: []string{"d", "e"},
		},
		"subscribed_nothing":    wire.Subscribed{Links: []wire.LinkCount{}, Denied: []string{}, Syncing: []string{}},
		"click_update":          wire.Update{Link: "x7Kp2", Count: 1247, Delta: 4, Bots: 31, Seq: 88140, At: 1769860804250},
		"click_update_smallest": wire.Update{Link: "a", Count: 1, Delta: 1, Seq: 1},
		"click_update_largest":  wire.Update{Link: strings.Repeat("L", 128), Count: most, Delta: most, Bots: most, Seq: most, At: most},
		"click_update_back":     wire.Update{Link: "x7Kp2", Count: 1200, Delta: -43, Bots: 30, Seq: 88150, At: 1769860804250},
		"unsubscribed":          wire.Unsubscribed{Links: []string{"a3bZ9"}},
		"unsubscribed_grant":    wire.Unsubscribed{Links: []string{"acme:a", "acme:b"}, Reason: wire.ReasonGrant},
		"unsubscribed_nothing":  wire.Unsubscribed{Links: []string{}},
		"heartbeat":             wire.Heartbeat{At: 1769860815000, CompleteTo: 1769860814750, LagMs: 250},
		"heartbeat_not_known":   wire.Heartbeat{At: 1769860815000},
		"goodbye":               wire.Goodbye{Reason: wire.ReasonDrain, ReconnectAfterMs: 420},
		"goodbye_epoch":         wire.Goodbye{Reason: wire.ReasonEpoch},
		"error": wire.Error{
			Code:    wire.ErrBadLink,
			Message: "links[1]: link id is empty: a link id is 1 to 128 characters of A-Z a-z 0-9 . _ ~ : -",
		},
		"error_escaped": wire.Error{
			Code:    wire.ErrBadMessage,
			Message: "\"intervall_ms\" is no member of subscribe\t\\\r\n/ <b>\u2028",
		},
	}
}

func appendMessage(dst []byte, m wire.ServerMessage) []byte {
	switch m := m.(type) {
	case wire.Ready:
		return wire.AppendReady(dst, m)
	case wire.Subscribed:
		return wire.AppendSubscribed(dst, m)
	case wire.Unsubscribed:
		return wire.AppendUnsubscribed(dst, m)
	case wire.Update:
		return wire.AppendUpdate(dst, m)
	case wire.Heartbeat:
		return wire.AppendHeartbeat(dst, m)
	case wire.Goodbye:
		return wire.AppendGoodbye(dst, m)
	case wire.Error:
		return wire.AppendError(dst, m)
	default:
		panic("no encoder")
	}
}

func TestGoldenServerMessages(t *testing.T) {
	t.Parallel()
	messages := serverMessages()
	files, err := filepath.Glob(filepath.Join(contracts, "testdata/server/*.json"))
	if err != nil || len(files) != len(messages) {
		t.Fatalf("%d golden messages, %d of them known here (%v)", len(files), len(messages), err)
	}
	for name, m := range messages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := golden(t, "server/"+name+".json")
			const before = "what was written before"
			got := appendMessage([]byte(before), m)
			if string(got) != before+string(want) {
				t.Fatalf("encoded\n%s, want\n%s", got, want)
			}
			decoded, err := wire.DecodeServer(want)
			if err != nil || !reflect.DeepEqual(decoded, m) {
				t.Fatalf("decoded %#v, %v; want %#v", decoded, err, m)
			}
			var mixed bytes.Buffer // another server may indent, and put the type last
			if err := json.Indent(&mixed, want, "", " "); err != nil {
				t.Fatal(err)
			}
			if decoded, err = wire.DecodeServer(mixed.Bytes()); err != nil || !reflect.DeepEqual(decoded, m) {
				t.Fatalf("decoded indented %#v, %v; want %#v", decoded, err, m)
			}
		})
	}
}

func TestGoldenClientMessages(t *testing.T) {
	t.Parallel()
	messages := map[string]wire.ClientMessage{
		"subscribe":            {Type: wire.TypeSubscribe, Links: []string{"x7Kp2", "a3bZ9"}, IntervalMs: wire.KeepInterval},
		"subscribe_interval":   {Type: wire.TypeSubscribe, Links: []string{"acme:x7Kp2"}, IntervalMs: 250},
		"subscribe_pace_alone": {Type: wire.TypeSubscribe, Links: []string{}},
		"unsubscribe":          {Type: wire.TypeUnsubscribe, Links: []string{"a3bZ9"}, IntervalMs: wire.KeepInterval},
		"auth":                 {Type: wire.TypeAuth, Token: "eyJ…", IntervalMs: wire.KeepInterval},
	}
	files, err := filepath.Glob(filepath.Join(contracts, "testdata/client/*.json"))
	if err != nil || len(files) != len(messages) {
		t.Fatalf("%d golden messages, %d of them known here (%v)", len(files), len(messages), err)
	}
	for name, m := range messages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := golden(t, "client/"+name+".json")
			if got := wire.AppendClient(nil, m); !bytes.Equal(got, want) {
				t.Fatalf("encoded\n%s, want\n%s", got, want)
			}
			decoded, err := wire.DecodeClient(want)
			if err != nil || !reflect.DeepEqual(decoded, m) {
				t.Fatalf("decoded %#v, %v; want %#v", decoded, err, m)
			}
		})
	}
}

// invalid is a client's message that must be refused, and how.
type invalid struct {
	Name    string         `json:"name"`
	Message string         `json:"message"`
	Code    wire.ErrorCode `json:"code"`
	Close   wire.CloseCode `json:"close"`
	Says    string         `json:"says"`
}

func invalidMessages(tb testing.TB) []invalid {
	tb.Helper()
	var list []invalid
	if err := json.Unmarshal(golden(tb, "client_invalid.json"), &list); err != nil {
		tb.Fatal(err)
	}
	return list
}

func TestGoldenInvalidClientMessages(t *testing.T) {
	t.Parallel()
	for _, m := range invalidMessages(t) {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			_, err := wire.DecodeClient([]byte(m.Message))
			var refused *wire.DecodeError
			if !errors.As(err, &refused) {
				t.Fatalf("%s: got %v, want a DecodeError", m.Message, err)
			}
			if refused.Code != m.Code || refused.Close != m.Close || !strings.Contains(refused.Message, m.Says) {
				t.Fatalf("%s\nis refused with %s, close %d, %q\nwant %s, close %d and %q",
					m.Message, refused.Code, refused.Close, refused.Message, m.Code, m.Close, m.Says)
			}
		})
	}
}

// What the document shows is what the code does: its examples are golden messages, and its tables are those of the code.
func TestDocumentAgrees(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile(filepath.Join(contracts, "PROTOCOL.md"))
	if err != nil {
		t.Fatal(err)
	}
	var goldens []string
	for _, dir := range []string{"server", "client"} {
		files, err := filepath.Glob(filepath.Join(contracts, "testdata", dir, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			goldens = append(goldens, string(golden(t, filepath.Join(dir, filepath.Base(f)))))
		}
	}
	examples := regexp.MustCompile(`(?m)^ {4}(\{"type".*\})$`).FindAllSubmatch(document, -1)
	if len(examples) < 10 {
		t.Fatalf("only %d examples found in the document", len(examples))
	}
	for _, e := range examples {
		if !slices.Contains(goldens, string(e[1])) {
			t.Errorf("the document's example is no golden message: %s", e[1])
		}
	}

	rows := regexp.MustCompile("(?m)^\\| (\\d{4}) \\| `(\\w+)` \\| ([a-z ]+) \\| (.*) \\|$").FindAllSubmatch(document, -1)
	table := wire.CloseTable()
	if len(rows) != len(table) {
		t.Fatalf("the document has %d close codes, the code %d", len(rows), len(table))
	}
	for i, row := range rows {
		code, err := strconv.ParseUint(string(row[1]), 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		want := table[i]
		if wire.CloseCode(code) != want.Code || string(row[2]) != want.Name || string(row[3]) != want.Class.String() || string(row[4]) != want.When {
			t.Errorf("the document says %q, the code %+v", row[0], want)
		}
		if want.Code.String() != want.Name || want.Code.Class() != want.Class {
			t.Errorf("%d is %s, %s", want.Code, want.Code, want.Code.Class())
		}
	}
}

func TestCloseCodeOfALaterVersion(t *testing.T) {
	t.Parallel()
	if c := wire.CloseCode(4999); c.String() != "unknown" || c.Class() != wire.CloseBackOff {
		t.Fatalf("%s, %s", c, c.Class())
	}
}
