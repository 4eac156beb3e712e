package history

import (
	"strings"
	"time"
)

// Pass is what a client shows to be let in, as whoever made it knows it: a token, or a ticket that was taken with one.
type Pass struct {
	Token    string   // names the token; unique in a history
	Ticket   string   // names the ticket, empty where a token was shown; unique in a history
	Subject  string   // whose it is
	Links    []string // its grants; none: no gateway may take it, since it is forged, used up, or not for this client
	IssuedAt time.Time
	// ExpiresAt is the token's own. Clocks may be [Leeway] apart.
	ExpiresAt time.Time
}

// covers tells whether a link is granted: by its id, or by a beginning of it that ends with a star.
func (p *Pass) covers(link string) bool {
	for _, grant := range p.Links {
		if beginning, ok := strings.CutSuffix(grant, "*"); grant == link || ok && strings.HasPrefix(link, beginning) {
			return true
		}
	}
	return false
}

// Revocation says which passes are good no more: those of a token, of a subject, or, where neither is named, of everybody.
type Revocation struct {
	Token   string
	Subject string
	// IssuedBefore is exclusive, and zero with a Token.
	IssuedBefore time.Time
}

func (r *Revocation) concerns(p *Pass) bool {
	if r.Token != "" {
		return r.Token == p.Token
	}
	return (r.Subject == "" || r.Subject == p.Subject) && p.IssuedAt.Before(r.IssuedBefore)
}

const (
	// Leeway is how far clocks may be apart: a pass is good for that long after it has expired.
	Leeway = 30 * time.Second
	// RevocationGrace is how long after a gateway could know of a revocation somebody may be told something all the same.
	RevocationGrace = time.Second
)
