package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/click"
)

const testMaxClicks = 5

// decode decodes as the handler does.
func decode(body string, form format) ([]input, *refusal) {
	d := &decoder{max: testMaxClicks}
	var r *refusal
	if form == formatLines {
		r = d.decodeLines([]byte(body))
	} else {
		r = d.decodeJSON([]byte(body))
	}
	return d.clicks, r
}

// reference decodes with encoding/json what the decoder decodes by hand: same rules, no speed. It returns the reason of
// a refusal and, unless the body is no JSON, the click and the rule.
func reference(body string, form format) (clicks []input, why reason, index int, broken rule) {
	if !utf8.ValidString(body) {
		return nil, reasonMalformed, -1, ""
	}
	texts, why, broken := referenceTexts(body, form)
	if why != reasonNone && len(texts) == 0 {
		return nil, why, -1, broken
	}
	for i, text := range texts {
		if len(bytes.TrimSpace(text)) == 0 || bytes.TrimSpace(text)[0] != '{' {
			return nil, reasonInvalid, i, ruleShape
		}
		if i == testMaxClicks {
			return nil, reasonTooMany, -1, ""
		}
		c, broken := referenceClick(text)
		if broken != "" {
			return nil, reasonInvalid, i, broken
		}
		clicks = append(clicks, c)
	}
	return clicks, reasonNone, -1, ""
}

func referenceTexts(body string, form format) (texts []json.RawMessage, why reason, broken rule) {
	if form == formatLines {
		for line := range strings.SplitSeq(body, "\n") {
			if strings.Trim(line, " \t\r") == "" {
				continue
			}
			if !json.Valid([]byte(line)) {
				return nil, reasonMalformed, ""
			}
			texts = append(texts, json.RawMessage(line))
		}
	} else {
		switch whole := strings.Trim(body, " \t\r\n"); {
		case !json.Valid([]byte(body)):
			return nil, reasonMalformed, ""
		case whole[0] == '{':
			texts = append(texts, json.RawMessage(body))
		case whole[0] == '[':
			if err := json.Unmarshal([]byte(body), &texts); err != nil {
				panic(err)
			}
		default:
			return nil, reasonInvalid, ruleShape
		}
	}
	if len(texts) == 0 {
		return nil, reasonEmpty, ""
	}
	return texts, reasonNone, ""
}

// referenceClick walks an object's tokens in their order.
func referenceClick(text json.RawMessage) (c input, broken rule) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	next := func() json.Token {
		token, err := dec.Token()
		if err != nil {
			panic(err)
		}
		return token
	}
	next() // the brace
	seen := map[string]bool{}
	for dec.More() {
		name := next().(string)
		switch {
		case !slices.Contains(strings.Split(fieldNames, ", "), name):
			return c, ruleKnown
		case seen[name]:
			return c, ruleOnce
		}
		seen[name] = true
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			panic(err)
		}
		if broken := referenceField(&c, name, raw); broken != "" {
			return c, broken
		}
	}
	if !seen["link"] {
		return c, ruleRequired
	}
	return c, ""
}

func referenceField(c *input, name string, raw json.RawMessage) (broken rule) {
	if name == "bot" {
		c.botGiven = true
		if json.Unmarshal(raw, &c.bot) != nil || string(raw) == "null" {
			return ruleType
		}
		return ""
	}
	var text string
	if raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
		return ruleType
	}
	if loneSurrogate(string(raw)) {
		return ruleText
	}
	switch name {
	case "link":
		if c.link = []byte(text); click.CheckLink(text) != nil {
			return ruleLink
		}
	case "id":
		id, err := click.ParseID(text)
		if c.id = id; err != nil {
			return ruleID
		}
	case "at":
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || !rfc3339.MatchString(text) {
			return ruleAt
		}
		c.atMs = at.UnixMilli()
	case "country":
		if len(text) != 2 || strings.Trim(strings.ToUpper(text), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
			return ruleCountry
		}
		copy(c.country[:], strings.ToUpper(text))
	case "referrer":
		if len(text) > maxReferrer {
			return ruleReferrer
		}
		c.host = referrerHost([]byte(text))
	case "user_agent":
		if len(text) > maxUserAgent {
			return ruleUserAgent
		}
		c.userAgent = []byte(text)
	}
	return ""
}

