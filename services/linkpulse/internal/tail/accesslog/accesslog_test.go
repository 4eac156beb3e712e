package accesslog

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"strings"
	"testing"
	"time"
)

const head = `1.2.3.4 - - [31/Jan/2026:12:00:00 +0100] `

func TestParse(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 11, 0, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		line string
		want Entry
	}{
		"combined": {
			head + `"GET /s/x7Kp2?a=b HTTP/1.1" 302 0 "https://news.example/a b" "Mozilla/5.0 (X11)"`,
			Entry{at, "GET", "/s/x7Kp2?a=b", 302, "https://news.example/a b", "Mozilla/5.0 (X11)"},
		},
		"common":                  {head + `"GET /a HTTP/1.0" 301 -`, Entry{at, "GET", "/a", 301, "", ""}},
		"no bytes":                {head + `"GET /a HTTP/1.0" 301`, Entry{at, "GET", "/a", 301, "", ""}},
		"more fields":             {head + `"GET /a HTTP/2.0" 301 5 "-" "curl/8" "10.0.0.1" 0.002 "x"`, Entry{at, "GET", "/a", 301, "", "curl/8"}},
		"a field of its own":      {head + `"GET /a HTTP/2.0" 301 5 0.002`, Entry{at, "GET", "/a", 301, "", ""}},
		"escapes of nginx":        {head + `"GET /\xC3\xA9 HTTP/1.1" 301 5 "-" "a \x22quoted\x22 \x5C name"`, Entry{at, "GET", "/é", 301, "", `a "quoted" \ name`}},
		"escapes of apache":       {head + `"GET /a HTTP/1.1" 301 5 "-" "a \"quoted\" \\ na\tme\n \q \x9"`, Entry{at, "GET", "/a", 301, "", "a \"quoted\" \\ na\tme\n q \\x9"}},
		"a backslash at the end":  {head + `"GET /a HTTP/1.1" 301 5 "-" "x\\"`, Entry{at, "GET", "/a", 301, "", `x\`}},
		"quotes that are not":     {head + `"GET /a"b HTTP/1.1" 301 5 "https://x/?q="y"" "a "b" c"`, Entry{at, "GET", `/a"b`, 301, `https://x/?q="y"`, `a "b`}},
		"bytes that are no UTF-8": {head + "\"GET /\xff HTTP/1.1\" 301 5 \"-\" \"\xfe\"", Entry{at, "GET", "/\xff", 301, "", "\xfe"}},
		"spaces in the target":    {head + `"GET /a b c HTTP/1.1" 301 5 "-" "-"`, Entry{at, "GET", "/a b c", 301, "", ""}},
		"no version":              {head + `"GET /a" 301 5 "-" "-"`, Entry{at, "GET", "/a", 301, "", ""}},
		"no request":              {head + `"-" 408 0 "-" "-"`, Entry{at, "", "", 408, "", ""}},
		"TLS to a plain port":     {head + `"\x16\x03\x01\x02" 400 157 "-" "-"`, Entry{at, "", "", 400, "", ""}},
		"an odd user":             {`::1 - O'Hara [admin] x [31/Jan/2026:12:00:00 +0100] "GET /a HTTP/1.1" 301 5`, Entry{at, "GET", "/a", 301, "", ""}},
		"a virtual host before":   {"example.org:443 " + head + `"GET /a HTTP/1.1" 301 5` + "\r\n", Entry{at, "GET", "/a", 301, "", ""}},
		"no end of the agent":     {head + `"GET /a HTTP/1.1" 301 5 "-" "Mozil`, Entry{at, "GET", "/a", 301, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := Parse([]byte(tt.line))
			got.Time = got.Time.UTC()
			if err != nil || got != tt.want {
				t.Fatalf("Parse = %+v, %v\nwant    %+v", got, err, tt.want)
			}
		})
	}
	for _, line := range []string{
		"", "hello", head, head + `"GET /a HTTP/1.1`, head + `"GET /a HTTP/1.1" x 5`, head + `GET /a 301 5`,
		`1.2.3.4 - - [31/Foo/2026:12:00:00 +0100] "GET /a HTTP/1.1" 301 5`, `{"json":"[31/Jan/2026:12:00:00 +0100]"}`, "[", "[]",
	} {
		if e, err := Parse([]byte(line)); !errors.Is(err, ErrFormat) {
			t.Errorf("Parse(%q) = %+v, %v", line, e, err)
		}
	}
}

func TestMapping(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		prefix, method, target string
		status                 int
		link                   string
		reason                 Reason
	}{
		{"/", "GET", "/x7Kp2", 301, "x7Kp2", ""},
		{"/", "HEAD", "/x7Kp2", 308, "x7Kp2", ""},
		{"/s/", "GET", "/s/x7Kp2?utm=1", 302, "x7Kp2", ""},
		{"/s", "GET", "/s/x7Kp2/", 302, "x7Kp2", ""},
		{"/s/", "GET", "/s/x7Kp2/more/?a#b", 302, "x7Kp2", ""},
		{"/s/", "GET", "/s/x%37Kp2", 302, "x7Kp2", ""},
		{"/s/", "GET", "/s/acme%3Ax", 302, "acme:x", ""},
		{"/s/", "GET", "http://sho.rt/s/x7Kp2", 302, "x7Kp2", ""},
		{"/", "GET", "https://sho.rt", 302, "", ReasonLink},
		{"/", "POST", "/x7Kp2", 302, "", ReasonMethod},
		{"/", "", "", 302, "", ReasonMethod},
		{"/", "GET", "/x7Kp2", 200, "", ReasonStatus},
		{"/", "GET", "/x7Kp2", 304, "", ReasonStatus},
		{"/s/", "GET", "/x7Kp2", 302, "", ReasonPrefix},
		{"/s", "GET", "/sale", 302, "", ReasonPrefix},
		{"/s/", "GET", "/s", 302, "", ReasonPrefix},
		{"/", "GET", "*", 302, "", ReasonPrefix},
		{"/", "GET", "/", 302, "", ReasonLink},
		{"/", "GET", "/a%2Fb", 302, "", ReasonLink},
		{"/", "GET", "/a%zz", 302, "", ReasonLink},
		{"/", "GET", "/a%2537", 302, "", ReasonLink}, // decoded once
		{"/", "GET", "/a+b", 302, "", ReasonLink},
		{"/", "GET", "/" + strings.Repeat("a", 129), 302, "", ReasonLink},
	} {
		m, err := NewMapping([]int{301, 302, 303, 307, 308}, tt.prefix)
		if err != nil {
			t.Fatal(err)
		}
		link, reason := m.Link(Entry{Method: tt.method, Target: tt.target, Status: tt.status})
		if link != tt.link || reason != tt.reason {
			t.Errorf("%s %s %d under %s = %q, %q, want %q, %q", tt.method, tt.target, tt.status, tt.prefix, link, reason, tt.link, tt.reason)
		}
	}
	if _, err := NewMapping([]int{301}, "s/"); err == nil {
		t.Error("a prefix without a slash was taken")
	}
	if _, err := NewMapping(nil, "/"); err == nil {
		t.Error("a mapping without a status was taken")
	}
}

