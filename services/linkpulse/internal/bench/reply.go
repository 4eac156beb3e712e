package bench

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
)

const (
	statusAccepted    = http.StatusAccepted
	statusTooMany     = http.StatusTooManyRequests
	statusServerError = http.StatusInternalServerError
)

var errNoHTTP = errors.New("the answer is no HTTP/1.1")

// maxAnswer bounds an answer that is read to its end. One with the ids of 100 clicks has 4 KB.
const maxAnswer = 64 << 10

// replyReader reads the answers to requests on one connection (RFC 9112). It does what a load generator needs of HTTP
// and no more: what it does not read, an answer in chunks above all, costs the connection.
type replyReader struct {
	buf []byte
	n   int // buf[:n] was read
}

// reply is the answer to a request.
type reply struct {
	status int
	last   bool   // no other request can be sent on this connection
	body   []byte // the beginning of it, valid until the next space
}

func (r *replyReader) reset() { r.n = 0 }

// space returns where to read more bytes to.
func (r *replyReader) space() []byte {
	if r.n == len(r.buf) {
		r.buf = append(r.buf, make([]byte, max(1<<10, len(r.buf)))...)
	}
	return r.buf[r.n:]
}

// filled tells that n more bytes were read. It returns the answer once all of it is there.
func (r *replyReader) filled(n int) (a reply, ok bool, err error) {
	r.n += n
	read := r.buf[:r.n]
	head, body, whole := bytes.Cut(read, []byte("\r\n\r\n"))
	if !whole {
		if r.n > maxAnswer {
			return reply{}, false, errNoHTTP
		}
		return reply{}, false, nil
	}
	a, length, err := parseHead(head)
	if err != nil {
		return reply{}, false, err
	}
	a.body = body
	switch {
	case length < 0 || length > maxAnswer || len(a.body) > length:
		a.last = true // where it ends is not known, or is of no interest
	case len(a.body) < length:
		return reply{}, false, nil
	}
	r.n = 0
	return a, true, nil
}

// parseHead reads a status line and header fields. length is that of the body, -1 where it is not told.
func parseHead(head []byte) (a reply, length int, err error) {
	line, fields, _ := bytes.Cut(head, []byte("\r\n"))
	version, rest, _ := bytes.Cut(line, []byte(" "))
	code, _, _ := bytes.Cut(rest, []byte(" "))
	if a.status, err = strconv.Atoi(string(code)); err != nil || !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return reply{}, 0, errNoHTTP
	}
	a.last = !bytes.Equal(version, []byte("HTTP/1.1"))
	length = -1
	for len(fields) > 0 {
		var field []byte
		field, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		name, value, _ := bytes.Cut(field, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return reply{}, 0, errNoHTTP
			}
		case bytes.EqualFold(name, []byte("Connection")) && bytes.EqualFold(value, []byte("close")):
			a.last = true
		}
	}
	return a, length, nil
}
