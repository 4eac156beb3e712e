package click

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// RecordVersion is the version of the record that this code writes and the only one that it counts. It is the message
// linkpulse.v1.Click of proto/linkpulse/v1/click.proto; the field numbers below are that file's.
const RecordVersion = 1

const (
	fieldVersion      protowire.Number = 1
	fieldEventID      protowire.Number = 2
	fieldBot          protowire.Number = 3
	fieldAtMs         protowire.Number = 4
	fieldCountry      protowire.Number = 5
	fieldReferrerHost protowire.Number = 6
)

// Record is the value of a Kafka record of the clicks topic. The link is the record's key, and the time that counts is
// the record's timestamp (when ingest received the click), so neither is repeated here.
type Record struct {
	ID           ID     // zero: none
	Bot          bool   // made by a known bot
	AtMs         int64  // when the client says it happened, Unix milliseconds; informational, 0: not said
	Country      string // ISO 3166-1 alpha-2, empty: not said
	ReferrerHost string // host of the referrer, empty: not said
}

// Append appends the record in protobuf wire form. It allocates only if dst has no room.
func (r *Record) Append(dst []byte) []byte {
	dst = protowire.AppendTag(dst, fieldVersion, protowire.VarintType)
	dst = protowire.AppendVarint(dst, RecordVersion)
	if !r.ID.IsZero() {
		dst = protowire.AppendTag(dst, fieldEventID, protowire.BytesType)
		dst = protowire.AppendBytes(dst, r.ID[:])
	}
	if r.Bot {
		dst = protowire.AppendTag(dst, fieldBot, protowire.VarintType)
		dst = protowire.AppendVarint(dst, 1)
	}
	if r.AtMs != 0 {
		dst = protowire.AppendTag(dst, fieldAtMs, protowire.VarintType)
		dst = protowire.AppendVarint(dst, uint64(r.AtMs)) //nolint:gosec // protobuf int64: two's complement by definition
	}
	if r.Country != "" {
		dst = protowire.AppendTag(dst, fieldCountry, protowire.BytesType)
		dst = protowire.AppendString(dst, r.Country)
	}
	if r.ReferrerHost != "" {
		dst = protowire.AppendTag(dst, fieldReferrerHost, protowire.BytesType)
		dst = protowire.AppendString(dst, r.ReferrerHost)
	}
	return dst
}

// Poison: why a record of the topic cannot be counted. Every reader of the log decides it by [Scan] alone, so all decide
// the same.
var (
	ErrPoisonLink    = errors.New("poison record: the key is no link id")
	ErrPoisonVersion = errors.New("poison record: unknown version")
	ErrPoisonValue   = errors.New("poison record: the value does not decode")
)

// Scan reads what counting needs from a Kafka record: the event id and the bot flag. It looks at every field, because
// whether a record is poison must not depend on the order of its fields, but it decodes only these two. It never
// allocates. The error is one of the ErrPoison values, bare.
func Scan(key, value []byte) (id ID, bot bool, err error) {
	if !ValidLink(key) {
		return ID{}, false, ErrPoisonLink
	}
	version := uint64(0)
	for len(value) > 0 {
		num, typ, n := protowire.ConsumeTag(value)
		if n < 0 {
			return ID{}, false, ErrPoisonValue
		}
		value = value[n:]
		switch {
		case num == fieldVersion && typ == protowire.VarintType:
			version, n = protowire.ConsumeVarint(value)
		case num == fieldBot && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(value)
			bot = v != 0
		case num == fieldEventID && typ == protowire.BytesType:
			var b []byte
			b, n = protowire.ConsumeBytes(value)
			if n >= 0 && len(b) != len(id) && len(b) != 0 {
				return ID{}, false, ErrPoisonValue
			}
			id = ID{}
			copy(id[:], b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, value)
		}
		if n < 0 {
			return ID{}, false, ErrPoisonValue
		}
		value = value[n:]
	}
	if version != RecordVersion {
		return ID{}, false, ErrPoisonVersion
	}
	return id, bot, nil
}

// Decode reads a whole record. Fields that it does not know are skipped, as protobuf asks. Its error wraps one of the
// ErrPoison values. Counting uses [Scan]; this is for tools that show records.
func Decode(key, value []byte) (Record, error) {
	id, bot, err := Scan(key, value)
	if err != nil {
		return Record{}, fmt.Errorf("decoding click: %w", err)
	}
	r := Record{ID: id, Bot: bot}
	for len(value) > 0 { // every length was checked by Scan
		num, typ, n := protowire.ConsumeTag(value)
		value = value[n:]
		switch {
		case num == fieldAtMs && typ == protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(value)
			r.AtMs = int64(v) //nolint:gosec // protobuf int64: two's complement by definition
		case num == fieldCountry && typ == protowire.BytesType:
			r.Country, n = protowire.ConsumeString(value)
		case num == fieldReferrerHost && typ == protowire.BytesType:
			r.ReferrerHost, n = protowire.ConsumeString(value)
		default:
			n = protowire.ConsumeFieldValue(num, typ, value)
		}
		value = value[n:]
	}
	return r, nil
}
