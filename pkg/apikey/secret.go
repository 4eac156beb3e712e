package apikey

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"hash"
	"strconv"
	"sync"
	"time"
)

// Secret signs bodies, and tells whether a signature is one of it: the sender and ingest both have it. It is safe for
// concurrent use. Formatted, it says nothing.
type Secret struct {
	text string
	// states are of *signing. To begin anew with a state costs a tenth of making one.
	states sync.Pool
}

// signing is what one signature is computed in.
type signing struct {
	mac hash.Hash
	// begin is the time and the full stop before the body; sum is the result. Both would be allocated elsewhere: they are
	// passed to an interface.
	begin [maxSeconds + 10]byte
	sum   [sha256.Size]byte
}

const (
	signingPrefix = "lps_"
	minSigning    = 32
	maxSigning    = 256
)

// NewSecret makes a secret to sign with.
func NewSecret() *Secret { return newSecret(signingPrefix + randomText()) }

// errSecret says what a secret looks like, and nothing of the one that does not.
var errSecret = errors.New("a signing secret is 32 to 256 printable characters of ASCII without spaces")

// ParseSecret reads a secret to sign with. Its bytes are the key of the HMAC as they stand there. It may be made elsewhere,
// as long as it is too long to be guessed.
func ParseSecret(text string) (*Secret, error) {
	if len(text) < minSigning || len(text) > maxSigning {
		return nil, errSecret
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c > '~' {
			return nil, errSecret
		}
	}
	return newSecret(text), nil
}

func newSecret(text string) *Secret {
	s := &Secret{text: text}
	s.states.New = func() any { return &signing{mac: hmac.New(sha256.New, []byte(text))} }
	return s
}

// Reveal returns the secret.
func (s *Secret) Reveal() string { return s.text }

// String returns no part of the secret.
func (s *Secret) String() string { return signingPrefix + "…" }

// GoString is String.
func (s *Secret) GoString() string { return s.String() }

// Sign returns the value of the [SignatureHeader] for a body that is sent now, by the key that id names.
func (s *Secret) Sign(id string, body []byte, now time.Time) string {
	p := Presented{key: Key{id: id}, signed: true, at: now.Unix()}
	p.mac = s.mac(p.at, body)
	return p.header()
}

// Verify tells whether what was presented is a signature of the body. It does not look at its time, which [Presented.Timely]
// does, and takes as long whatever is wrong.
func (s *Secret) Verify(p *Presented, body []byte) bool {
	mac := s.mac(p.at, body)
	return p.signed && subtle.ConstantTimeCompare(mac[:], p.mac[:]) == 1
}

// mac is the HMAC-SHA-256 of the time, a full stop, and the body.
func (s *Secret) mac(at int64, body []byte) [sha256.Size]byte {
	st, _ := s.states.Get().(*signing) // New makes nothing else
	defer s.states.Put(st)
	st.mac.Reset()
	st.mac.Write(append(strconv.AppendInt(st.begin[:0], at, 10), '.'))
	st.mac.Write(body)
	st.mac.Sum(st.sum[:0])
	return st.sum
}
