package ws

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// exchange is what a client sends and what it gets for it.
type exchange struct {
	name  string
	send  []byte
	want  string // the answers in order: frames as "pong x", "error code", "close code reason"; ended by "; "
	asked string // of the session, without what it was asked to say
}

// The answers to what is wrong at the level of frames.
const (
	wantProtocol = "close 1002 protocol_error; "
	wantUTF8     = "close 1007 invalid_utf8; "
	wantTooBig   = "close 1009 too_big; "
	wantRefused  = "error bad_message; " // of a message whose text is fine: its meaning is not
)

// nothing is a message that asks for nothing, of n bytes.
func nothing(n int) []byte {
	m := `{"type":"unsubscribe","links":[]}`
	return []byte(m + strings.Repeat(" ", n-len(m)))
}

const minNothing = 33

// saying is a message whose text is fine where what it says is UTF-8, and that nobody understands.
func saying(s string) []byte { return []byte(`{"type":"say","x":"` + s + `"}`) }

// fragments cuts a message into frames of n bytes of payload.
func fragments(message []byte, n int, between ...byte) []byte {
	var b []byte
	first := byte(0x01)
	for part := range slices.Chunk(message, n) {
		b = append(append(b, masked(first, part)...), between...)
		first = 0
	}
	return append(b, masked(0x80, nil)...)
}

func closing(code int, reason string) []byte {
	return masked(0x88, append(binary.BigEndian.AppendUint16(nil, uint16(code)), reason...))
}

