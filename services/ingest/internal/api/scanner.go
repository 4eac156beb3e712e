package api

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON text (RFC 8259) strictly and without allocating. Its input must be valid UTF-8: that is checked
// once for a whole body, not per string.
//
// It knows no nesting beyond a click in an array, so no input makes it recurse. Whatever a value is that has no place in
// a click, it is refused where it begins.
type scanner struct {
	in  []byte
	pos int
	// text holds strings that had escapes. It only grows while the strings of a request are in use.
	text []byte
}

func (s *scanner) reset(in []byte) { s.in, s.pos, s.text = in, 0, s.text[:0] }

// space skips the four white space characters of JSON.
func (s *scanner) space() {
	for s.pos < len(s.in) {
		switch s.in[s.pos] {
		case ' ', '\n', '\r', '\t':
			s.pos++
		default:
			return
		}
	}
}

// next skips space and returns the byte that follows, without taking it; 0 at the end, which no JSON text has there.
func (s *scanner) next() byte {
	s.space()
	if s.pos == len(s.in) {
		return 0
	}
	return s.in[s.pos]
}

// take skips space and takes the byte b, if that is what follows.
func (s *scanner) take(b byte) bool {
	if s.next() != b || b == 0 {
		return false
	}
	s.pos++
	return true
}

// word takes a literal like true. What follows it is for the caller to see.
func (s *scanner) word(w string) bool {
	if len(s.in)-s.pos < len(w) || string(s.in[s.pos:s.pos+len(w)]) != w {
		return false
	}
	s.pos += len(w)
	return true
}

// quoted takes a string, whose opening quote must be what follows. The result is borrowed from the input, or from the
// scanner's text if there were escapes. lone tells of a surrogate without its other half, which is grammatical (RFC
// 8259 section 8.2) but no text; it is replaced by U+FFFD.
func (s *scanner) quoted() (text []byte, lone bool, err *refusal) {
	start := s.pos + 1
	end := plain(s.in, start)
	if end == len(s.in) {
		s.pos = end
		return nil, false, s.syntax("a string does not end")
	}
	s.pos = end
	switch s.in[end] {
	case '"':
		s.pos++
		return s.in[start:end], false, nil
	case '\\':
		return s.escaped(start)
	default:
		return nil, false, s.syntax("a control character stands unescaped in a string")
	}
}

const (
	lsb = 0x0101010101010101
	msb = 0x8080808080808080
)

// plain returns the index of the first quote, backslash or control character at or after i, len(in) if there is none.
// It looks at eight bytes at a time: in x-0x0101… the lowest byte that borrows is the lowest zero byte of x.
func plain(in []byte, i int) int {
	for ; i+8 <= len(in); i += 8 {
		x := binary.LittleEndian.Uint64(in[i:])
		quote, backslash := x^('"'*lsb), x^('\\'*lsb)
		hit := ((quote-lsb)&^quote | (backslash-lsb)&^backslash | (x-' '*lsb)&^x) & msb
		if hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(in); i++ {
		if b := in[i]; b == '"' || b == '\\' || b < ' ' {
			break
		}
	}
	return i
}

// escaped takes the rest of a string that began at start and has a backslash at the position.
func (s *scanner) escaped(start int) (text []byte, lone bool, err *refusal) {
	from := len(s.text)
	s.text = append(s.text, s.in[start:s.pos]...)
	for s.pos < len(s.in) {
		switch b := s.in[s.pos]; {
		case b == '"':
			s.pos++
			return s.text[from:len(s.text):len(s.text)], lone, nil
		case b < ' ':
			return nil, false, s.syntax("a control character stands unescaped in a string")
		case b != '\\':
			end := plain(s.in, s.pos)
			s.text = append(s.text, s.in[s.pos:end]...)
			s.pos = end
		default:
			r, ok := s.escape()
			if !ok {
				return nil, false, s.syntax("a string has an unknown escape")
			}
			if utf16.IsSurrogate(r) {
				r, lone = utf8.RuneError, true
			}
			s.text = utf8.AppendRune(s.text, r)
		}
	}
	return nil, false, s.syntax("a string does not end")
}

// escape takes an escape sequence. A pair of surrogates is taken as one rune; half a pair is returned as it is.
func (s *scanner) escape() (r rune, ok bool) {
	if s.pos+1 >= len(s.in) {
		return 0, false
	}
	b := s.in[s.pos+1]
	if b == 'u' {
		if r, ok = s.hex(s.pos + 2); !ok {
			return 0, false
		}
		s.pos += 6
		if utf16.IsSurrogate(r) && s.pos+1 < len(s.in) && s.in[s.pos] == '\\' && s.in[s.pos+1] == 'u' {
			if low, ok := s.hex(s.pos + 2); ok {
				if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
					s.pos += 6
					return both, true
				}
			}
		}
		return r, true
	}
	switch b {
	case '"', '\\', '/':
		r = rune(b)
	case 'b':
		r = '\b'
	case 'f':
		r = '\f'
	case 'n':
		r = '\n'
	case 'r':
		r = '\r'
	case 't':
		r = '\t'
	default:
		return 0, false
	}
	s.pos += 2
	return r, true
}

// hex reads the four hexadecimal digits at index i.
func (s *scanner) hex(i int) (r rune, ok bool) {
	if i+4 > len(s.in) {
		return 0, false
	}
	for _, b := range s.in[i : i+4] {
		switch {
		case '0' <= b && b <= '9':
			b -= '0'
		case 'a' <= b && b <= 'f':
			b -= 'a' - 10
		case 'A' <= b && b <= 'F':
			b -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(b)
	}
	return r, true
}

// syntax refuses the input: it is no JSON text, for the reason given and at the position where it shows.
func (s *scanner) syntax(what string) *refusal {
	return &refusal{reason: reasonMalformed, index: -1, detail: what + ", at byte " + strconv.Itoa(s.pos)}
}
