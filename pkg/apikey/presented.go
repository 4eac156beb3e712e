package apikey

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader carries a signature.
const SignatureHeader = "Linkpulse-Signature"

// Window is how far the time of a signature may be from now.
const Window = 5 * time.Minute

const (
	authorization = "Authorization"
	scheme        = "Bearer"
	// maxSeconds is the most digits of a signature's time: enough until the year 5138, and no overflow.
	maxSeconds = 11
	macDigits  = 2 * sha256.Size
	maxSigned  = len("t=,k=,v1=") + maxSeconds + MaxID + macDigits
)

// Presented is what a request brings to prove who it is from: a key, or a signature. It is no proof until somebody who knows
// the key has looked at it. Formatted, it is the id of the key.
type Presented struct {
	key    Key // of a signature: without a secret
	signed bool
	at     int64 // Unix seconds
	mac    [sha256.Size]byte
}

// Read reads the credentials of a request. It allocates nothing, keeps the memory of the header, and looks at no more of it
// than the longest credentials have. The error is a *[RefusedError].
//
// There must be one header with one value: where there are two, whatever stands in front of ingest may have looked at the
// other one.
func Read(header http.Header) (p Presented, err error) {
	bearer, signature := header[authorization], header[SignatureHeader]
	switch {
	case len(bearer)+len(signature) == 0:
		return Presented{}, errMissing
	case len(bearer)+len(signature) > 1:
		return Presented{}, errSeveral
	case len(bearer) == 1:
		k, ok := readBearer(bearer[0])
		if !ok {
			return Presented{}, errBearer
		}
		return Presented{key: k}, nil
	default:
		if !p.readSignature(signature[0]) {
			return Presented{}, errForm
		}
		return p, nil
	}
}

// readBearer reads credentials of RFC 6750 section 2.1: the scheme in any case, spaces, the key.
func readBearer(value string) (Key, bool) {
	if len(value) <= len(scheme) || value[len(scheme)] != ' ' || !strings.EqualFold(value[:len(scheme)], scheme) {
		return Key{}, false
	}
	return parse(strings.TrimLeft(value[len(scheme):], " "))
}

// readSignature reads t=<seconds>,k=<id>,v1=<hex>. There is one way to write each signature: what is signed, the digits of t
// included, follows from what is read.
func (p *Presented) readSignature(value string) bool {
	if len(value) > maxSigned {
		return false
	}
	seconds, rest, ok := strings.Cut(value, ",")
	id, mac, more := strings.Cut(rest, ",")
	if !ok || !more || !strings.HasPrefix(seconds, "t=") || !strings.HasPrefix(id, "k=") || !strings.HasPrefix(mac, "v1=") {
		return false
	}
	seconds, id, mac = seconds[len("t="):], id[len("k="):], mac[len("v1="):]
	if !p.readTime(seconds) || !validID(id) || len(mac) != macDigits {
		return false
	}
	for i := range p.mac {
		high, low := hexDigit(mac[2*i]), hexDigit(mac[2*i+1])
		if high > 0xf || low > 0xf {
			return false
		}
		p.mac[i] = high<<4 | low
	}
	p.key, p.signed = Key{id: id}, true
	return true
}

func (p *Presented) readTime(digits string) bool {
	if digits == "" || len(digits) > maxSeconds || digits[0] == '0' {
		return false
	}
	for i := range len(digits) {
		c := digits[i]
		if c < '0' || '9' < c {
			return false
		}
		p.at = 10*p.at + int64(c-'0')
	}
	return true
}

// hexDigit returns the value of a lower-case hex digit; 0xff: it is none.
func hexDigit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	default:
		return 0xff
	}
}

// ID names the key that it claims to be of.
func (p *Presented) ID() string { return p.key.id }

// Signed tells whether it is a signature, and not a key.
func (p *Presented) Signed() bool { return p.signed }

// Hash returns the hash of the secret that was sent; of a signature, that of none.
func (p *Presented) Hash() [sha256.Size]byte { return p.key.Hash() }

// Timely tells whether the time of a signature is near now.
func (p *Presented) Timely(now time.Time) bool {
	off := now.Unix() - p.at
	return -int64(Window/time.Second) <= off && off <= int64(Window/time.Second)
}

// String returns the key's id, without the secret or the signature.
func (p Presented) String() string { return p.key.String() }

// GoString is String.
func (p Presented) GoString() string { return p.String() }

// header returns a signature as it is sent.
func (p *Presented) header() string {
	out := make([]byte, 0, maxSigned)
	out = append(out, "t="...)
	out = strconv.AppendInt(out, p.at, 10)
	out = append(out, ",k="...)
	out = append(out, p.key.id...)
	out = append(out, ",v1="...)
	return string(hex.AppendEncode(out, p.mac[:]))
}