// exchanges are the categories of the Autobahn test suite, in its order and by its numbers, with the answers of this
// protocol: where the suite has a server echo a message, here it is done. Its categories 12 and 13 are about compression,
// which is never negotiated (see TestHandshake), and 11 does not exist.
func exchanges() (all []exchange) {
	add := func(name string, send []byte, want, asked string) {
		all = append(all, exchange{name, send, want, asked})
	}

	for _, n := range []int{minNothing, 125, 126, 127, 128, wire.MaxClientMessage} {
		add(fmt.Sprintf("1.1 text of %d bytes", n), masked(0x81, nothing(n)), "", "unsubscribe []; ")
	}
	add("1.1.1 text of nothing", masked(0x81, nil), "error bad_message; close 1008 policy_violation; ", "")
	for _, n := range []int{0, 125, 65_536} {
		want := "error bad_message; close 1003 unsupported; "
		if n > wire.MaxClientMessage {
			want = wantTooBig
		}
		add(fmt.Sprintf("1.2 binary of %d bytes", n), masked(0x82, make([]byte, n)), want, "")
	}

	add("2.1 ping without payload", masked(0x89, nil), "pong ; ", "")
	add("2.2 ping", masked(0x89, []byte("Hello, world!")), "pong Hello, world!; ", "")
	add("2.3 ping of bytes", masked(0x89, []byte("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")), "pong \x00\xff\xfe\xfd\xfc\xfb\x00\xff; ", "")
	add("2.4 ping of 125 bytes", masked(0x89, bytes.Repeat([]byte("x"), 125)), "pong "+strings.Repeat("x", 125)+"; ", "")
	add("2.5 ping of 126 bytes", masked(0x89, make([]byte, 126)), wantProtocol, "")
	add("2.7 pong that nobody asked for", masked(0x8a, nil), "", "")
	add("2.8 the same with payload", masked(0x8a, []byte("unsolicited")), "", "")
	add("2.9 a pong, then a ping", append(masked(0x8a, []byte("unsolicited")), masked(0x89, []byte("x"))...), "pong x; ", "")
	add("2.10 ten pings", repeat(masked(0x89, []byte("x")), wire.PingBurst), strings.Repeat("pong x; ", wire.PingBurst), "")
	add("2.11 a flood of them", repeat(masked(0x89, []byte("x")), 1000), strings.Repeat("pong x; ", wire.PingBurst)+"close 1008 policy_violation; ", "")

	for rsv := byte(1); rsv < 8; rsv++ {
		for _, op := range []byte{0x01, 0x02, 0x08, 0x09, 0x0a} {
			add(fmt.Sprintf("3 reserved bits %03b with opcode %x", rsv, op), masked(0x80|rsv<<4|op, nil), wantProtocol, "")
		}
		add(fmt.Sprintf("3 reserved bits %03b behind a message", rsv), append(masked(0x81, nothing(40)), masked(0x81|rsv<<4, nothing(40))...),
			wantProtocol, "unsubscribe []; ")
	}

	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		add(fmt.Sprintf("4 opcode %x", op), masked(0x80|op, nil), wantProtocol, "")
		add(fmt.Sprintf("4 opcode %x with payload, behind a message", op), append(masked(0x81, nothing(40)), masked(0x80|op, []byte("reserved"))...),
			wantProtocol, "unsubscribe []; ")
	}

	ping := masked(0x89, []byte("x"))
	add("5.1 fragmented ping", append(masked(0x09, []byte("a")), masked(0x80, []byte("b"))...), wantProtocol, "")
	add("5.2 fragmented pong", append(masked(0x0a, []byte("a")), masked(0x80, []byte("b"))...), wantProtocol, "")
	add("5.3 text in two fragments", fragments(nothing(64), 32), "", "unsubscribe []; ")
	add("5.5 text in fragments of a byte", fragments(nothing(40), 1), "", "unsubscribe []; ")
	add("5.6 with a ping between", fragments(nothing(64), 32, ping...), "pong x; pong x; ", "unsubscribe []; ")
	add("5.9 continuation of nothing", append(masked(0x80, []byte("a")), masked(0x81, nothing(40))...), wantProtocol, "")
	add("5.12 continuation of nothing that goes on", append(masked(0x00, []byte("a")), masked(0x81, nothing(40))...), wantProtocol, "")
	add("5.15 continuation behind a message", append(fragments(nothing(64), 32), masked(0x00, []byte("a"))...), wantProtocol, "unsubscribe []; ")
	add("5.17 text inside a text", append(masked(0x01, nothing(40)), masked(0x81, nothing(40))...), wantProtocol, "")
	add("5.18 a text's beginning inside a text", append(masked(0x01, nothing(40)), masked(0x01, nothing(40))...), wantProtocol, "")
	add("5.19 many fragments with pings", fragments(nothing(50), 10, ping...), strings.Repeat("pong x; ", 5), "unsubscribe []; ")
	add("5.20 fragments of nothing", append(append(masked(0x01, nil), repeat(masked(0x00, nil), 100)...), masked(0x80, nothing(40))...), "", "unsubscribe []; ")

	const kosme = "κόσμε\U0001d11e"
	add("6.2 UTF-8", masked(0x81, saying(kosme)), wantRefused, "")
	add("6.2.2 cut inside its characters", fragments(saying(kosme), 1), wantRefused, "")
	add("6.2.3 cut after two bytes of four", fragments(saying("aaa\U0001d11e"), len(saying(""))), wantRefused, "")
	for _, s := range []string{
		"\x00", "\x7f", "\u0080", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff", "\ud7ff", "\ue000", "\ufffd", // 6.6, 6.9, 6.11
		"\ufffe", "\U0001fffe", "\U000fffff", "\U0010fffe", // 6.22: no characters, and UTF-8 all the same
	} {
		want := wantRefused
		if s == "\x00" { // no control characters in JSON
			want = "error bad_message; close 1008 policy_violation; "
		}
		add(fmt.Sprintf("6.6 %+q", s), masked(0x81, saying(s)), want, "")
	}
	for _, s := range []string{
		"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", "\xf4\x90\x80\x80", // 6.3, 6.4
		"\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf", // 6.8, 6.10: five and six bytes
		"\x80", "\xbf", "\x80\xbf\x80\xbf", // 6.12: continuation bytes alone
		"\xc0 \xc1 ", "\xe0 \xe1 ", "\xf0 \xf1 ", "\xf8 ", "\xfe", "\xff", // 6.13, 6.14: beginnings alone
		"\xc0", "\xe0\x80", "\xf0\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf", // 6.15, 6.16: the last byte is missing
		"\xc0\xaf", "\xe0\x80\xaf", "\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xc0\x80", // 6.17 to 6.19: overlong
		"\xed\xa0\x80", "\xed\xbf\xbf", "\xed\xa0\x80\xed\xb0\x80", // 6.20, 6.21: surrogates
	} {
		add(fmt.Sprintf("6.3 %+q", s), masked(0x81, saying(s)), wantUTF8, "")
		add(fmt.Sprintf("6.3 %+q in fragments", s), fragments(saying(s), 1), wantUTF8, "")
	}
	add("6.4 a character that never ends", append(masked(0x01, []byte("\xe2\x82")), masked(0x80, nil)...), wantUTF8, "")

	add("7.1.3 a message behind the close", append(closing(1000, ""), masked(0x81, nothing(40))...), "close 1000 ; ", "")
	add("7.1.4 a close behind the close", append(closing(1000, ""), closing(1001, "")...), "close 1000 ; ", "")
	add("7.1.6 a close inside a message", append(masked(0x01, nothing(40)), closing(1000, "")...), "close 1000 ; ", "")
	add("7.3.1 close without a code", masked(0x88, nil), "close 0 ; ", "")
	add("7.3.2 close of one byte", masked(0x88, []byte("a")), wantProtocol, "")
	add("7.3.4 close with a reason", closing(1000, "Hello, world!"), "close 1000 ; ", "")
	add("7.3.5 close with the longest reason", closing(1000, strings.Repeat("*", 123)), "close 1000 ; ", "")
	add("7.3.6 close with one that is longer", closing(1000, strings.Repeat("*", 124)), wantProtocol, "")
	add("7.5.1 close with a reason that is not UTF-8", closing(1000, "\xce\xba\xed\xa0\x80edited"), wantUTF8, "")
	add("7.5.1 the same, with a code of ours", closing(4000, "\xff"), wantUTF8, "")
	for _, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		reason := ""
		if code == 1002 {
			reason = "protocol_error"
		}
		add(fmt.Sprintf("7.7 close code %d", code), closing(code, "bye"), fmt.Sprintf("close %d %s; ", code, reason), "")
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		add(fmt.Sprintf("7.9 close code %d", code), closing(code, ""), wantProtocol, "")
		add(fmt.Sprintf("7.9 close code %d with a reason", code), closing(code, "bye"), wantProtocol, "")
	}

	for _, n := range []int{wire.MaxClientMessage + 1, 64 << 10, 256 << 10} {
		add(fmt.Sprintf("9.1 text of %d bytes", n), masked(0x81, nothing(n)), wantTooBig, "")
		add(fmt.Sprintf("9.3 the same in fragments of %d", n/16), fragments(nothing(n), n/16), wantTooBig, "")
	}
	huge := binary.BigEndian.AppendUint64([]byte{0x81, 0xff}, 1<<62)
	add("9.2 a frame of 2^62 bytes", append(append(huge, 0, 0, 0, 0), make([]byte, wire.MaxClientMessage+1)...), wantTooBig, "")
	add("9.2 one of 2^63", append(binary.BigEndian.AppendUint64([]byte{0x81, 0xff}, 1<<63), 0, 0, 0, 0), wantProtocol, "")
	add("9.2 one of 2^64 - 1", append(binary.BigEndian.AppendUint64([]byte{0x82, 0xff}, 1<<64-1), 0, 0, 0, 0), wantProtocol, "")
	add("9.2 a ping of 2^62 bytes", append(binary.BigEndian.AppendUint64([]byte{0x89, 0xff}, 1<<62), 0, 0, 0, 0), wantProtocol, "")

	for op, name := range map[byte]string{1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong", 0: "continuation"} {
		add("no mask on a "+name, []byte{0x80 | op, 0x02, 0x03, 0xe8}, wantProtocol, "")
	}
	return all
}

