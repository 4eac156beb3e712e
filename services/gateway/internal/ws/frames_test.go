package ws

import (
	"strings"
	"testing"
	"time"
)

// What a client may do wrong at the level of frames and messages, and the code that the connection is closed with.
func TestViolations(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		send []byte
		code int
		text string // what the error message before the close has
	}{
		{"reserved bit 1", masked(0xc1, []byte("{}")), 1002, ""},
		{"reserved bit 2", masked(0xa1, []byte("{}")), 1002, ""},
		{"reserved bit 3", masked(0x91, []byte("{}")), 1002, ""},
		{"unknown data opcode", masked(0x83, nil), 1002, ""},
		{"unknown control opcode", masked(0x8b, nil), 1002, ""},
		{"fragmented ping", masked(0x09, nil), 1002, ""},
		{"ping of 126 bytes", masked(0x89, make([]byte, 126)), 1002, ""},
		{"continuation of nothing", masked(0x80, []byte("{}")), 1002, ""},
		{"text inside a fragmented text", append(masked(0x01, []byte("{")), text("{}")...), 1002, ""},
		{"no mask", []byte{0x81, 0x02, '{', '}'}, 1002, ""},
		{"no mask on a ping", []byte{0x89, 0x00}, 1002, ""},
		{"length of 2^63", []byte{0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1002, ""},
		{"length of 2^62", []byte{0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 0, ""},
		{"close with one byte", masked(0x88, []byte{3}), 1002, ""},
		{"close with a reserved code", masked(0x88, []byte{0x03, 0xed}), 1002, ""},
		{"16 KiB and a byte", text(strings.Repeat(" ", 16<<10) + "1"), 1009, ""},
		{"16 KiB in fragments", append(append(masked(0x01, nil), repeat(masked(0x00, make([]byte, 1000)), 17)...), masked(0x80, nil)...), 1009, ""},
		{"bad UTF-8", text("{\"type\":\"\xff\"}"), 1007, ""},
		{"bad UTF-8 over two fragments", append(masked(0x01, []byte("{\"\xe2")), masked(0x80, []byte("\x28\"}"))...), 1007, ""},
		{"binary", masked(0x82, []byte("{}")), 1003, "bad_message"},
		{"no JSON", text("hello"), 1008, "bad_message"},
		{"no object", text("[1]"), 1008, "bad_message"},
		{"empty message", text(""), 1008, "bad_message"},
		{"pings", repeat(masked(0x89, nil), 50), 1008, ""},
	} {
		for _, tr := range []transport{overTCP, overPipe} {
			t.Run(tc.name+" over "+string(tr), func(t *testing.T) {
				t.Parallel()
				s := newServer(t, tr, nil)
				p, ses := s.connect()
				go p.send(tc.send) // a pipe has no buffer
				if tc.code == 0 {  // legal so far: the server waits, and the client goes
					time.AfterFunc(50*time.Millisecond, func() { _ = p.Close() })
				}
				code, texts := p.closeCode()
				if code != tc.code {
					t.Fatalf("close code %d, want %d", code, tc.code)
				}
				if got := strings.Join(texts, "\n"); !strings.Contains(got, tc.text) {
					t.Fatalf("messages %q, want %q", got, tc.text)
				}
				ses.ended(t)
				if n := s.handler.Open(); n > 1 {
					t.Fatalf("%d connections open", n)
				}
			})
		}
	}
}

// What goes on after an error: the answer says what is wrong, and the next message is done.
func TestErrorsThatTheConnectionSurvives(t *testing.T) {
	t.Parallel()
	s := newServer(t, overTCP, nil)
	p, ses := s.connect()
	for _, tc := range []struct{ send, want string }{
		{`{"type":"subscribe","links":["x7Kp2","a3bZ9"]}`, "subscribe [x7Kp2 a3bZ9] -1ns"},
		{`{"type":"subscribe","links":["x7Kp2"],"interval_ms":250}`, "subscribe [x7Kp2] 250ms"},
		{`{"type":"subscribe","links":["x7Kp2"],"interval_ms":0}`, "subscribe [x7Kp2] 0s"},
		{`{"type":"unsubscribe","links":["a3bZ9"]}`, "unsubscribe [a3bZ9]"},
		{`{"type":"auth","token":"t"}`, "refresh "},
		{`{"type":"dance"}`, "fail bad_message"},
		{`{"type":"subscribe","links":["x"],"intervall_ms":1}`, "fail bad_message"},
		{`{"type":"subscribe","links":["ok","not ok"]}`, "fail bad_link"},
		{`{"type":"unsubscribe","links":["x7Kp2"]}`, "unsubscribe [x7Kp2]"},
	} {
		p.send(text(tc.send))
		select {
		case got := <-ses.asked:
			if got != tc.want {
				t.Fatalf("%s: %s, want %s", tc.send, got, tc.want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: nothing", tc.send)
		}
	}
}

// Pings are answered with their payload, also in the middle of a fragmented message, and count as a sign of life.
func TestPong(t *testing.T) {
	t.Parallel()
	for _, tr := range []transport{overTCP, overPipe} {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tr, nil)
			p, ses := s.connect()
			message := `{"type":"unsubscribe","links":["a"]}`
			go func() {
				p.send(masked(0x01, []byte(message[:10])))
				p.send(masked(0x89, []byte("are you there?")))
				p.send(masked(0x8a, nil)) // a pong that nobody asked for
				p.send(masked(0x80, []byte(message[10:])))
			}()
			f, err := p.readFrame()
			if err != nil || f.first != 0x8a || string(f.payload) != "are you there?" {
				t.Fatalf("answer %x %q, %v; want a pong", f.first, f.payload, err)
			}
			if got := <-ses.asked; got != "unsubscribe [a]" {
				t.Fatalf("asked %s", got)
			}
			ses.mu.Lock()
			defer ses.mu.Unlock()
			if ses.heard != 3 {
				t.Fatalf("%d signs of life, want 3: ping, pong, message", ses.heard)
			}
		})
	}
}

// Frames that come in one segment with the handshake were read by net/http, and are not lost.
func TestEarlyFrames(t *testing.T) {
	t.Parallel()
	s := newServer(t, overTCP, nil)
	nc, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	p := &peer{t: t, Conn: nc}
	long := `{"type":"subscribe","links":["` + strings.Repeat("x", 128) + `","` + strings.Repeat("y", 128) + `"]}`
	p.send(append([]byte("GET /ws HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"), text(long)...))
	ses := <-s.sessions
	select {
	case got := <-ses.asked:
		if !strings.HasPrefix(got, "subscribe [xxx") {
			t.Fatalf("asked %s", got)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the early frame is lost")
	}
}

// A client that closes gets its code back, and one that just goes away is noticed.
func TestPeerEnds(t *testing.T) {
	t.Parallel()
	for _, tr := range []transport{overTCP, overPipe} {
		t.Run(string(tr), func(t *testing.T) {
			t.Parallel()
			s := newServer(t, tr, nil)
			p, ses := s.connect()
			go p.send(masked(0x88, []byte{0x03, 0xe8}))
			if code, _ := p.closeCode(); code != 1000 {
				t.Fatalf("close code %d, want 1000", code)
			}
			if how := ses.ended(t); how != "1000 " {
				t.Fatalf("ended %q", how)
			}
			p, ses = s.connect()
			_ = p.Close()
			if how := ses.ended(t); how != "1006 lost" {
				t.Fatalf("ended %q", how)
			}
		})
	}
}
