package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// KeepInterval is the IntervalMs of a subscribe that does not name one: the pace of the connection stays as it is.
const KeepInterval = -1

// ClientMessage is a message from client to server. Which members it has depends on its type.
type ClientMessage struct {
	// Type is [TypeSubscribe], [TypeUnsubscribe] or [TypeAuth].
	Type string
	// Links of a subscribe or unsubscribe, in the client's order; may be empty and may repeat.
	Links []string
	// IntervalMs of a subscribe is the least time between two updates of a link on the connection, from now on, in
	// milliseconds; 0 is no limit. It is [KeepInterval] where the message does not say.
	IntervalMs int64
	// Token of an auth.
	Token string
}

// DecodeError says why a message of a client is refused. Its text names no input but names of members, cut to size.
type DecodeError struct {
	// Code and Message are the `error` that answers it.
	Code    ErrorCode
	Message string
	// Close is the code to close the connection with after the answer; 0: the connection goes on. It is set for what is
	// no JSON object: whoever sends that speaks another protocol.
	Close CloseCode
}

// Error returns the code and the message.
func (e *DecodeError) Error() string { return string(e.Code) + ": " + e.Message }

// member is a member of the JSON object, undecoded.
type member struct {
	name  string
	value json.RawMessage
}

// DecodeClient decodes a message of a client, strictly: an unknown member, a repeated one or one of the wrong JSON type
// is an error, because a client that misspells interval_ms should hear of it. Names are compared exactly, which
// encoding/json by itself does not do. The input must be valid UTF-8 and at most [MaxClientMessage] long; both are for
// the caller to refuse, with a close code of their own. The error is a *[DecodeError].
func DecodeClient(b []byte) (ClientMessage, error) {
	if token, ok := plainAuth(b); ok {
		return ClientMessage{Type: TypeAuth, Token: token, IntervalMs: KeepInterval}, nil
	}
	members, err := readMembers(b)
	if err != nil {
		return ClientMessage{}, err
	}
	m := ClientMessage{IntervalMs: KeepInterval}
	known, err := readType(&m, members)
	if err != nil {
		return ClientMessage{}, err
	}
	seen := make([]string, 0, len(known))
	for _, f := range members {
		switch {
		case !slices.Contains(known, f.name):
			return ClientMessage{}, badMessage("%q is no member of %s: it has %s", cut(f.name), m.Type, strings.Join(known, ", "))
		case slices.Contains(seen, f.name):
			return ClientMessage{}, badMessage("the member %q comes twice", f.name)
		}
		seen = append(seen, f.name)
		if err := readMember(&m, f); err != nil {
			return ClientMessage{}, err
		}
	}
	for _, name := range known {
		if !slices.Contains(seen, name) && name != optional {
			return ClientMessage{}, badMessage("%s needs the member %q", m.Type, name)
		}
	}
	return m, nil
}

// plainAuth reads an auth as every client writes it. A gateway that comes back is sent thousands of them at once, and what
// the general way leaves to the collector is several times the message.
func plainAuth(b []byte) (token string, ok bool) {
	b, ok = bytes.CutPrefix(b, []byte(`{"type":"auth","token":"`))
	if !ok {
		return "", false
	}
	if b, ok = bytes.CutSuffix(b, []byte(`"}`)); !ok || len(b) > MaxTokenLen {
		return "", false
	}
	for _, c := range b {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' { // what JSON could mean something else by
			return "", false
		}
	}
	return string(b), true
}

// optional is the one member of a client's message that may be left out.
const optional = "interval_ms"

// readMembers checks that b is one JSON object and takes it apart.
func readMembers(b []byte) ([]member, error) {
	if !json.Valid(b) { // the whole grammar, nesting too, before anything is looked at
		return nil, notJSON(b)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if start, _ := dec.Token(); start != json.Delim('{') {
		return nil, &DecodeError{
			Code: ErrBadMessage, Close: ClosePolicyViolation,
			Message: `a message is a JSON object, like {"type":"subscribe","links":["x7Kp2"]}`,
		}
	}
	var members []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, badMessage("reading a member's name: %v", err)
		}
		f := member{}
		f.name, _ = name.(string) // the name of a member is a string, or the grammar would not have held
		if err := dec.Decode(&f.value); err != nil {
			return nil, badMessage("reading the member %q: %v", cut(f.name), err)
		}
		if members = append(members, f); len(members) > maxMembers {
			return nil, badMessage("a message has at most %d members", maxMembers)
		}
	}
	return members, nil
}

