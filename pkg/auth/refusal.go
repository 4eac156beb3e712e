package auth

// Reason is why a credential is refused: what metrics are labelled with and programs branch on.
type Reason string

// The reasons.
const (
	ReasonMissing   Reason = "missing"   // there is none
	ReasonMalformed Reason = "malformed" // it is no token at all, or a longer one than may be
	ReasonAlgorithm Reason = "algorithm" // signed by another algorithm than its key is for, or not at all
	ReasonKey       Reason = "key"       // no key is named, or one that is not known
	ReasonSignature Reason = "signature" // not by the key that it names
	ReasonExpired   Reason = "expired"
	ReasonNotYet    Reason = "not_yet"  // issued in the future, or not to be used before
	ReasonIssuer    Reason = "issuer"   // of somebody else
	ReasonAudience  Reason = "audience" // for somebody else
	ReasonClaims    Reason = "claims"   // a required claim is missing, or one has no value that it may have
	ReasonLifetime  Reason = "lifetime" // good for longer than the operator allows
	ReasonGrants    Reason = "grants"   // no grants, or some that are none
	ReasonRevoked   Reason = "revoked"
	ReasonSubject   Reason = "subject"   // a refresh by somebody else
	ReasonTicket    Reason = "ticket"    // unknown, used or too old
	ReasonBusy      Reason = "busy"      // not looked at: there are more than can be
	ReasonKeysAway  Reason = "keys_away" // not looked at: the keys have not been read yet, or the store of tickets is away
)

// Reasons returns all reasons, to register metrics with.
func Reasons() []Reason {
	return []Reason{
		ReasonMissing, ReasonMalformed, ReasonAlgorithm, ReasonKey, ReasonSignature, ReasonExpired, ReasonNotYet, ReasonIssuer,
		ReasonAudience, ReasonClaims, ReasonLifetime, ReasonGrants, ReasonRevoked, ReasonSubject, ReasonTicket, ReasonBusy, ReasonKeysAway,
	}
}

// ofVerifier tells whether a [Verifier] refuses tokens for the reason.
func (r Reason) ofVerifier() bool {
	switch r {
	case ReasonRevoked, ReasonSubject, ReasonTicket:
		return false
	default:
		return true
	}
}

// IsTemporary tells whether the same credential may be accepted a little later.
func (r Reason) IsTemporary() bool { return r == ReasonBusy || r == ReasonKeysAway }

// RefusedError says why a credential is refused. Its text is for whoever sent it: it names nothing of the credential that
// they do not know, and no key.
type RefusedError struct {
	Reason Reason
	Detail string
}

// Error returns the detail.
func (e *RefusedError) Error() string { return e.Detail }
