package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// MaxID is the most characters of a key's id. It bounds what is kept and shown per key.
const MaxID = 32

const (
	keyPrefix = "lpk_" // tells what it is, to people and to those who look for secrets in repositories
	separator = '_'    // between the id and the secret: neither has one
	secretLen = 52     // of base32: 260 bits
	maxKey    = len(keyPrefix) + MaxID + 1 + secretLen
)

// Key is an API key, lpk_<id>_<secret>. Formatted, it is its id and a mark for the rest.
type Key struct{ id, secret string }

// errID is the rule of ids. Its text repeats nothing: what stands in the place of an id may be a secret.
var errID = fmt.Errorf("an id is 1 to %d characters of a-z 0-9 and -, and does not begin with -", MaxID)

// CheckID tells what is wrong with an id, if anything is.
func CheckID(id string) error {
	if !validID(id) {
		return errID
	}
	return nil
}

func validID(id string) bool {
	if id == "" || len(id) > MaxID || id[0] == '-' {
		return false
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || 'z' < c) && (c < '0' || '9' < c) && c != '-' {
			return false
		}
	}
	return true
}

// New makes a key of an id.
func New(id string) (Key, error) {
	if err := CheckID(id); err != nil {
		return Key{}, err
	}
	return Key{id: id, secret: randomText()}, nil
}

// randomText is 52 characters of base32 that nobody can guess.
func randomText() string { return rand.Text() + rand.Text() }

// errKey says what a key looks like, and nothing of the one that does not.
var errKey = errors.New("a key is lpk_, its id, _ and 52 characters of A-Z 2-7")

// Parse reads a key. The key keeps the memory of the text.
func Parse(text string) (Key, error) {
	if k, ok := parse(text); ok {
		return k, nil
	}
	return Key{}, errKey
}

func parse(text string) (Key, bool) {
	if len(text) > maxKey || !strings.HasPrefix(text, keyPrefix) {
		return Key{}, false
	}
	text = text[len(keyPrefix):]
	at := strings.IndexByte(text, separator)
	if at < 0 {
		return Key{}, false
	}
	k := Key{id: text[:at], secret: text[at+1:]}
	return k, validID(k.id) && isSecret(k.secret)
}

// isSecret holds a secret to the form of those that are made here: one that somebody thought of is not stored safely by its
// hash.
func isSecret(s string) bool {
	if len(s) != secretLen {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'A' || 'Z' < c) && (c < '2' || '7' < c) {
			return false
		}
	}
	return true
}

// ID names the key. It is no secret.
func (k Key) ID() string { return k.id }

// Reveal returns the whole key, secret and all.
func (k Key) Reveal() string { return keyPrefix + k.id + string(separator) + k.secret }

// Hash returns the SHA-256 of the secret: what is stored of a key. It does not allocate.
func (k Key) Hash() [sha256.Size]byte {
	var text [secretLen]byte
	copy(text[:], k.secret)
	return sha256.Sum256(text[:])
}

// String returns the key without its secret.
func (k Key) String() string { return keyPrefix + k.id + string(separator) + "…" }

// GoString is String: a secret does not get into a log by %#v either.
func (k Key) GoString() string { return k.String() }