var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

// loneSurrogate looks for half a surrogate pair in the raw text of a JSON string.
func loneSurrogate(raw string) bool {
	high := false
	for i := 0; i < len(raw); {
		var unit uint64
		switch {
		case raw[i] == '\\' && raw[i+1] == 'u':
			if _, err := fmt.Sscanf(raw[i+2:i+6], "%x", &unit); err != nil {
				panic(err)
			}
			i += 6
		case raw[i] == '\\':
			i += 2
		default:
			i++
		}
		low := 0xdc00 <= unit && unit < 0xe000
		if low != high {
			return true
		}
		high = 0xd800 <= unit && unit < 0xdc00
	}
	return high
}

func compare(t interface {
	Helper()
	Fatalf(format string, args ...any)
}, body string, form format,
) {
	t.Helper()
	got, refused := decode(body, form)
	want, why, index, broken := reference(body, form)
	if refused == nil {
		if why != reasonNone {
			t.Fatalf("decoded, but it must be refused for %d %q at %d: %q", why, broken, index, body)
		}
		if g, w := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); g != w {
			t.Fatalf("decoded as\n%s, want\n%s\nof %q", g, w, body)
		}
		return
	}
	if refused.reason != why || why != reasonMalformed && (refused.index != index || refused.rule != broken) {
		t.Fatalf("refused for %d %q at %d (%s), want %d %q at %d: %q",
			refused.reason, refused.rule, refused.index, refused.detail, why, broken, index, body)
	}
	if refused.detail == "" || !utf8.ValidString(refused.detail) {
		t.Fatalf("refused without a word: %q", body)
	}
}

