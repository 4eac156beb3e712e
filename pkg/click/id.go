package click

import (
	"encoding/hex"
	"errors"

	"github.com/google/uuid"
)

// ID is an event id: the 16 bytes of a UUID (RFC 9562). It makes a retry of a click recognisable. The zero ID means
// "none": such a click always counts, because nothing can tell that it was seen before.
type ID [16]byte

// ErrID reports text that is no event id.
var ErrID = errors.New(`id must be a UUID in its 36-character form, like "0198c0de-0000-7000-8000-000000000001", and not all zeros`)

// ParseID reads the 36-character form of a UUID in either case. The other forms that some libraries accept (URN, braces,
// bare hex) are refused, so that one event has one spelling; the zero UUID is refused because it means "none".
func ParseID(s string) (ID, error) {
	if len(s) != 36 {
		return ID{}, ErrID
	}
	u, err := uuid.Parse(s)
	if err != nil || u == uuid.Nil {
		return ID{}, ErrID
	}
	return ID(u), nil
}

// NewID mints a random, time-ordered id (UUIDv7). It fails only where the system has no randomness.
func NewID() (ID, error) {
	u, err := uuid.NewV7()
	return ID(u), err
}

// IsZero tells whether the id means "none".
func (id ID) IsZero() bool { return id == ID{} }

// String returns the 36-character form.
func (id ID) String() string {
	var b [36]byte
	return string(id.Append(b[:0]))
}

// Append appends the 36-character form to dst.
func (id ID) Append(dst []byte) []byte {
	dst = hex.AppendEncode(dst, id[0:4])
	for _, part := range [][]byte{id[4:6], id[6:8], id[8:10], id[10:16]} {
		dst = append(dst, '-')
		dst = hex.AppendEncode(dst, part)
	}
	return dst
}
