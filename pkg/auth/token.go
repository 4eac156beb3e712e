package auth

import (
	"encoding/base64"
	"strings"
)

// token is a JSON Web Token taken apart (RFC 7519, RFC 7515 section 7.1), of which nothing is believed yet.
type token struct {
	algorithm string
	keyID     string
	hasKeyID  bool
	signed    string // header and claims, as the signature covers them
	claims    []byte
	signature []byte
}

func malformed(detail string) *RefusedError { return &RefusedError{ReasonMalformed, detail} }

// parseToken takes a token apart. Its header says which key and which algorithm it claims, and what it is; everything
// else that a header may have is nobody's business here, above all where to find a key (`jku`, `x5u`) or the key itself
// (`jwk`, `x5c`).
func parseToken(s string) (t token, refused *RefusedError) {
	switch {
	case s == "":
		return t, &RefusedError{ReasonMissing, "there is no token"}
	case len(s) > MaxToken:
		return t, malformed("the token is longer than 4096 bytes")
	}
	header, rest, ok := strings.Cut(s, ".")
	claims, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || strings.Contains(signature, ".") {
		return t, malformed("a token has three parts with dots between them")
	}
	t.signed = s[:len(header)+1+len(claims)]
	buf := make([]byte, 0, base64.RawURLEncoding.DecodedLen(len(s)))
	head, buf, ok := decodePart(buf, header)
	if !ok {
		return t, malformed("the header is not base64url without padding")
	}
	if t.claims, buf, ok = decodePart(buf, claims); !ok {
		return t, malformed("the claims are not base64url without padding")
	}
	if t.signature, _, ok = decodePart(buf, signature); !ok {
		return t, malformed("the signature is not base64url without padding")
	}
	if refused := t.readHeader(head); refused != nil {
		return t, refused
	}
	return t, nil
}

// decodePart appends what a part says to buf, which has room. One token has one spelling: the decoder alone would skip
// line breaks and take any last bits.
func decodePart(buf []byte, part string) (decoded, after []byte, ok bool) {
	if strings.ContainsAny(part, "\r\n") {
		return nil, buf, false
	}
	at := len(buf)
	after, err := base64.RawURLEncoding.Strict().AppendDecode(buf, []byte(part))
	if err != nil {
		return nil, buf, false
	}
	return after[at:len(after):len(after)], after, true
}

func (t *token) readHeader(head []byte) *RefusedError {
	hasAlgorithm := false
	refused, err := members(head, func(name, value []byte) *RefusedError {
		var ok bool
		switch string(name) {
		case "alg":
			if t.algorithm, hasAlgorithm = text(value); !hasAlgorithm {
				return &RefusedError{ReasonAlgorithm, "the alg of the header is no string"}
			}
		case "kid":
			if t.keyID, ok = text(value); !ok || CheckName(t.keyID) != nil {
				return &RefusedError{ReasonKey, "the kid of the header is no name of a key"}
			}
			t.hasKeyID = true
		case "typ":
			if kind, ok := text(value); !ok || !isAccessToken(kind) {
				return malformed("the typ of the header says that it is something else: want JWT or at+jwt")
			}
		case "cty":
			return malformed("there is a token inside the token: send the inner one")
		case "crit": // nothing of it is understood here, and then a reader must refuse (RFC 7515 section 4.1.11)
			return malformed("the header has extensions that must be understood, and are not")
		}
		return nil
	})
	switch {
	case err != nil:
		return malformed("the header: " + err.Error())
	case refused != nil:
		return refused
	case !hasAlgorithm:
		return &RefusedError{ReasonAlgorithm, "the header has no alg"}
	case methodOf(t.algorithm) == nil:
		return &RefusedError{ReasonAlgorithm, "tokens with that alg are not taken"}
	}
	return nil
}

// isAccessToken tells whether a media type is one of tokens that say what their bearer may do (RFC 7519 section 5.1,
// RFC 9068 section 2.1). Others that an issuer signs with the same key say something else: that somebody logged out,
// for example (RFC 8725 section 3.11).
func isAccessToken(kind string) bool {
	kind = strings.ToLower(kind)
	kind = strings.TrimPrefix(kind, "application/")
	return kind == "jwt" || kind == "at+jwt"
}
