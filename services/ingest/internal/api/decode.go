package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// Limits of one click's texts in bytes, after unescaping. A user agent is matched against the list of bots, a referrer
// is searched for its host: both cost time in proportion to their length.
const (
	maxReferrer  = 2048
	maxUserAgent = 1024
)

// input is one click of a request as it was sent. Its slices are borrowed from the request's scratch.
type input struct {
	link      []byte
	id        click.ID // zero: none was sent
	atMs      int64    // 0: not said
	country   [2]byte  // upper case; zero: not said
	host      []byte   // of the referrer, as it was written; empty: there is none
	userAgent []byte
	bot       bool
	botGiven  bool // the client said what bot is
}

// decoder reads the clicks of a request. What it finds first, in the order of the text, is what it reports, except that
// a body that is not JSON is always reported as such.
type decoder struct {
	scanner
	clicks []input
	max    int // clicks a request may have
}

// decodeJSON reads a body of one object or an array of objects.
func (d *decoder) decodeJSON(body []byte) *refusal {
	if r := d.begin(body); r != nil {
		return r
	}
	r := d.document()
	if r != nil && r.reason != reasonMalformed {
		if err := wellFormed(body); err != nil {
			return &refusal{reason: reasonMalformed, index: -1, detail: err.Error()}
		}
	}
	return r
}

// decodeLines reads a body of objects, each on a line of its own. Empty lines are skipped.
func (d *decoder) decodeLines(body []byte) *refusal {
	if r := d.begin(body); r != nil {
		return r
	}
	r := d.lines(body)
	if r == nil || r.reason == reasonMalformed {
		return r
	}
	index, at := 0, 0
	for line := range bytes.Lines(body) {
		if len(bytes.TrimLeft(line, " \t\r\n")) > 0 {
			if err := wellFormed(line); err != nil {
				return &refusal{reason: reasonMalformed, index: index, detail: fmt.Sprintf("in the line at byte %d: %v", at, err)}
			}
			index++
		}
		at += len(line)
	}
	return r
}

func (d *decoder) begin(body []byte) *refusal {
	d.clicks = d.clicks[:0]
	d.reset(body)
	if !utf8.Valid(body) {
		return d.syntax("the body is not UTF-8")
	}
	return nil
}

// wellFormed tells what keeps the text from being JSON. It is only asked once something else is wrong already.
func wellFormed(text []byte) error {
	if json.Valid(text) {
		return nil
	}
	var v json.RawMessage
	err := json.Unmarshal(text, &v)
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return fmt.Errorf("%w, at byte %d", syntax, syntax.Offset)
	}
	return err
}

func (d *decoder) document() *refusal {
	switch d.next() {
	case '{':
		if r := d.click(); r != nil {
			return r
		}
	case '[':
		if r := d.array(); r != nil {
			return r
		}
	case 0:
		return d.syntax("the body is empty")
	default:
		return d.wrongShape(-1, "the body must be an object or an array of objects")
	}
	if d.next(); d.pos < len(d.in) {
		return d.syntax("something follows the JSON text")
	}
	if len(d.clicks) == 0 {
		return &refusal{reason: reasonEmpty, index: -1, detail: "the array has no click in it"}
	}
	return nil
}

func (d *decoder) array() *refusal {
	d.pos++
	if d.take(']') {
		return nil
	}
	for {
		if d.next() != '{' {
			return d.wrongShape(len(d.clicks), "an element of the array must be an object")
		}
		if r := d.click(); r != nil {
			return r
		}
		switch {
		case d.take(','):
		case d.take(']'):
			return nil
		default:
			return d.malformed("a comma or the end of the array is missing")
		}
	}
}

func (d *decoder) lines(body []byte) *refusal {
	for end := 0; end < len(body); end++ {
		// The line is the scanner's whole input, so that no click reaches over its end; positions stay those of the body.
		if n := bytes.IndexByte(body[end:], '\n'); n >= 0 {
			end += n
		} else {
			end = len(body)
		}
		d.in = body[:end]
		if d.next() == 0 && d.pos == end {
			continue
		}
		if d.in[d.pos] != '{' {
			return d.wrongShape(len(d.clicks), "a line must be an object")
		}
		if r := d.click(); r != nil {
			return r
		}
		if d.next(); d.pos < end {
			return d.malformed("something follows the object on its line")
		}
	}
	if len(d.clicks) == 0 {
		return &refusal{reason: reasonEmpty, index: -1, detail: "the body has no line with a click"}
	}
	return nil
}

// wrongShape refuses a value that is no object where one must be. Where no value can begin at all, the text is not JSON;
// that is for decodeJSON and decodeLines to see.
func (d *decoder) wrongShape(index int, what string) *refusal {
	return &refusal{reason: reasonInvalid, index: index, rule: ruleShape, detail: what}
}

// malformed refuses the text as no JSON, at the click that is being read.
func (d *decoder) malformed(what string) *refusal {
	r := d.syntax(what)
	r.index = len(d.clicks)
	return r
}