// What every client is answered with, at once, however what it sends is cut into segments. What the server sends are whole
// frames (10.1: it fragments nothing by itself), which the reading checks.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, chop := range []int{0, 1, 7} {
		for _, tc := range exchanges() {
			if chop > 0 && len(tc.send) > 32<<10 {
				continue
			}
			t.Run(fmt.Sprintf("%s in pieces of %d", tc.name, chop), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { tc.run(t, chop) })
			})
		}
	}
}

func (tc *exchange) run(t *testing.T, chop int) {
	s := newServer(t, overPipe, nil)
	p, ses := s.connect()
	start := time.Now()
	answers := make(chan string, 1)
	go func() { answers <- p.listen() }()
	go func() {
		if chop == 0 {
			p.send(tc.send)
			return
		}
		for piece := range slices.Chunk(tc.send, chop) {
			p.send(piece)
		}
	}()
	synctest.Wait()
	if !strings.Contains(tc.want, "close") { // it goes on
		p.send(masked(0x88, nil))
		tc.want += "close 0 ; "
	}
	if got := <-answers; got != tc.want {
		t.Fatalf("answered %q, want %q", got, tc.want)
	}
	if took := time.Since(start); took > 0 {
		t.Fatalf("answered after %v", took)
	}
	ses.ended(t)
	var asked strings.Builder
	for len(ses.asked) > 0 {
		if a := <-ses.asked; !strings.HasPrefix(a, "fail ") {
			asked.WriteString(a + "; ")
		}
	}
	if asked.String() != tc.asked {
		t.Fatalf("asked %q, want %q", asked.String(), tc.asked)
	}
}