// Bodies that are nearly right: made of a grammar for clicks, then hurt in one place.
func TestDecodesAsEncodingJSONDoes(t *testing.T) {
	t.Parallel()
	space := rapid.SampledFrom([]string{"", "", "", " ", "\t", "\r\n", "  "})
	text := rapid.OneOf(
		rapid.SampledFrom([]string{
			`"x7Kp2"`, `"x7\u004bp2"`, `""`, `"a b"`, `"0198c0de-1234-7abc-8def-000102030405"`, `"00000000-0000-0000-0000-000000000000"`,
			`"2026-01-31T12:00:00.25Z"`, `"2026-01-31T12:00:00+01:00"`, `"2026-01-31 12:00:00Z"`, `"2026-01-31T1:00:00Z"`, `"DE"`, `"de"`, `"D1"`,
			`"https://user@Example.com:80/a?b"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`, `"\ud83dx"`, `"\"\\\/\b\f\n\r\t"`, `"\x"`, `"\u12"`,
			`"` + strings.Repeat("a", maxUserAgent) + `"`, `"` + strings.Repeat("a", maxUserAgent) + `\n"`, `"` + strings.Repeat("é", maxReferrer) + `"`,
			"\"\x01\"", "\"\xff\"", `"é"`, `"open`, `true`, `false`, `null`, `12`, `-1.5e3`, `01`, `{}`, `{"a":[1]}`, `[]`, `tru`, ``,
		}),
		rapid.Map(rapid.StringMatching(`[A-Za-z0-9._~:-]{1,20}`), func(s string) string { return `"` + s + `"` }),
		rapid.Map(rapid.String(), func(s string) string { b, _ := json.Marshal(s); return string(b) }),
	)
	name := rapid.SampledFrom([]string{
		`"link"`, `"link"`, `"id"`, `"at"`, `"referrer"`, `"country"`, `"user_agent"`, `"bot"`, `"li\u006ek"`, `"Link"`, `"other"`, `""`, `link`,
	})
	member := rapid.Custom(func(t *rapid.T) string {
		return space.Draw(t, "s") + name.Draw(t, "name") + space.Draw(t, "s") + ":" + space.Draw(t, "s") + text.Draw(t, "value") + space.Draw(t, "s")
	})
	object := rapid.OneOf(
		rapid.Just(`{"link":"x7Kp2"}`),
		rapid.Just(`{"link":"x7Kp2","bot":true,"country":"DE"}`),
		rapid.Custom(func(t *rapid.T) string {
			return "{" + strings.Join(rapid.SliceOfN(member, 0, 3).Draw(t, "members"), ",") + "}"
		}),
		text,
	)
	rapid.Check(t, func(t *rapid.T) {
		objects := rapid.SliceOfN(object, 0, testMaxClicks+1).Draw(t, "objects")
		separator := rapid.SampledFrom([]string{",", " , ", "\n", "\n\n", "\r\n", ";"}).Draw(t, "separator")
		body := strings.Join(objects, separator)
		if rapid.Bool().Draw(t, "array") {
			body = "[" + body + "]"
		}
		if len(body) > 0 && rapid.IntRange(0, 3).Draw(t, "hurt") == 0 {
			at := rapid.IntRange(0, len(body)-1).Draw(t, "at")
			body = body[:at] + rapid.SampledFrom([]string{"", "}", "]", ",", `"`, `\`, "\x00", "\n"}).Draw(t, "with") + body[at+1:]
		}
		compare(t, body, formatJSON)
		compare(t, body, formatLines)
	})
}

func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"link":"x7Kp2"}`, `[{"link":"a"},{"link":"b","bot":false}]`, "{\"link\":\"a\"}\n\n{\"link\":\"b\"}\r\n", `[]`, ``, `null`,
		`{"link":"a","id":"0198c0de-1234-7abc-8def-000102030405","at":"2026-01-31T12:00:00Z","referrer":"https://e.com/","country":"DE","user_agent":"curl/8"}`,
		`{"link":"\ud83d\ude00"}`, `{"link":"a","link":"b"}`, `{"link":"a"}{"link":"b"}`, `[[[[`, "\xff",
	} {
		f.Add(body, false)
		f.Add(body, true)
	}
	f.Fuzz(func(t *testing.T, body string, lines bool) {
		if lines {
			compare(t, body, formatLines)
		} else {
			compare(t, body, formatJSON)
		}
	})
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	body := []byte(`{"link":"x7Kp2","at":"2026-01-31T12:00:00.25Z","referrer":"https://www.example.com/a?b=c","country":"DE","user_agent":"Mozilla/5.0 \u002a"}`)
	d := &decoder{max: 1}
	if n := testing.AllocsPerRun(100, func() {
		if r := d.decodeJSON(body); r != nil {
			t.Fatal(r.detail)
		}
	}); n != 0 {
		t.Fatalf("%v allocations, want 0", n)
	}
}

// Depth costs nothing, because nothing is entered that has no place in a click.
func TestDepthIsRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		strings.Repeat("[", 1<<20), strings.Repeat(`{"link":`, 1<<17), `{"link":"a","x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}",
	} {
		compare(t, body, formatJSON)
		compare(t, body, formatLines)
	}
}

func BenchmarkDecode(b *testing.B) {
	one := `{"link":"x7Kp2","id":"0198c0de-1234-7abc-8def-000102030405","referrer":"https://www.example.com/page","country":"DE"}`
	d := &decoder{max: 100}
	b.Run("one", func(b *testing.B) {
		body := []byte(one)
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if d.decodeJSON(body) != nil {
				b.Fatal("refused")
			}
		}
	})
	b.Run("lines-100", func(b *testing.B) {
		body := []byte(strings.Repeat(one+"\n", 100))
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if d.decodeLines(body) != nil {
				b.Fatal("refused")
			}
		}
	})
}
