package click

import "fmt"

// MaxLinkLen is the longest link id, in bytes.
const MaxLinkLen = 128

// LinkRule states the rule for link ids in the words that every error message uses.
const LinkRule = "a link id is 1 to 128 characters of A-Z a-z 0-9 . _ ~ : -"

// LinkError reports a link id that breaks [LinkRule].
type LinkError struct {
	// Pos is the index of the first byte that is not allowed, or -1 where the length is wrong.
	Pos int
	// Len is the length in bytes of what was given.
	Len int
}

// Error says what is wrong and how to mend it. It never repeats the input, which may be hostile.
func (e *LinkError) Error() string {
	switch {
	case e.Len == 0:
		return "link id is empty: " + LinkRule
	case e.Pos < 0:
		return fmt.Sprintf("link id has %d bytes: %s", e.Len, LinkRule)
	default:
		return fmt.Sprintf("link id has a character that is not allowed at byte %d: %s", e.Pos, LinkRule)
	}
}

// CheckLink returns nil for a valid link id and a *[LinkError] otherwise.
func CheckLink[T ~string | ~[]byte](link T) error {
	if len(link) == 0 || len(link) > MaxLinkLen {
		return &LinkError{Pos: -1, Len: len(link)}
	}
	for i := range len(link) {
		if !linkByte(link[i]) {
			return &LinkError{Pos: i, Len: len(link)}
		}
	}
	return nil
}

// ValidLink is CheckLink without the reason: it never allocates.
func ValidLink[T ~string | ~[]byte](link T) bool {
	if len(link) == 0 || len(link) > MaxLinkLen {
		return false
	}
	for i := range len(link) {
		if !linkByte(link[i]) {
			return false
		}
	}
	return true
}

func linkByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return c == '.' || c == '_' || c == '~' || c == ':' || c == '-'
}