// listen tells what the server sends, up to its close frame, and hangs up.
func (p *peer) listen() string {
	defer p.Close()
	var b strings.Builder
	for {
		f, err := p.readFrame()
		if err != nil {
			fmt.Fprintf(&b, "%v; ", err)
			return b.String()
		}
		switch f.first & 0x0f {
		case 0x01:
			m, err := wire.DecodeServer(f.payload)
			if e, ok := m.(wire.Error); ok {
				fmt.Fprintf(&b, "error %s; ", e.Code)
			} else {
				fmt.Fprintf(&b, "%q %v; ", f.payload, err)
			}
		case 0x0a:
			fmt.Fprintf(&b, "pong %s; ", f.payload)
		case 0x08:
			if len(f.payload) == 0 {
				b.WriteString("close 0 ; ")
			} else {
				fmt.Fprintf(&b, "close %d %s; ", binary.BigEndian.Uint16(f.payload), f.payload[2:])
			}
			return b.String()
		default:
			fmt.Fprintf(&b, "frame %x; ", f.first)
		}
	}
}

// A client that neither answers a close nor hangs up does not keep its connection: two seconds are all that it gets, and a
// mebibyte, whatever it goes on to send.
func TestWhoDoesNotHangUp(t *testing.T) {
	t.Parallel()
	for name, send := range map[string][]byte{
		"its own close":      closing(1000, ""),
		"a bad close":        closing(1000, "\xff"),
		"no mask":            {0x81, 0x02, '{', '}'},
		"a length of 2^63":   append(binary.BigEndian.AppendUint64([]byte{0x81, 0xff}, 1<<63), 0, 0, 0, 0),
		"too big":            masked(0x81, make([]byte, 20<<10)),
		"no JSON":            text("hello"),
		"bad UTF-8":          text("\xff"),
		"a flood of pings":   repeat(masked(0x89, nil), 100),
		"fragments for ever": append(masked(0x01, nil), repeat(masked(0x00, []byte("aaaaaaaa")), 4<<10)...),
	} {
		for _, goesOn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, and goes on: %v", name, goesOn), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newServer(t, overPipe, nil)
					p, ses := s.connect()
					start := time.Now()
					var sending sync.WaitGroup
					defer sending.Wait()
					sending.Go(func() {
						p.send(send)
						for goesOn {
							_ = p.SetWriteDeadline(time.Now().Add(time.Minute))
							if _, err := p.Write([]byte("more")); err != nil {
								return
							}
							time.Sleep(100 * time.Millisecond)
						}
					})
					_ = p.SetReadDeadline(time.Now().Add(time.Minute))
					if _, err := io.Copy(io.Discard, p.r); err != nil {
						t.Fatalf("the server does not hang up: %v", err)
					}
					if took := time.Since(start); took > lingerTime {
						t.Fatalf("it took %v", took)
					}
					ses.ended(t)
					_ = p.Close()
				})
			})
		}
	}
}
