package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// frame is a frame as RFC 6455 section 5.2 describes it, read by the letter.
type frame struct {
	opcode  byte
	payload []byte
}

// readFrame reads one unmasked, final frame and returns what follows it.
func readFrame(b []byte) (f frame, rest []byte, err error) {
	if len(b) < 2 {
		return f, nil, io.ErrUnexpectedEOF
	}
	if b[0]&0x80 == 0 || b[0]&0x70 != 0 || b[1]&0x80 != 0 {
		return f, nil, fmt.Errorf("header % x: not final, reserved bits or masked", b[:2])
	}
	f.opcode = b[0] & 0x0f
	n, head := uint64(b[1]), 2
	switch n {
	case 126:
		n, head = uint64(binary.BigEndian.Uint16(b[2:])), 4
		if n < 126 {
			return f, nil, fmt.Errorf("length %d in 16 bits", n)
		}
	case 127:
		n, head = binary.BigEndian.Uint64(b[2:]), 10
		if n < 1<<16 {
			return f, nil, fmt.Errorf("length %d in 64 bits", n)
		}
	}
	if f.opcode >= 8 && n > 125 {
		return f, nil, fmt.Errorf("control frame of %d bytes", n)
	}
	if uint64(len(b)-head) < n {
		return f, nil, io.ErrUnexpectedEOF
	}
	f.payload = b[head : head+int(n)]
	return f, b[head+int(n):], nil
}

func mustRead(t *testing.T, b []byte, opcode byte) []byte {
	t.Helper()
	f, rest, err := readFrame(b)
	if err != nil || len(rest) > 0 || f.opcode != opcode {
		t.Fatalf("opcode %d, %d bytes left, %v", f.opcode, len(rest), err)
	}
	return f.payload
}

func TestTextFrameLengths(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, wire.MaxServerMessage} {
		payload := bytes.Repeat([]byte{'x'}, n)
		if got := mustRead(t, wire.AppendTextFrame(nil, payload), 1); !bytes.Equal(got, payload) {
			t.Errorf("%d bytes came back as %d", n, len(got))
		}
	}
}

func TestUpdateFrameIsTheUpdateFramed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Int64(), rapid.Int64Range(0, 200))
		u := wire.Update{
			Link:  rapid.StringMatching(`[A-Za-z0-9._~:-]{1,128}`).Draw(t, "link"),
			Count: number.Draw(t, "count"), Delta: number.Draw(t, "delta"), Bots: number.Draw(t, "bots"),
			Seq: number.Draw(t, "seq"), At: number.Draw(t, "at"),
		}
		before := rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "before")
		want := wire.AppendTextFrame(bytes.Clone(before), wire.AppendUpdate(nil, u))
		if got := wire.AppendUpdateFrame(bytes.Clone(before), u); !bytes.Equal(got, want) {
			t.Fatalf("got\n%x, want\n%x", got, want)
		}
		m, err := wire.DecodeServer(mustDecode(t, want[len(before):]))
		if err != nil || m != wire.ServerMessage(u) {
			t.Fatalf("decoded %#v, %v; want %#v", m, err, u)
		}
	})
}

func mustDecode(t *rapid.T, b []byte) []byte {
	f, rest, err := readFrame(b)
	if err != nil || len(rest) > 0 {
		t.Fatalf("%d bytes left, %v", len(rest), err)
	}
	return f.payload
}

func TestControlFrames(t *testing.T) {
	t.Parallel()
	if p := mustRead(t, wire.AppendPing(nil), 9); len(p) != 0 {
		t.Fatalf("a ping has payload %x", p)
	}
	for _, row := range wire.CloseTable() {
		p := mustRead(t, wire.AppendCloseFrame(nil, row.Code, row.Code.String()), 8)
		if wire.CloseCode(binary.BigEndian.Uint16(p)) != row.Code || string(p[2:]) != row.Name {
			t.Errorf("close frame of %d says %d %q", row.Code, binary.BigEndian.Uint16(p), p[2:])
		}
	}
	for reason, want := range map[string]string{
		strings.Repeat("r", 123):       strings.Repeat("r", 123),
		strings.Repeat("r", 124):       strings.Repeat("r", 123),
		strings.Repeat("ü", 62):        strings.Repeat("ü", 61),
		strings.Repeat("r", 121) + "🦊": strings.Repeat("r", 121),
	} {
		p := mustRead(t, wire.AppendCloseFrame(nil, wire.CloseNormal, reason), 8)
		if string(p[2:]) != want || !utf8.Valid(p[2:]) {
			t.Errorf("reason of %d bytes was cut to %q", len(reason), p[2:])
		}
	}
}

// The largest message that the protocol allows is within the limit that clients set for reading.
func TestLargestServerMessage(t *testing.T) {
	t.Parallel()
	var m wire.Subscribed
	for range wire.MaxSubscriptions {
		m.Links = append(m.Links, wire.LinkCount{Link: strings.Repeat("L", 128), Count: 1<<63 - 1, Bots: 1<<63 - 1, Seq: 1<<63 - 1})
	}
	if n := len(wire.AppendSubscribed(nil, m)); n > wire.MaxServerMessage || n < wire.MaxServerMessage/2 {
		t.Fatalf("the largest `subscribed` has %d bytes, the limit is %d", n, wire.MaxServerMessage)
	}
}
