package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"fmt"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// key is what signatures are verified with. It is for one algorithm, whatever a token says (RFC 8725 section 3.1): a
// token names the algorithm only to be refused where it differs.
type key struct {
	id     string
	name   string // of the algorithm
	method jwt.SigningMethod
	public any // as the method wants it
}

// The algorithms, as RFC 7518 and RFC 8037 name them. EdDSA has two names: RFC 9864 says Ed25519.
const (
	algHS256   = "HS256"
	algEdDSA   = "EdDSA"
	algEd25519 = "Ed25519"
)

// methodOf returns the algorithm of a name, nil where there is none: `none` is none, and of the symmetric ones there is
// one. Names are compared byte by byte (RFC 7515 section 4.1.1).
func methodOf(name string) jwt.SigningMethod {
	switch name {
	case algHS256:
		return jwt.SigningMethodHS256
	case "RS256":
		return jwt.SigningMethodRS256
	case "RS384":
		return jwt.SigningMethodRS384
	case "RS512":
		return jwt.SigningMethodRS512
	case "PS256":
		return jwt.SigningMethodPS256
	case "PS384":
		return jwt.SigningMethodPS384
	case "PS512":
		return jwt.SigningMethodPS512
	case "ES256":
		return jwt.SigningMethodES256
	case "ES384":
		return jwt.SigningMethodES384
	case "ES512":
		return jwt.SigningMethodES512
	case algEdDSA, algEd25519:
		return jwt.SigningMethodEdDSA
	default:
		return nil
	}
}

// The sizes of RSA keys. A shorter one can be broken, a longer one costs too much to verify with: that of 8,192 bits is
// four times as dear as one of 4,096.
const (
	leastRSABits = 2048
	mostRSABits  = 8192
)

// newPublicKey returns a key for the algorithm of a name, or for the one that its type has where that is empty; RSA keys
// are for rsaAlgorithm then.
func newPublicKey(id string, public crypto.PublicKey, name, rsaAlgorithm string) (*key, error) {
	if err := CheckName(id); err != nil {
		return nil, fmt.Errorf("its id: %w", err)
	}
	var names []string // that it may be for; the first is meant where it does not say
	switch public := public.(type) {
	case ed25519.PublicKey:
		if len(public) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an Ed25519 key of %d bytes", len(public))
		}
		names = []string{algEdDSA, algEd25519}
	case *ecdsa.PublicKey:
		switch curve := public.Curve.Params().Name; curve {
		case "P-256":
			names = []string{"ES256"}
		case "P-384":
			names = []string{"ES384"}
		case "P-521":
			names = []string{"ES512"}
		default:
			return nil, fmt.Errorf("curve %s has no algorithm here", curve)
		}
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < leastRSABits || bits > mostRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits: it must have %d to %d", bits, leastRSABits, mostRSABits)
		}
		names = []string{rsaAlgorithm, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	default:
		return nil, fmt.Errorf("keys of type %T have no algorithm here", public)
	}
	switch {
	case name == "":
		name = names[0]
	case !slices.Contains(names, name):
		return nil, fmt.Errorf("it says that it is for %q, which its type is not", name)
	}
	return &key{id: id, name: name, method: methodOf(name), public: public}, nil
}

// equal tells whether two keys are one.
func (k *key) equal(o *key) bool {
	if k.id != o.id || k.name != o.name {
		return false
	}
	if secret, ok := k.public.([]byte); ok {
		other, ok := o.public.([]byte)
		return ok && hmac.Equal(secret, other)
	}
	public, ok := k.public.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(o.public)
}

// LeastSecret is the fewest bytes of a shared secret: as many as its signatures have (RFC 7518 section 3.2).
const LeastSecret = 32

func newSecretKey(id string, secret []byte) (*key, error) {
	if err := CheckName(id); err != nil {
		return nil, fmt.Errorf("its id: %w", err)
	}
	if len(secret) < LeastSecret {
		return nil, fmt.Errorf("a secret of %d bytes can be guessed: it must have at least %d", len(secret), LeastSecret)
	}
	return &key{id: id, name: algHS256, method: jwt.SigningMethodHS256, public: secret}, nil
}
