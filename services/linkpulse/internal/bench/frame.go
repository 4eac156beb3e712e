package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// The opcodes of RFC 6455 section 5.2 that a server may send here.
const (
	opText  = 0x1
	opClose = 0x8
	opPing  = 0x9
	opPong  = 0xA
)

var (
	errMasked     = errors.New("a frame from the server is masked (RFC 6455 section 5.1)")
	errFragmented = errors.New("a message came in fragments, which this reader does not put together")
	errHuge       = errors.New("a frame is longer than any message of the protocol")
)

// maxFrame bounds the payload of a frame. A `subscribed` with a thousand links is 80 KB.
const maxFrame = 1 << 20

// frameReader cuts a stream of bytes into frames. It does what 1,000 dashboards in one process need and no more: no
// masks to undo, no fragments, no copies.
type frameReader struct {
	buf  []byte // grows to the largest frame
	r, w int    // buf[r:w] was read and not handed out
}

// space returns where to read more bytes to.
func (f *frameReader) space() []byte {
	if f.r == f.w {
		f.r, f.w = 0, 0
	}
	if f.w == len(f.buf) {
		if f.r > 0 {
			f.w = copy(f.buf, f.buf[f.r:f.w])
			f.r = 0
		} else {
			grown := make([]byte, max(2*len(f.buf), 2<<10))
			f.w = copy(grown, f.buf[:f.w])
			f.buf = grown
		}
	}
	return f.buf[f.w:]
}

// filled tells that n bytes were read.
func (f *frameReader) filled(n int) { f.w += n }

// next returns the next whole frame, or ok = false if there is none yet. The payload is valid until space is called.
func (f *frameReader) next() (op byte, payload []byte, ok bool, err error) {
	b := f.buf[f.r:f.w]
	if len(b) < 2 {
		return 0, nil, false, nil
	}
	if b[1]&0x80 != 0 {
		return 0, nil, false, errMasked
	}
	op = b[0] & 0x0f
	if b[0]&0x80 == 0 || op == 0 {
		return 0, nil, false, errFragmented
	}
	head, size := 2, uint64(b[1])
	switch size {
	case 126:
		if head = 4; len(b) < head {
			return 0, nil, false, nil
		}
		size = uint64(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if head = 10; len(b) < head {
			return 0, nil, false, nil
		}
		size = binary.BigEndian.Uint64(b[2:])
	}
	if size > maxFrame {
		return 0, nil, false, errHuge
	}
	whole := head + int(size)
	if len(b) < whole {
		return 0, nil, false, nil
	}
	f.r += whole
	return op, b[head:whole], true, nil
}

// clientFrame encodes a client's frame. The mask is not secret here: there is no proxy between a benchmark and its
// server that could be fooled (RFC 6455 section 10.3).
func clientFrame(op byte, payload []byte, mask [4]byte) []byte {
	dst := append(make([]byte, 0, 14+len(payload)), 0x80|op)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	dst = append(dst, mask[:]...)
	for i, b := range payload {
		dst = append(dst, b^mask[i&3])
	}
	return dst
}

// update is what the benchmark needs of a click_update.
type update struct {
	link         []byte // borrowed
	count, delta int64
}

var isUpdate = []byte(`{"type":"click_update",`) //nolint:gochecknoglobals // constant bytes

// parseUpdate reads a click_update without a JSON decoder, which would cost the load generator more than the frame cost
// the server. ok is false for other messages.
func parseUpdate(message []byte) (u update, ok bool, err error) {
	if !bytes.HasPrefix(message, isUpdate) {
		return update{}, false, nil
	}
	rest := message[len(isUpdate)-1:]
	if u.link, err = field(rest, `,"link":"`, '"'); err != nil {
		return update{}, true, err
	}
	if u.count, err = number(rest, `,"count":`); err != nil {
		return update{}, true, err
	}
	if u.delta, err = number(rest, `,"delta":`); err != nil {
		return update{}, true, err
	}
	return u, true, nil
}

// field returns the bytes between the first occurrence of name and the next end. Link ids have no quotes and no escapes,
// so a name cannot occur inside of a value.
func field(message []byte, name string, end byte) ([]byte, error) {
	i := bytes.Index(message, []byte(name))
	if i >= 0 {
		if value, _, ok := bytes.Cut(message[i+len(name):], []byte{end}); ok {
			return value, nil
		}
	}
	return nil, fmt.Errorf("no %s… in the update %q", name, message)
}

func number(message []byte, name string) (n int64, err error) {
	i := bytes.Index(message, []byte(name))
	if i < 0 {
		return 0, fmt.Errorf("no %s… in the update %q", name, message)
	}
	digits := 0
	for _, c := range message[i+len(name):] {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + int64(c-'0')
		digits++
	}
	if digits == 0 || digits > 18 {
		return 0, fmt.Errorf("%s… is no number in the update %q", name, message)
	}
	return n, nil
}