// A hundred lines of a real log, counted by hand with awk.
func TestARealLog(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/access.log")
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMapping([]int{301, 302, 303, 307, 308}, "/projects/")
	if err != nil {
		t.Fatal(err)
	}
	reasons, links := map[Reason]int{}, map[string]int{}
	for line := range bytes.Lines(content) {
		e, err := Parse(line)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.Time.Year() != 2015 || e.UserAgent == "" && !bytes.HasSuffix(line, []byte("\"-\"\n")) {
			t.Errorf("%s is read as %+v", line, e)
		}
		link, reason := m.Link(e)
		reasons[reason]++
		if reason == "" {
			links[link]++
		}
	}
	if !maps.Equal(reasons, map[Reason]int{"": 31, ReasonStatus: 48, ReasonPrefix: 21}) {
		t.Errorf("reasons %v", reasons)
	}
	if len(links) != 15 || links["xdotool"] != 3 || links["grok"] != 2 {
		t.Errorf("links %v", links)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(head + `"GET /s/x7Kp2 HTTP/1.1" 302 0 "-" "Mozilla/5.0"`))
	f.Add([]byte(head + `"GET /\x2 HTTP/1.1" 302`))
	f.Add([]byte(`[31/Jan/2026:12:00:00 +0100] "\`))
	m, err := NewMapping([]int{302}, "/s/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := Parse(line)
		if err != nil {
			return
		}
		if e.Status < 0 || e.Status > 999 || len(e.Target)+len(e.UserAgent)+len(e.Referrer) > len(line) {
			t.Fatalf("%q is read as %+v", line, e)
		}
		if link, reason := m.Link(e); reason == "" && (link == "" || e.Status != 302) {
			t.Fatalf("%q is a click on %q", line, link)
		}
	})
}
