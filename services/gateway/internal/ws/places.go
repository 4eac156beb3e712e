package ws

import "sync"

// Limits of connections. 0 is no limit, except for Connections.
type Limits struct {
	// Connections bounds those of this gateway: each costs about 13 KiB, half of it the kernel's.
	Connections int
	// PerAddress bounds those of a client address, an IPv6 address being its /64. It stops one client from taking
	// everybody's places.
	PerAddress int
	// PerSubject bounds those of the subject of a token. It stops a token that is shared around, and a page that reconnects
	// without closing.
	PerSubject int
	// Unauthenticated bounds those that have not said who they are, UnauthenticatedPerAddress those of an address. They
	// stop sockets of nobody, in numbers.
	Unauthenticated, UnauthenticatedPerAddress int
	// Handshakes bounds handshakes a second, of which HandshakeBurst may come at once. It stops a storm that keeps those
	// who are in from being served.
	Handshakes, HandshakeBurst int
	// AddressHandshakes bounds those of a client address, of which PerAddress may come at once; it holds where PerAddress
	// does. It stops one client from using up everybody's handshakes.
	AddressHandshakes int
}

// places counts the connections that there are, for the limits on them and for who waits for their end. What it knows of
// addresses and subjects is of live connections only, so it is bounded as they are.
type places struct {
	limits Limits

	mu        sync.Mutex // guards what follows
	open      int
	guests    int
	addresses map[address]occupancy
	subjects  map[string]int
	empty     chan struct{} // closed when open falls to 0, nil while nobody waits
}

// occupancy is how many connections an address has, and how many of them are guests': not authenticated.
type occupancy struct{ open, guests int }

func over(n, limit int) bool { return limit > 0 && n >= limit }

// enter takes a place for a client at an address, unless that breaks a limit: admitted tells, and which.
func (p *places) enter(a address, guest bool) refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.addresses[a]
	switch {
	case p.open >= p.limits.Connections:
		return refusedFull
	case over(at.open, p.limits.PerAddress):
		return refusedAddress
	case guest && over(p.guests, p.limits.Unauthenticated):
		return refusedGuests
	case guest && over(at.guests, p.limits.UnauthenticatedPerAddress):
		return refusedAddressGuests
	}
	p.open++
	at.open++
	if guest {
		p.guests++
		at.guests++
	}
	if p.addresses == nil {
		p.addresses = make(map[address]occupancy)
	}
	p.addresses[a] = at
	return admitted
}

// seat gives a place to a subject, unless it has as many as it may. A subject without a name is nobody's.
func (p *places) seat(subject string) bool {
	if subject == "" {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if over(p.subjects[subject], p.limits.PerSubject) {
		return false
	}
	if p.subjects == nil {
		p.subjects = make(map[string]int)
	}
	p.subjects[subject]++
	return true
}

// greet notes that a guest is none any more.
func (p *places) greet(a address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.guests--
	at := p.addresses[a]
	at.guests--
	p.addresses[a] = at
}

// leave gives a place back: that of a guest, or of a subject, which must have been given it.
func (p *places) leave(a address, guest bool, subject string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	at := p.addresses[a]
	at.open--
	if guest {
		p.guests--
		at.guests--
	}
	if at == (occupancy{}) {
		delete(p.addresses, a)
	} else {
		p.addresses[a] = at
	}
	if n := p.subjects[subject]; n > 1 {
		p.subjects[subject] = n - 1
	} else {
		delete(p.subjects, subject)
	}
	if p.open == 0 && p.empty != nil {
		close(p.empty)
		p.empty = nil
	}
}

// taken tells how many connections there are, and how many of them are guests'.
func (p *places) taken() (open, guests int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, p.guests
}

// wait returns at a moment at which no place is taken.
func (p *places) wait() {
	p.mu.Lock()
	if p.open == 0 {
		p.mu.Unlock()
		return
	}
	if p.empty == nil {
		p.empty = make(chan struct{})
	}
	empty := p.empty
	p.mu.Unlock()
	<-empty
}
