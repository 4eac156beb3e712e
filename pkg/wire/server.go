package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
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
	CompleteTo int64 `json:"complete_to"` // every click that ingest received before it is in the counts; 0: not known
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

// AppendReady appends the message without a frame header, as all encoders here do unless their name says Frame.
func AppendReady(dst []byte, m Ready) []byte {
	dst = append(dst, `{"type":"ready","protocol":`...)
	dst = strconv.AppendInt(dst, int64(m.Protocol), 10)
	dst = append(dst, `,"connection":`...)
	dst = appendText(dst, m.Connection)
	dst = append(dst, `,"gateway":`...)
	dst = appendText(dst, m.Gateway)
	dst = append(dst, `,"heartbeat_ms":`...)
	dst = strconv.AppendInt(dst, m.HeartbeatMs, 10)
	dst = append(dst, `,"epoch":`...)
	dst = strconv.AppendInt(dst, m.Epoch, 10)
	if m.ExpiresAt != 0 {
		dst = append(dst, `,"expires_at":`...)
		dst = strconv.AppendInt(dst, m.ExpiresAt, 10)
	}
	return append(dst, '}')
}

// AppendSubscribed appends the message. Its links must be valid link ids: they are not escaped.
func AppendSubscribed(dst []byte, m Subscribed) []byte {
	dst = append(dst, `{"type":"subscribed","links":[`...)
	for i := range m.Links {
		l := &m.Links[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"link":"`...)
		dst = append(dst, l.Link...)
		dst = append(dst, `","count":`...)
		dst = strconv.AppendInt(dst, l.Count, 10)
		dst = append(dst, `,"bots":`...)
		dst = strconv.AppendInt(dst, l.Bots, 10)
		dst = append(dst, `,"seq":`...)
		dst = strconv.AppendInt(dst, l.Seq, 10)
		dst = append(dst, '}')
	}
	dst = append(dst, `],"denied":`...)
	dst = appendLinks(dst, m.Denied)
	dst = append(dst, `,"syncing":`...)
	dst = appendLinks(dst, m.Syncing)
	return append(dst, '}')
}

// AppendUnsubscribed appends the message. Its links must be valid link ids: they are not escaped.
func AppendUnsubscribed(dst []byte, m Unsubscribed) []byte {
	dst = append(dst, `{"type":"unsubscribed","links":`...)
	dst = appendLinks(dst, m.Links)
	if m.Reason != "" {
		dst = append(dst, `,"reason":`...)
		dst = appendText(dst, m.Reason)
	}
	return append(dst, '}')
}

// AppendUpdate appends the message. Its link must be a valid link id: it is not escaped.
func AppendUpdate(dst []byte, m Update) []byte {
	dst = append(dst, `{"type":"click_update","link":"`...)
	dst = append(dst, m.Link...)
	dst = append(dst, `","count":`...)
	dst = strconv.AppendInt(dst, m.Count, 10)
	dst = append(dst, `,"delta":`...)
	dst = strconv.AppendInt(dst, m.Delta, 10)
	dst = append(dst, `,"bots":`...)
	dst = strconv.AppendInt(dst, m.Bots, 10)
	dst = append(dst, `,"seq":`...)
	dst = strconv.AppendInt(dst, m.Seq, 10)
	dst = append(dst, `,"at":`...)
	dst = strconv.AppendInt(dst, m.At, 10)
	return append(dst, '}')
}

// AppendUpdateFrame appends the message as one text frame, in one go. Its link must be a valid link id.
func AppendUpdateFrame(dst []byte, m Update) []byte {
	head := len(dst)
	dst = AppendUpdate(append(dst, finText, len16, 0, 0), m)
	return fixHeader(dst, head)
}

// fixHeader completes the header of a text frame that begins at head, for which textHeader bytes were kept free. A short
// payload moves up, because RFC 6455 section 5.2 demands the shortest form of a length.
func fixHeader(dst []byte, head int) []byte {
	n := len(dst) - head - textHeader
	if n > shortFrame {
		dst[head+2], dst[head+3] = byte(n>>8), byte(n)
		return dst
	}
	dst[head+1] = byte(n)
	copy(dst[head+shortHeader:], dst[head+textHeader:])
	return dst[:len(dst)-(textHeader-shortHeader)]
}

// AppendHeartbeat appends the message.
func AppendHeartbeat(dst []byte, m Heartbeat) []byte {
	dst = append(dst, `{"type":"heartbeat","at":`...)
	dst = strconv.AppendInt(dst, m.At, 10)
	dst = append(dst, `,"complete_to":`...)
	dst = strconv.AppendInt(dst, m.CompleteTo, 10)
	dst = append(dst, `,"lag_ms":`...)
	dst = strconv.AppendInt(dst, m.LagMs, 10)
	return append(dst, '}')
}

// AppendGoodbye appends the message.
func AppendGoodbye(dst []byte, m Goodbye) []byte {
	dst = append(dst, `{"type":"goodbye","reason":`...)
	dst = appendText(dst, m.Reason)
	dst = append(dst, `,"reconnect_after_ms":`...)
	dst = strconv.AppendInt(dst, m.ReconnectAfterMs, 10)
	return append(dst, '}')
}

// AppendError appends the message.
func AppendError(dst []byte, m Error) []byte {
	dst = append(dst, `{"type":"error","code":`...)
	dst = appendText(dst, string(m.Code))
	dst = append(dst, `,"message":`...)
	dst = appendText(dst, m.Message)
	return append(dst, '}')
}

func appendLinks(dst []byte, links []string) []byte {
	dst = append(dst, '[')
	for i, link := range links {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = append(dst, link...)
		dst = append(dst, '"')
	}
	return append(dst, ']')
}

// DecodeServer decodes a message of a server. Members that it does not know are ignored, and so that a client can be
// older than its server, a type that it does not know is no error but an [Unknown].
func DecodeServer(b []byte) (ServerMessage, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("decoding a server's message: %w", err)
	}
	switch head.Type {
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
	default:
		return Unknown{Type: head.Type}, nil
	}
}

func decode[M ServerMessage](b []byte) (ServerMessage, error) {
	var m M
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", m.messageType(), err)
	}
	return m, nil
}
