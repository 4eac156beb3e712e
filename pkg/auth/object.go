package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"unicode"
	"unicode/utf8"
)

// What JSON has to be, beyond being JSON (RFC 8259): two readers of one token must not read two things.
var (
	errNotUTF8   = errors.New("it is not UTF-8")
	errNotJSON   = errors.New("it is not JSON")
	errNoObject  = errors.New("it is no JSON object")
	errDuplicate = errors.New("a member comes twice")
	errMembers   = fmt.Errorf("it has more than %d members", maxMembers)
)

// maxMembers is the most members of an object. Each is compared with those before it, and nobody has signed them yet.
const maxMembers = 100

// members calls take with each member of a JSON object, in their order. Names are as they are spelt: encoding/json would
// take EXP for exp, and of two members that have one name the last (RFC 7519 section 4 and RFC 7515 section 4 let a
// reader refuse those). Its decoder does not, for five times the cost: whether it is JSON is left to it, where in it what
// is can be seen by looking at brackets and quotes then.
func members(data []byte, take func(name, value []byte) *RefusedError) (refused *RefusedError, err error) {
	switch {
	case !utf8.Valid(data):
		return nil, errNotUTF8
	case !json.Valid(data):
		return nil, errNotJSON
	}
	w := walk{data: data}
	if !w.past('{') {
		return nil, errNoObject
	}
	var array [32][]byte
	seen := array[:0]
	for !w.past('}') {
		name, ok := unquoted(w.value())
		switch {
		case !ok:
			return nil, errNotJSON
		case len(seen) == maxMembers:
			return nil, errMembers
		case slices.ContainsFunc(seen, func(other []byte) bool { return bytes.Equal(name, other) }):
			return nil, errDuplicate
		}
		seen = append(seen, name)
		w.past(':')
		if refused := take(name, w.value()); refused != nil {
			return refused, nil
		}
		w.past(',')
	}
	return nil, nil //nolint:nilnil // there was nothing to refuse
}

// walk goes through JSON that is known to be valid.
type walk struct {
	data []byte
	at   int
}

func (w *walk) blanks() {
	for w.at < len(w.data) && (w.data[w.at] == ' ' || w.data[w.at] == '\t' || w.data[w.at] == '\n' || w.data[w.at] == '\r') {
		w.at++
	}
}

// past goes past blanks, and past a character where that is next.
func (w *walk) past(c byte) bool {
	w.blanks()
	if w.at == len(w.data) || w.data[w.at] != c {
		return false
	}
	w.at++
	return true
}

// value goes past a value and returns it.
func (w *walk) value() []byte {
	w.blanks()
	begin, depth := w.at, 0
	for w.at < len(w.data) {
		switch w.data[w.at] {
		case '"':
			w.quoted()
			if depth == 0 {
				return w.data[begin:w.at]
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return w.data[begin:w.at] // of a number, or the like, that is the last of what it is in
			}
			if depth--; depth == 0 {
				w.at++
				return w.data[begin:w.at]
			}
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return w.data[begin:w.at]
			}
		}
		w.at++
	}
	return w.data[begin:w.at]
}

// quoted goes past a string.
func (w *walk) quoted() {
	for w.at++; w.at < len(w.data) && w.data[w.at] != '"'; w.at++ {
		if w.data[w.at] == '\\' {
			w.at++
		}
	}
	w.at = min(w.at+1, len(w.data))
}

// unquoted returns what a JSON string says, and whether it is one.
func unquoted(value []byte) (s []byte, ok bool) {
	if len(value) < 2 || value[0] != '"' {
		return nil, false
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], true
	}
	var decoded string
	err := json.Unmarshal(value, &decoded)
	return []byte(decoded), err == nil
}

// text reads a JSON string, and nothing else: null would be read into a string as well.
func text(value []byte) (s string, ok bool) {
	b, ok := unquoted(value)
	return string(b), ok
}

// texts reads a JSON array of strings.
func texts(value []byte) (all []string, ok bool) {
	w := walk{data: value}
	if !w.past('[') {
		return nil, false
	}
	all = []string{}
	for !w.past(']') {
		s, ok := text(w.value())
		if !ok {
			return nil, false
		}
		all = append(all, s)
		w.past(',')
	}
	return all, true
}

// CheckName refuses what cannot be the name of a subject, a token or a key. Control characters would end up in logs and on
// terminals.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > MaxName:
		return fmt.Errorf("it has %d bytes: at most %d", len(name), MaxName)
	case !utf8.ValidString(name):
		return errNotUTF8
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return errors.New("it has control characters")
		}
	}
	return nil
}
