package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// First bytes of the frames that a server sends: FIN and the opcode (RFC 6455 section 5.2). Its frames are not masked
// (section 5.1) and, since no extension is negotiated, have no reserved bit.
const (
	finText  = 0x81
	finClose = 0x88
	finPing  = 0x89
)

const (
	shortFrame  = 125       // longest payload whose length fits the second byte
	mediumFrame = 1<<16 - 1 // longest payload whose length fits 16 bits
	maxReason   = 125 - 2   // a control frame has at most 125 bytes of payload, the code is two of them
	shortHeader = 2         // bytes of a header with a 7-bit length
	textHeader  = 4         // bytes of a header with a 16-bit length
	longHeader  = 2 + 64/8  // bytes of a header with a 64-bit length
	len16       = 126       // says that a 16-bit length follows
	len64       = 127       // says that a 64-bit length follows
)

// AppendTextFrame appends payload as one unmasked text frame.
func AppendTextFrame(dst, payload []byte) []byte {
	return append(appendHeader(dst, len(payload)), payload...)
}

// appendHeader appends the header of a text frame. The length takes the fewest bytes that hold it, which RFC 6455 section
// 5.2 demands.
func appendHeader(dst []byte, n int) []byte {
	switch {
	case n <= shortFrame:
		return append(dst, finText, byte(n)) //nolint:gosec // at most shortFrame
	case n <= mediumFrame:
		return binary.BigEndian.AppendUint16(append(dst, finText, len16), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, finText, len64), uint64(n))
	}
}

// AppendCloseFrame appends a close frame with code and reason. A reason that is too long for a control frame is cut
// between characters.
func AppendCloseFrame(dst []byte, code CloseCode, reason string) []byte {
	if len(reason) > maxReason {
		n := maxReason
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	dst = append(dst, finClose, byte(2+len(reason))) //nolint:gosec // at most shortFrame
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// AppendPing appends a ping frame without payload.
func AppendPing(dst []byte) []byte { return append(dst, finPing, 0) }
