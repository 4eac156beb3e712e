// Package mint makes tokens, and keys to make them with. It is for the operator's program, for the system on one machine
// and for tests: services never make tokens, and those of a deployment are usually made by somebody else, who signs
// people in.
package mint

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/click"
)

// Signer makes tokens that a verifier with the other half of its key believes. It is safe for concurrent use.
type Signer struct {
	id     string
	method jwt.SigningMethod
	key    any // as the method wants it
}

// NewSigner returns a signer with a private key, of Ed25519, ECDSA or RSA, whose public half has the id.
func NewSigner(id string, private crypto.Signer) (*Signer, error) {
	if err := auth.CheckName(id); err != nil {
		return nil, fmt.Errorf("the key's id: %w", err)
	}
	s := &Signer{id: id, key: private}
	switch private := private.(type) {
	case ed25519.PrivateKey:
		s.method = jwt.SigningMethodEdDSA
	case *rsa.PrivateKey:
		s.method = jwt.SigningMethodRS256
	case *ecdsa.PrivateKey:
		switch private.Curve.Params().BitSize {
		case 256:
			s.method = jwt.SigningMethodES256
		case 384:
			s.method = jwt.SigningMethodES384
		case 521:
			s.method = jwt.SigningMethodES512
		}
	}
	if s.method == nil {
		return nil, fmt.Errorf("keys of type %T sign no tokens", private)
	}
	return s, nil
}

// NewSecretSigner returns a signer with a secret that the verifier has too.
func NewSecretSigner(id string, secret []byte) (*Signer, error) {
	if err := auth.CheckName(id); err != nil {
		return nil, fmt.Errorf("the secret's id: %w", err)
	}
	if len(secret) < auth.LeastSecret {
		return nil, fmt.Errorf("a secret of %d bytes can be guessed: it must have at least %d", len(secret), auth.LeastSecret)
	}
	return &Signer{id: id, method: jwt.SigningMethodHS256, key: secret}, nil
}

// Load returns a signer with what is in a file: a private key in PEM, or else a secret. Its id is the name of the file,
// without what follows the last dot, which is what a verifier calls the public key beside it.
func Load(path string) (*Signer, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a key: %w", err)
	}
	s, err := parse(auth.KeyID(path), content)
	if err != nil {
		return nil, fmt.Errorf("reading the key in %s: %w", path, err)
	}
	return s, nil
}

func parse(id string, content []byte) (*Signer, error) {
	block, _ := pem.Decode(content)
	if block == nil {
		return NewSecretSigner(id, bytes.TrimRight(content, "\r\n"))
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PUBLIC KEY":
		err = errors.New("it is the public one, which signs nothing")
	default:
		err = fmt.Errorf("a PEM of type %q, want a PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, err
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("keys of type %T sign no tokens", key)
	}
	return NewSigner(id, private)
}

// KeyID is the id of the key, which tokens name.
func (s *Signer) KeyID() string { return s.id }

// Algorithm is the name of what it signs with.
func (s *Signer) Algorithm() string { return s.method.Alg() }

// Claims are what a token says.
type Claims struct {
	// Subject is whose it is.
	Subject string
	// Links are its grants, as [auth.ParseGrants] reads them.
	Links []string
	// Lifetime is from when it is issued to when it expires, in whole seconds.
	Lifetime time.Duration
	// Issuer and Audience are the defaults of a verifier where they are empty.
	Issuer, Audience string
	// ID names the token; a new UUIDv7 where it is empty.
	ID string
	// IssuedAt is now where it is zero.
	IssuedAt time.Time
}

// DefaultAudience is for whom tokens are where nobody says otherwise.
const DefaultAudience = "linkpulse"

// settle fills in what is not said.
func (c *Claims) settle() error {
	if c.Issuer == "" {
		c.Issuer = auth.DefaultIssuer
	}
	if c.Audience == "" {
		c.Audience = DefaultAudience
	}
	if c.IssuedAt.IsZero() {
		c.IssuedAt = time.Now()
	}
	if c.ID == "" {
		id, err := click.NewID()
		if err != nil {
			return fmt.Errorf("making an id: %w", err)
		}
		c.ID = id.String()
	}
	return nil
}

// Check returns everything that no verifier would take.
func (c *Claims) Check() error {
	errs := []error{}
	for _, name := range []struct {
		what, value string
		required    bool
	}{{"subject", c.Subject, true}, {"id", c.ID, false}, {"issuer", c.Issuer, false}, {"audience", c.Audience, false}} {
		if err := auth.CheckName(name.value); err != nil && (name.required || name.value != "") {
			errs = append(errs, fmt.Errorf("%s: %w", name.what, err))
		}
	}
	if _, err := auth.ParseGrants(c.Links); err != nil {
		errs = append(errs, fmt.Errorf("links: %w", err))
	}
	if c.Lifetime < time.Second || c.Lifetime > auth.LongestLifetime {
		errs = append(errs, fmt.Errorf("lifetime: must be from a second to %v", auth.LongestLifetime))
	}
	return errors.Join(errs...)
}

// Sign returns a token, and its claims with what was filled in. It fails where no verifier would take the token, whatever
// it is configured to.
func (s *Signer) Sign(c Claims) (token string, said Claims, err error) {
	if err := errors.Join(c.Check(), c.settle()); err != nil {
		return "", c, fmt.Errorf("making a token: %w", err)
	}
	issued := c.IssuedAt.Unix()
	t := jwt.NewWithClaims(s.method, jwt.MapClaims{
		"iss": c.Issuer, "aud": c.Audience, "sub": c.Subject, "jti": c.ID, "links": c.Links,
		"iat": issued, "exp": issued + int64(c.Lifetime/time.Second),
	})
	t.Header["kid"] = s.id
	if token, err = t.SignedString(s.key); err != nil {
		return "", c, fmt.Errorf("making a token: %w", err)
	}
	if len(token) > auth.MaxToken {
		return "", c, fmt.Errorf("making a token: it has %d bytes, at most %d are taken: name fewer links, or a beginning that covers many", len(token), auth.MaxToken)
	}
	return token, c, nil
}
