package auth

import "time"

// Limits of what an identity consists of. They bound what is kept per connection and what is compared per check.
const (
	// MaxToken is the most bytes of a token. It stops work on what nobody has signed.
	MaxToken = 4096
	// MaxName is the most bytes of a subject and of a token's id.
	MaxName = 255
	// Leeway is how far clocks may differ: a token is good that much before it is issued and after it expires.
	Leeway = 30 * time.Second
	// LongestLifetime is the most that an operator may let tokens live. A revocation is kept for that long: by then every
	// token that it concerns has expired, whatever gateways are configured to.
	LongestLifetime = 30 * 24 * time.Hour
)

// Identity is who somebody is and what they may do. It does not change, so it may be shared and used concurrently.
type Identity struct {
	// Subject is whose it is, for limits, for revocation and for logs.
	Subject string
	// TokenID names the token (`jti`), empty where it has no name.
	TokenID string
	// IssuedAt and ExpiresAt are the token's own, to the second. A zero ExpiresAt is never.
	IssuedAt, ExpiresAt time.Time
	// Grants say which links.
	Grants Grants
}

// Anybody returns the identity of everybody where authentication is off: it has no name, does not expire and may see every
// link.
func Anybody() *Identity { return &Identity{Grants: everything()} }

// Allows tells whether the identity covers a link. It does not allocate.
func (id *Identity) Allows(link string) bool { return id.Grants.Cover(link) }

// Ends returns when the identity ends, clocks being what they are; zero is never.
func (id *Identity) Ends() time.Time {
	if id.ExpiresAt.IsZero() {
		return time.Time{}
	}
	return id.ExpiresAt.Add(Leeway)
}
