// Package accesslog reads lines of a web server's access log and tells which link a line is a click on. It is pure.
//
// It reads the combined format, which Apache and nginx write by default, and the common format, which is the same without
// the last two fields:
//
//	host ident user [day/Mon/year:hour:minute:second zone] "request" status bytes "referrer" "user agent"
//
// Whatever follows is ignored. Lines come from the open internet: any byte may be in them, quotes may not be escaped, and
// a request need not be one.
package accesslog

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// Entry is a line of a log, as far as a click needs it. Its strings may hold any bytes.
type Entry struct {
	Time      time.Time
	Method    string // empty where the request was none
	Target    string // as the client sent it, escapes of the log undone
	Status    int
	Referrer  string // empty: none
	UserAgent string // empty: none
}

// ErrFormat reports a line that is in neither format.
var ErrFormat = errors.New("the line is in neither the combined nor the common log format")

// timeLayout is the time of an entry, which always has this length.
const timeLayout = "02/Jan/2006:15:04:05 -0700"

// Parse reads a line, without or with its end. The error is [ErrFormat].
func Parse(line []byte) (Entry, error) {
	line = bytes.TrimRight(line, "\r\n")
	var e Entry
	rest, ok := e.parseTime(line)
	if !ok {
		return Entry{}, ErrFormat
	}
	request, rest, ok := quoted(rest, func(after []byte) bool {
		return len(after) >= 4 && after[0] == ' ' && digits(after[1:4]) && (len(after) == 4 || after[4] == ' ')
	})
	if !ok {
		return Entry{}, ErrFormat
	}
	e.Method, e.Target = splitRequest(request)
	e.Status, _ = strconv.Atoi(string(rest[1:4])) // three digits
	rest = rest[4:]
	if len(rest) == 0 { // some servers leave the bytes out
		return e, nil
	}
	if _, rest, ok = bytes.Cut(rest[1:], []byte(" ")); !ok {
		return e, nil // the common format
	}
	referrer, rest, ok := quoted(rest, func(after []byte) bool { return bytes.HasPrefix(after, []byte(` "`)) })
	if !ok {
		return e, nil // the common format with fields of its own
	}
	e.Referrer = none(referrer)
	agent, _, ok := quoted(rest[1:], func(after []byte) bool { return len(after) == 0 || after[0] == ' ' })
	if ok {
		e.UserAgent = none(agent)
	}
	return e, nil
}

// parseTime finds the time and returns what follows it. The fields before it may hold anything, a bracket too: it is the
// first bracket with a time in it.
func (e *Entry) parseTime(line []byte) (rest []byte, ok bool) {
	const length = len(timeLayout)
	for {
		at := bytes.IndexByte(line, '[')
		if at < 0 || len(line) < at+1+length+2 {
			return nil, false
		}
		line = line[at+1:]
		if line[length] != ']' || line[length+1] != ' ' {
			continue
		}
		t, err := time.Parse(timeLayout, string(line[:length]))
		if err == nil {
			e.Time = t
			return line[length+2:], true
		}
	}
}

// quoted takes a field in quotes off b, and undoes its escapes. A quote ends it if ends says so of what comes after: not
// every server escapes the quotes of its clients.
func quoted(b []byte, ends func(after []byte) bool) (field string, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return "", nil, false
	}
	escaped := false
	for i := 1; i < len(b); i++ {
		switch {
		case b[i] == '\\':
			escaped = true
			i++ // whatever it is, it does not end the field
		case b[i] == '"' && ends(b[i+1:]):
			if escaped {
				return unescape(b[1:i]), b[i+1:], true
			}
			return string(b[1:i]), b[i+1:], true
		}
	}
	return "", nil, false
}

// unescape undoes what Apache (\" \\ \n \t \xhh) and nginx (\xHH) write for bytes that could break a line.
func unescape(b []byte) string {
	out := make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			out = append(out, b[i])
			continue
		}
		i++
		switch b[i] {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'x':
			if i+2 < len(b) {
				if v, err := strconv.ParseUint(string(b[i+1:i+3]), 16, 8); err == nil {
					out = append(out, byte(v))
					i += 2
					continue
				}
			}
			out = append(out, '\\', 'x')
		default:
			out = append(out, b[i])
		}
	}
	return string(out)
}

// splitRequest takes a request line apart. The target is what lies between the method and the version: clients that do not
// escape their spaces exist.
func splitRequest(request string) (method, target string) {
	method, rest, ok := strings.Cut(request, " ")
	if !ok || method == "" || strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "", ""
	}
	if at := strings.LastIndex(rest, " HTTP/"); at >= 0 {
		rest = rest[:at]
	}
	return method, rest
}

// none is what a field is worth: a hyphen stands for nothing.
func none(field string) string {
	if field == "-" {
		return ""
	}
	return field
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// Reason is why a line is no click.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	// ReasonFormat means that the line is in neither format.
	ReasonFormat Reason = "format"
	// ReasonMethod means that the request was neither GET nor HEAD.
	ReasonMethod Reason = "method"
	// ReasonStatus means that the answer was no redirect that counts.
	ReasonStatus Reason = "status"
	// ReasonPrefix means that the path is not under the prefix.
	ReasonPrefix Reason = "prefix"
	// ReasonLink means that what follows the prefix is no link id.
	ReasonLink Reason = "link"
)

// Reasons returns every reason.
func Reasons() []Reason {
	return []Reason{ReasonFormat, ReasonMethod, ReasonStatus, ReasonPrefix, ReasonLink}
}

// Mapping says which lines are clicks, and on what.
//
// The link is the first segment of the request's path after Prefix, percent-decoded once; query and what follows the
// segment do not matter: with the prefix /s/, "GET /s/x%37Kp2/?utm=1" is a click on x7Kp2.
type Mapping struct {
	Statuses []int  // of redirects that count
	Prefix   string // begins and ends with a slash
}

// NewMapping returns a Mapping. A prefix stands for whole segments: /s is the same as /s/.
func NewMapping(statuses []int, prefix string) (Mapping, error) {
	if !strings.HasPrefix(prefix, "/") {
		return Mapping{}, errors.New("the prefix must begin with a slash")
	}
	if len(statuses) == 0 {
		return Mapping{}, errors.New("no status would count")
	}
	return Mapping{Statuses: statuses, Prefix: strings.TrimSuffix(prefix, "/") + "/"}, nil
}

// Link returns the link that an entry is a click on. The reason is empty if it is one.
func (m Mapping) Link(e Entry) (link string, reason Reason) {
	if e.Method != http.MethodGet && e.Method != http.MethodHead {
		return "", ReasonMethod
	}
	if !slices.Contains(m.Statuses, e.Status) {
		return "", ReasonStatus
	}
	target := e.Target
	if scheme, rest, ok := strings.Cut(target, "://"); ok && (scheme == "http" || scheme == "https") { // RFC 9112 section 3.2.2
		_, path, _ := strings.Cut(rest, "/")
		target = "/" + path
	}
	rest, ok := strings.CutPrefix(target, m.Prefix)
	if !ok {
		return "", ReasonPrefix
	}
	if at := strings.IndexAny(rest, "/?#"); at >= 0 {
		rest = rest[:at]
	}
	link, err := url.PathUnescape(rest)
	if err != nil || !click.ValidLink(link) {
		return "", ReasonLink
	}
	return link, ""
}
