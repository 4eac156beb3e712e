package wire

import "encoding/binary"

// AppendReady appends the message without a frame header, as all encoders here do unless their name says Frame.
func AppendReady(dst []byte, m Ready) []byte {
	dst = append(dst, `{"type":"ready","protocol":`...)
	dst = appendNumber(dst, int64(m.Protocol))
	dst = append(dst, `,"connection":`...)
	dst = appendText(dst, m.Connection)
	dst = append(dst, `,"gateway":`...)
	dst = appendText(dst, m.Gateway)
	dst = append(dst, `,"heartbeat_ms":`...)
	dst = appendNumber(dst, m.HeartbeatMs)
	dst = append(dst, `,"epoch":`...)
	dst = appendNumber(dst, m.Epoch)
	if m.ExpiresAt != 0 {
		dst = append(dst, `,"expires_at":`...)
		dst = appendNumber(dst, m.ExpiresAt)
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
		dst = appendNumber(dst, l.Count)
		dst = append(dst, `,"bots":`...)
		dst = appendNumber(dst, l.Bots)
		dst = append(dst, `,"seq":`...)
		dst = appendNumber(dst, l.Seq)
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
	dst = appendNumber(dst, m.Count)
	dst = append(dst, `,"delta":`...)
	dst = appendNumber(dst, m.Delta)
	dst = append(dst, `,"bots":`...)
	dst = appendNumber(dst, m.Bots)
	dst = append(dst, `,"seq":`...)
	dst = appendNumber(dst, m.Seq)
	dst = append(dst, `,"at":`...)
	dst = appendNumber(dst, m.At)
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
		binary.BigEndian.PutUint16(dst[head+shortHeader:], uint16(n)) //nolint:gosec // a link id and five numbers are below 64 KiB
		return dst
	}
	dst[head+1] = byte(n) //nolint:gosec // at most shortFrame
	copy(dst[head+shortHeader:], dst[head+textHeader:])
	return dst[:len(dst)-(textHeader-shortHeader)]
}

// AppendHeartbeat appends the message.
func AppendHeartbeat(dst []byte, m Heartbeat) []byte {
	dst = append(dst, `{"type":"heartbeat","at":`...)
	dst = appendNumber(dst, m.At)
	dst = append(dst, `,"complete_to":`...)
	dst = appendNumber(dst, m.CompleteTo)
	dst = append(dst, `,"lag_ms":`...)
	dst = appendNumber(dst, m.LagMs)
	return append(dst, '}')
}

// AppendGoodbye appends the message.
func AppendGoodbye(dst []byte, m Goodbye) []byte {
	dst = append(dst, `{"type":"goodbye","reason":`...)
	dst = appendText(dst, m.Reason)
	dst = append(dst, `,"reconnect_after_ms":`...)
	dst = appendNumber(dst, m.ReconnectAfterMs)
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
