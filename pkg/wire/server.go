package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// ServerMessage is a message from server to client: [Ready], [Subscribed], [Unsubscribed], [Update], [Heartbeat],
// [Goodbye], [Error], or [Unknown] for a type of a later version.
type ServerMessage interface{ messageType() string }

// Ready is the server's first message. All times on the wire are Unix milliseconds.
type Ready struct {
	Protocol    int    `json:"protocol"`
	Connection  string `json:"connection"`   // names the connection in logs of both sides
	Gateway     string `json:"gateway"`      // names the gateway
	HeartbeatMs int64  `json:"heartbeat_ms"` // interval of heartbeats
	Epoch       int64  `json:"epoch"`        // epoch of every number on this connection
	ExpiresAt   int64  `json:"expires_at"`   // when the token expires; 0, and then not on the wire: never
}

// Subscribed answers a subscribe. All three lists are always on the wire.
type Subscribed struct {
	Links   []LinkCount `json:"links"`   // subscribed, with the count that deltas start from
	Denied  []string    `json:"denied"`  // not in the client's grant: not subscribed
	Syncing []string    `json:"syncing"` // subscribed; their counts follow in another Subscribed
}

// LinkCount is the count of a link and where in the log it is true.
type LinkCount struct {
	Link  string `json:"link"`
	Count int64  `json:"count"` // clicks that count, bots included
	Bots  int64  `json:"bots"`  // how many of Count known bots made
	Seq   int64  `json:"seq"`   // next offset of the link's partition, exclusive; 0: before any record
}

// Unsubscribed ends subscriptions.
type Unsubscribed struct {
	Links  []string `json:"links"`
	Reason string   `json:"reason"` // [ReasonGrant], or [ReasonRequest]; empty, and then not on the wire: the latter
}

// Update tells a new count of a link.
type Update struct {
	Link  string `json:"link"`
	Count int64  `json:"count"` // clicks that count, bots included
	Delta int64  `json:"delta"` // what this connection had not been told yet of Count
	Bots  int64  `json:"bots"`  // how many of Count known bots made
	Seq   int64  `json:"seq"`   // next offset of the link's partition, exclusive
	At    int64  `json:"at"`    // record time of the newest counted click, 0: not known
}

// Heartbeat says how far the counts of this connection go.
type Heartbeat struct {
	At         int64 `json:"at"`          // the server's clock
	CompleteTo int64 `json:"complete_to"` // every click that was in the log then is in the counts; 0: not known
	LagMs      int64 `json:"lag_ms"`      // At - CompleteTo
}

// Goodbye comes before the server closes a connection that was in order.
type Goodbye struct {
	Reason           string `json:"reason"` // [ReasonDrain] or [ReasonEpoch]
	ReconnectAfterMs int64  `json:"reconnect_after_ms"`
}

// Error says what was wrong with a message of the client.
type Error struct {
	Code    ErrorCode `json:"code"`
	Message string    `json:"message"` // for people; says how to mend it
}

// Unknown is a message of a type that this version does not know. A client ignores it.
type Unknown struct{ Type string }

func (Ready) messageType() string        { return TypeReady }
func (Subscribed) messageType() string   { return TypeSubscribed }
func (Unsubscribed) messageType() string { return TypeUnsubscribed }
func (Update) messageType() string       { return TypeUpdate }
func (Heartbeat) messageType() string    { return TypeHeartbeat }
func (Goodbye) messageType() string      { return TypeGoodbye }
func (Error) messageType() string        { return TypeError }
func (u Unknown) messageType() string    { return u.Type }

// DecodeServer decodes a message of a server. Members that it does not know are ignored, and so that a client can be
// older than its server, a type that it does not know is no error but an [Unknown].
func DecodeServer(b []byte) (ServerMessage, error) {
	typ := leadingType(b)
	if typ == "" {
		var head struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(b, &head); err != nil {
			return nil, fmt.Errorf("decoding a server's message: %w", err)
		}
		typ = head.Type
	}
	switch typ {
	case TypeUpdate:
		return decode[Update](b)
	case TypeSubscribed:
		return decode[Subscribed](b)
	case TypeUnsubscribed:
		return decode[Unsubscribed](b)
	case TypeHeartbeat:
		return decode[Heartbeat](b)
	case TypeReady:
		return decode[Ready](b)
	case TypeGoodbye:
		return decode[Goodbye](b)
	case TypeError:
		return decode[Error](b)
	case "":
		return nil, errNoType
	default:
		if !json.Valid(b) {
			return nil, fmt.Errorf("decoding a server's message of type %q: not JSON", typ)
		}
		return Unknown{Type: typ}, nil
	}
}

var errNoType = errors.New(`decoding a server's message: it has no "type"`)

// leadingType returns the type of a message that begins with it, as our encoders write them. It saves every update a
// pass of its own; what it does not recognise is read properly.
func leadingType(b []byte) string {
	rest, ok := bytes.CutPrefix(b, []byte(`{"type":"`))
	if !ok {
		return ""
	}
	name, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok || bytes.IndexByte(name, '\\') >= 0 {
		return ""
	}
	return string(name)
}

func decode[M ServerMessage](b []byte) (ServerMessage, error) {
	var m M
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", m.messageType(), err)
	}
	return m, nil
}
