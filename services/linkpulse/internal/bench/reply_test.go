package bench

import (
	"errors"
	"strings"
	"testing"
)

func TestReplies(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		in     string
		status int
		body   string
		last   bool
		none   bool // it is not whole
	}{
		"with a body":     {in: "HTTP/1.1 202 Accepted\r\ncontent-length: 5\r\nX: y\r\n\r\nhello", status: 202, body: "hello"},
		"without a body":  {in: "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", status: 202},
		"a closing one":   {in: "HTTP/1.1 503 x\r\nConnection: Close\r\nContent-Length: 1\r\n\r\nx", status: 503, body: "x", last: true},
		"an old one":      {in: "HTTP/1.0 202 Accepted\r\nContent-Length: 0\r\n\r\n", status: 202, last: true},
		"in chunks":       {in: "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", status: 202, body: "1\r\nx\r\n0\r\n\r\n", last: true},
		"a very long one": {in: "HTTP/1.1 400 x\r\nContent-Length: 99999999\r\n\r\nwhy", status: 400, body: "why", last: true},
		"no reason":       {in: "HTTP/1.1 429\r\nContent-Length: 0\r\n\r\n", status: 429},
		"half a head":     {in: "HTTP/1.1 202 Accepted\r\nContent-Le", none: true},
		"half a body":     {in: "HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhel", none: true},
	} {
		for _, step := range []int{1, 7, len(tc.in)} { // however it is cut
			var r replyReader
			var got reply
			var ok bool
			for in := tc.in; len(in) > 0 && !ok; {
				n := copy(r.space(), in[:min(step, len(in))])
				in = in[n:]
				var err error
				if got, ok, err = r.filled(n); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if ok == tc.none {
				t.Fatalf("%s in steps of %d: whole is %v", name, step, ok)
			}
			if !ok {
				continue
			}
			if got.status != tc.status || got.last != tc.last || !strings.HasPrefix(tc.body, string(got.body)) {
				t.Errorf("%s in steps of %d: %d, last %v, %q", name, step, got.status, got.last, got.body)
			}
			if step == len(tc.in) && string(got.body) != tc.body {
				t.Errorf("%s: body %q, want %q", name, got.body, tc.body)
			}
		}
	}
}

func TestAReplyThatGoesOnIsTheLast(t *testing.T) {
	t.Parallel()
	var r replyReader
	got, ok, err := r.filled(copy(r.space(), "HTTP/1.1 202 Accepted\r\nContent-Length: 1\r\n\r\nxy"))
	if err != nil || !ok || !got.last {
		t.Fatalf("%+v, %v, %v; want a reply that is whole and ends the connection", got, ok, err)
	}
}

func TestWhatIsNoReply(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		"SSH-2.0-OpenSSH_9.6\r\n\r\n", "HTTP/1.1 ok\r\n\r\n", "HTTP/1.1 202 x\r\nContent-Length: -1\r\n\r\n",
		strings.Repeat("x", maxAnswer+1),
	} {
		var r replyReader
		var err error
		for rest := in; len(rest) > 0 && err == nil; {
			n := copy(r.space(), rest)
			rest = rest[n:]
			_, _, err = r.filled(n)
		}
		if !errors.Is(err, errNoHTTP) {
			t.Errorf("%.30q: %v", in, err)
		}
	}
}
