package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// jwk is a key of a JSON Web Key Set (RFC 7517): what is read of one.
type jwk struct {
	Type       string          `json:"kty"`
	ID         string          `json:"kid"`
	Use        string          `json:"use"`
	Operations []string        `json:"key_ops"`
	Algorithm  string          `json:"alg"`
	Curve      string          `json:"crv"`
	N          string          `json:"n"`
	E          string          `json:"e"`
	X          string          `json:"x"`
	Y          string          `json:"y"`
	D          json.RawMessage `json:"d"` // it must not be there
}

// errNoKeys reports a set that nothing can be verified with: it must not take the place of one that is good.
var errNoKeys = errors.New("there is no key in it that signatures can be verified with")

// parseJWKS reads a key set. Of keys that are not for verifying signatures, or that nobody here could use, it says why
// they are left out: a set may have more in it than tokens are signed with (RFC 7517 section 5).
func parseJWKS(doc []byte, rsaAlgorithm string) (keys []*key, skipped []error, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(doc, &set); err != nil {
		return nil, nil, fmt.Errorf("no key set: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, nil, fmt.Errorf("%d keys are too many: at most %d", len(set.Keys), maxKeys)
	}
	for i, raw := range set.Keys {
		k, err := parseJWK(raw, rsaAlgorithm)
		if err == nil && slices.ContainsFunc(keys, func(other *key) bool { return other.id == k.id }) {
			err = fmt.Errorf("another key before it has the id %q", k.id)
		}
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, skipped, errNoKeys
	}
	return keys, skipped, nil
}

func parseJWK(raw json.RawMessage, rsaAlgorithm string) (*key, error) {
	var j jwk
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, err
	}
	switch {
	case j.Type == "oct":
		return nil, errors.New("a secret that everybody can read is none")
	case len(j.D) > 0:
		return nil, errors.New("a private key that everybody can read: tokens that it signed prove nothing")
	case j.Use != "" && j.Use != "sig":
		return nil, fmt.Errorf("its use is %q", j.Use)
	case j.Operations != nil && !slices.Contains(j.Operations, "verify"):
		return nil, errors.New("it is not for verifying")
	}
	public, err := j.public()
	if err != nil {
		return nil, err
	}
	return newPublicKey(j.ID, public, j.Algorithm, rsaAlgorithm)
}

// public returns the key itself (RFC 7518 section 6, RFC 8037 section 2).
func (j *jwk) public() (crypto.PublicKey, error) {
	var n, e, x, y []byte
	for _, f := range []struct {
		to   *[]byte
		from string
	}{{&n, j.N}, {&e, j.E}, {&x, j.X}, {&y, j.Y}} {
		var err error
		// Some issuers pad what RFC 7515 wants without padding.
		if *f.to, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(f.from, "=")); err != nil {
			return nil, err
		}
	}
	switch j.Type {
	case "OKP":
		if j.Curve != algEd25519 {
			return nil, fmt.Errorf("curve %q has no algorithm here", j.Curve)
		}
		return ed25519.PublicKey(x), nil
	case "EC":
		return ecKey(j.Curve, x, y)
	case "RSA":
		exponent := new(big.Int).SetBytes(e)
		if !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > 1<<31-1 || exponent.Bit(0) == 0 {
			return nil, errors.New("an RSA key without a good exponent")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
	default:
		return nil, fmt.Errorf("keys of type %q are not known here", j.Type)
	}
}

func ecKey(name string, x, y []byte) (crypto.PublicKey, error) {
	var curve elliptic.Curve
	switch name {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, fmt.Errorf("curve %q has no algorithm here", name)
	}
	size := (curve.Params().BitSize + 7) / 8
	x, y = bytes.TrimLeft(x, "\x00"), bytes.TrimLeft(y, "\x00")
	if len(x) > size || len(y) > size {
		return nil, fmt.Errorf("coordinates of more than %d bytes", size)
	}
	point := make([]byte, 1+2*size)
	point[0] = 4 // not compressed (SEC 1 section 2.3.4)
	copy(point[1+size-len(x):], x)
	copy(point[1+2*size-len(y):], y)
	return ecdsa.ParseUncompressedPublicKey(curve, point)
}
