package apikey

import (
	"net/http"
	"time"
)

// Authorize puts the key into the header of a request.
func (k Key) Authorize(header http.Header, _ []byte, _ time.Time) {
	header.Set(authorization, scheme+" "+k.Reveal())
}

// Signer signs what the key of an id sends. Formatted, it is the id.
type Signer struct {
	id     string
	secret *Secret
}

// NewSigner returns a signer.
func NewSigner(id string, secret *Secret) (*Signer, error) {
	if err := CheckID(id); err != nil {
		return nil, err
	}
	return &Signer{id, secret}, nil
}

// Authorize signs a body that is sent now, in the header of its request.
func (s *Signer) Authorize(header http.Header, body []byte, now time.Time) {
	header.Set(SignatureHeader, s.secret.Sign(s.id, body, now))
}

// String returns the id, without the secret.
func (s *Signer) String() string { return Key{id: s.id}.String() }

// GoString is String.
func (s *Signer) GoString() string { return s.String() }