// click takes an object, whose brace must be what follows, and appends what it says to the clicks.
func (d *decoder) click() *refusal {
	index := len(d.clicks)
	if index == d.max {
		return &refusal{reason: reasonTooMany, index: -1, detail: "a request may have " + strconv.Itoa(d.max) + " clicks; send the rest in another"}
	}
	d.clicks = append(d.clicks, input{})
	r := d.fields(&d.clicks[index])
	if r != nil {
		d.clicks = d.clicks[:index]
		r.index = index
	}
	return r
}

func (d *decoder) fields(c *input) *refusal {
	d.pos++
	if d.take('}') {
		return missingLink()
	}
	var seen field
	for {
		if d.next() != '"' {
			return d.syntax("the name of a field is missing")
		}
		name, _, r := d.quoted()
		if r != nil {
			return r
		}
		if !d.take(':') {
			return d.syntax("the colon after a field's name is missing")
		}
		f := fieldOf(name)
		switch {
		case f == 0:
			return broken(ruleKnown, "it has a field that a click does not have; the fields are "+fieldNames)
		case seen&f != 0:
			return broken(ruleOnce, "it has the field "+f.name()+" twice")
		}
		seen |= f
		if r := d.value(f, c); r != nil {
			return r
		}
		switch {
		case d.take(','):
		case d.take('}'):
			if seen&fieldLink == 0 {
				return missingLink()
			}
			return nil
		default:
			return d.syntax("a comma or the end of an object is missing")
		}
	}
}

func missingLink() *refusal { return broken(ruleRequired, "it has no link") }

// broken refuses a click for a rule. The caller knows which click it is.
func broken(r rule, detail string) *refusal {
	return &refusal{reason: reasonInvalid, index: -1, rule: r, detail: detail}
}

// field is one of the fields of a click, as a bit.
type field uint8

const (
	fieldLink field = 1 << iota
	fieldID
	fieldAt
	fieldReferrer
	fieldCountry
	fieldUserAgent
	fieldBot
)

const fieldNames = "link, id, at, referrer, country, user_agent, bot"

func fieldOf(name []byte) field {
	switch string(name) {
	case "link":
		return fieldLink
	case "id":
		return fieldID
	case "at":
		return fieldAt
	case "referrer":
		return fieldReferrer
	case "country":
		return fieldCountry
	case "user_agent":
		return fieldUserAgent
	case "bot":
		return fieldBot
	default:
		return 0
	}
}

func (f field) name() string {
	switch f {
	case fieldLink:
		return "link"
	case fieldID:
		return "id"
	case fieldAt:
		return "at"
	case fieldReferrer:
		return "referrer"
	case fieldCountry:
		return "country"
	case fieldUserAgent:
		return "user_agent"
	default:
		return "bot"
	}
}

// value takes the value of a field and checks it against the field's rule.
func (d *decoder) value(f field, c *input) *refusal {
	first := d.next()
	if f == fieldBot {
		c.botGiven = true
		c.bot = first == 't'
		if first == 't' && d.word("true") || first == 'f' && d.word("false") {
			return nil
		}
		return broken(ruleType, "bot must be true or false")
	}
	if first != '"' {
		return broken(ruleType, f.name()+" must be a string; leave it out where there is nothing to say")
	}
	text, lone, r := d.quoted()
	if r != nil {
		return r
	}
	if lone {
		return broken(ruleText, f.name()+" has half of a surrogate pair, which is no character")
	}
	return c.set(f, text)
}

// set takes the text of a field that has one.
func (c *input) set(f field, text []byte) *refusal {
	switch f {
	case fieldLink:
		if !click.ValidLink(text) {
			return broken(ruleLink, click.CheckLink(text).Error())
		}
		c.link = text
	case fieldID:
		id, err := click.ParseID(text)
		if err != nil {
			return broken(ruleID, err.Error())
		}
		c.id = id
	case fieldAt:
		var ok bool
		if c.atMs, ok = parseTime(text); !ok {
			return broken(ruleAt, `at must be a time as of RFC 3339, like "2026-01-31T12:00:00.250Z"`)
		}
	case fieldCountry:
		return c.setCountry(text)
	case fieldReferrer:
		if len(text) > maxReferrer {
			return broken(ruleReferrer, "referrer is longer than "+strconv.Itoa(maxReferrer)+" bytes")
		}
		c.host = referrerHost(text)
	case fieldUserAgent:
		if len(text) > maxUserAgent {
			return broken(ruleUserAgent, "user_agent is longer than "+strconv.Itoa(maxUserAgent)+" bytes")
		}
		c.userAgent = text
	default:
	}
	return nil
}

func (c *input) setCountry(text []byte) *refusal {
	if len(text) == 2 {
		// Bit 0x20 is what tells the cases of a letter apart.
		a, b := text[0]&^0x20, text[1]&^0x20
		if 'A' <= a && a <= 'Z' && 'A' <= b && b <= 'Z' {
			c.country = [2]byte{a, b}
			return nil
		}
	}
	return broken(ruleCountry, `country must be two letters, an ISO 3166-1 alpha-2 code like "DE"`)
}
