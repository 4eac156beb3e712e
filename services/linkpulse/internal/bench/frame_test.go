package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// serverFrame encodes an unmasked frame.
func serverFrame(op byte, payload []byte) []byte {
	b := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 127), uint64(n))
	}
	return append(b, payload...)
}

func TestFramesComeBackWhateverThePieces(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 130), rapid.IntRange(65_530, 65_540)), 1, 8).Draw(t, "sizes")
		var stream []byte
		var want [][]byte
		for i, size := range sizes {
			payload := bytes.Repeat([]byte{byte('a' + i)}, size)
			want = append(want, payload)
			stream = append(stream, serverFrame(opText, payload)...)
		}
		var in frameReader
		var got [][]byte
		for len(stream) > 0 {
			space := in.space()
			n := copy(space, stream[:min(len(stream), rapid.IntRange(1, 5000).Draw(t, "piece"))])
			in.filled(n)
			stream = stream[n:]
			for {
				op, payload, ok, err := in.next()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				if op != opText {
					t.Fatalf("opcode %d", op)
				}
				got = append(got, bytes.Clone(payload))
			}
		}
		if !slices.EqualFunc(got, want, bytes.Equal) {
			t.Fatalf("%d frames came back of %d", len(got), len(want))
		}
	})
}

func TestFramesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		stream []byte
		want   error
	}{
		"masked":       {clientFrame(opText, []byte("x"), [4]byte{1, 2, 3, 4}), errMasked},
		"fragment":     {[]byte{opText, 1, 'x'}, errFragmented},
		"continuation": {[]byte{0x80, 1, 'x'}, errFragmented},
		"huge":         {[]byte{0x80 | opText, 127, 0x7f, 0, 0, 0, 0, 0, 0, 0}, errHuge},
	} {
		var in frameReader
		in.filled(copy(in.space(), tc.stream))
		if _, _, _, err := in.next(); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

func TestClientFramesAreMasked(t *testing.T) {
	t.Parallel()
	mask := [4]byte{1, 2, 3, 4}
	for _, size := range []int{0, 125, 126, 65_535, 65_536} {
		payload := bytes.Repeat([]byte("x"), size)
		frame := clientFrame(opText, payload, mask)
		if frame[0] != 0x80|opText || frame[1]&0x80 == 0 {
			t.Fatalf("size %d: header % x", size, frame[:2])
		}
		body := frame[len(frame)-size:]
		for i := range body {
			if body[i] != 'x'^mask[i&3] {
				t.Fatalf("size %d: byte %d is not masked", size, i)
			}
		}
		frame[1] &^= 0x80 // without the mask it must be what a server would have sent, four bytes longer
		if len(frame) != len(serverFrame(opText, payload))+4 || !bytes.HasPrefix(frame, serverFrame(opText, payload)[:2]) {
			t.Fatalf("size %d: length is not encoded as RFC 6455 says", size)
		}
	}
}

func TestParseUpdate(t *testing.T) {
	t.Parallel()
	u, ok, err := parseUpdate([]byte(`{"type":"click_update","link":"bench-1-7","count":1247,"delta":4,"bots":31,"seq":88140,"at":1763900000000}`))
	if err != nil || !ok || string(u.link) != "bench-1-7" || u.count != 1247 || u.delta != 4 {
		t.Fatalf("%+v, %v, %v", u, ok, err)
	}
	if _, ok, err := parseUpdate([]byte(`{"type":"heartbeat","at":1}`)); ok || err != nil {
		t.Fatalf("a heartbeat is an update: %v", err)
	}
	for _, bad := range []string{
		`{"type":"click_update","count":1,"delta":1}`, `{"type":"click_update","link":"a","delta":1}`,
		`{"type":"click_update","link":"a","count":1}`, `{"type":"click_update","link":"a","count":"1","delta":1}`,
		`{"type":"click_update","link":"a","count":` + strings.Repeat("9", 19) + `,"delta":1}`, `{"type":"click_update","link":"a`,
	} {
		if _, ok, err := parseUpdate([]byte(bad)); !ok || err == nil {
			t.Errorf("%s: %v, %v; want an error", bad, ok, err)
		}
	}
}

// What the gateway writes is what the benchmark reads.
func TestParseUpdateOfTheServer(t *testing.T) {
	t.Parallel()
	var in frameReader
	frame := wire.AppendUpdateFrame(nil, wire.Update{Link: "a.b-c", Count: 7, Delta: 2, Bots: 1, Seq: 9, At: 5})
	in.filled(copy(in.space(), frame))
	op, payload, ok, err := in.next()
	if op != opText || !ok || err != nil {
		t.Fatalf("frame: opcode %d, %v, %v", op, ok, err)
	}
	if u, ok, err := parseUpdate(payload); err != nil || !ok || string(u.link) != "a.b-c" || u.count != 7 || u.delta != 2 {
		t.Fatalf("update: %+v, %v, %v", u, ok, err)
	}
}

func BenchmarkParseUpdate(b *testing.B) {
	message := []byte(`{"type":"click_update","link":"bench-0123456789ab-7","count":1247,"delta":4,"bots":31,"seq":88140,"at":1763900000000}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := parseUpdate(message); err != nil {
			b.Fatal(err)
		}
	}
}