// notJSON refuses b and says where it stops being JSON.
func notJSON(b []byte) *DecodeError {
	var whole json.RawMessage
	err := json.Unmarshal(b, &whole)
	text := "it is not JSON"
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		text = fmt.Sprintf("this is not JSON: %v at byte %d", syntax, syntax.Offset)
	}
	return &DecodeError{Code: ErrBadMessage, Close: ClosePolicyViolation, Message: "a message is a JSON object; " + text}
}

// maxMembers is more than any message has. It bounds the work for an object of five thousand empty names.
const maxMembers = 8

// readType finds the type and returns the names of the members that a message of it may have.
func readType(m *ClientMessage, members []member) (known []string, err error) {
	for _, f := range members {
		if f.name != "type" {
			continue
		}
		if m.Type, err = readString(f); err != nil {
			return nil, err
		}
		switch m.Type {
		case TypeSubscribe:
			return []string{"type", "links", optional}, nil
		case TypeUnsubscribe:
			return []string{"type", "links"}, nil
		case TypeAuth:
			return []string{"type", "token"}, nil
		}
		return nil, badMessage("the type %q is not known: send %s, %s or %s", cut(m.Type), TypeSubscribe, TypeUnsubscribe, TypeAuth)
	}
	return nil, badMessage(`a message needs the member "type": %s, %s or %s`, TypeSubscribe, TypeUnsubscribe, TypeAuth)
}

// readMember reads the value of a known member.
func readMember(m *ClientMessage, f member) (err error) {
	switch f.name {
	case "links":
		m.Links, err = readLinks(f)
	case "interval_ms":
		m.IntervalMs, err = strconv.ParseInt(string(f.value), 10, 64)
		if err != nil || m.IntervalMs < 0 || m.IntervalMs > MaxInterval.Milliseconds() {
			return badMessage("interval_ms is an integer from 0 to %d", MaxInterval.Milliseconds())
		}
	case "token":
		m.Token, err = readString(f)
		if len(m.Token) > MaxTokenLen {
			return badMessage("token has more than %d bytes", MaxTokenLen)
		}
	}
	return err
}

// readLinks reads the list of links. The message of an invalid one names its index and the rule it breaks.
func readLinks(f member) ([]string, error) {
	var links []string
	if err := json.Unmarshal(f.value, &links); err != nil || links == nil {
		return nil, wrongLinks(f)
	}
	for i, link := range links { // a null became an empty one
		if err := click.CheckLink(link); err != nil {
			return nil, &DecodeError{Code: ErrBadLink, Message: fmt.Sprintf("links[%d]: %v", i, err)}
		}
	}
	return links, nil
}

// wrongLinks says why links is no list of strings.
func wrongLinks(f member) *DecodeError {
	var items []json.RawMessage
	if err := json.Unmarshal(f.value, &items); err == nil {
		for i, item := range items {
			if item[0] != '"' {
				return &DecodeError{Code: ErrBadLink, Message: fmt.Sprintf("links[%d] is no string: %s", i, click.LinkRule)}
			}
		}
	}
	return badMessage(`links is an array of link ids, like ["x7Kp2","a3bZ9"]`)
}

func readString(f member) (s string, err error) {
	if f.value[0] != '"' || json.Unmarshal(f.value, &s) != nil {
		return "", badMessage("%s is a string", f.name)
	}
	return s, nil
}

func badMessage(format string, args ...any) *DecodeError {
	return &DecodeError{Code: ErrBadMessage, Message: fmt.Sprintf(format, args...)}
}

// cut bounds what an answer repeats of a client's message.
func cut(s string) string {
	const most = 32
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// AppendClient appends a client's message. Its links must be valid link ids: they are not escaped.
func AppendClient(dst []byte, m ClientMessage) []byte {
	dst = append(dst, `{"type":`...)
	dst = appendText(dst, m.Type)
	switch m.Type {
	case TypeSubscribe, TypeUnsubscribe:
		dst = append(dst, `,"links":`...)
		dst = appendLinks(dst, m.Links)
	case TypeAuth:
		dst = append(dst, `,"token":`...)
		dst = appendText(dst, m.Token)
	}
	if m.Type == TypeSubscribe && m.IntervalMs != KeepInterval {
		dst = append(dst, `,"interval_ms":`...)
		dst = appendNumber(dst, m.IntervalMs)
	}
	return append(dst, '}')
}
