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
// bare hex) are refused, so that one event has one spelling; the zero UUID is refused because it means "none". It
// allocates nothing for a valid one.
func ParseID[T ~string | ~[]byte](text T) (ID, error) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return ID{}, ErrID
	}
	var (
		digits [32]byte
		id     ID
	)
	copy(digits[0:], text[0:8])
	copy(digits[8:], text[9:13])
	copy(digits[12:], text[14:18])
	copy(digits[16:], text[19:23])
	copy(digits[20:], text[24:36])
	if _, err := hex.Decode(id[:], digits[:]); err != nil || id.IsZero() {
		return ID{}, ErrID
	}
	return id, nil
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
	var text [36]byte
	hex.Encode(text[0:8], id[0:4])
	hex.Encode(text[9:13], id[4:6])
	hex.Encode(text[14:18], id[6:8])
	hex.Encode(text[19:23], id[8:10])
	hex.Encode(text[24:36], id[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return append(dst, text[:]...)
}
