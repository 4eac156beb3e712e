package e2e

import (
	"context"
	"time"

	"github.com/coder/websocket"

	"github.com/linkpulse/linkpulse/pkg/revocation"
	"github.com/linkpulse/linkpulse/pkg/wire"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

// The attacks. None of them judges anything: who was let in, what was heard and when is in the history.

// trespass asks for the links of others, in every spelling.
func (a *adversary) trespass(ctx context.Context) {
	t := a.tenant(time.Minute)
	p := a.insist(ctx, a.entrance(), t)
	if p == nil {
		return
	}
	defer p.close()
	for range 1 + a.rng.IntN(4) {
		_ = p.subscribe(ctx, a.everything()...) // it may have ended
		for _, star := range []string{"*", "acme:*", "acme*"} {
			_ = send(ctx, p.ws, wire.ClientMessage{Type: wire.TypeSubscribe, Links: []string{star}})
		}
		a.rest(ctx, time.Second)
		_ = p.unsubscribe(ctx, a.everything()[:3]...)
		a.askAround(ctx, t)
		a.rest(ctx, time.Second)
	}
}

// forge shows tokens that are none, in every way and in the place of one that is good.
func (a *adversary) forge(ctx context.Context) {
	t := a.tenant(time.Minute)
	good := a.insist(ctx, a.entrance(), t)
	if good == nil {
		return
	}
	defer good.close()
	for range 2 + a.rng.IntN(4) {
		forged := a.w.issuer.forge(a.rng, t.pass.Subject)
		if p := a.enter(ctx, a.entrance(), forged); p != nil {
			_ = p.subscribe(ctx, a.everything()...)
			p.ended(time.Second)
			p.close()
		}
		_ = good.refresh(ctx, forged)
		_ = good.subscribe(ctx, a.everything()...)
		a.askAround(ctx, forged)
		a.rest(ctx, 2*time.Second)
	}
}

// outstay goes on when the token has expired, and comes back with it, and with a ticket that was taken just before.
func (a *adversary) outstay(ctx context.Context) {
	t := a.w.issuer.mint(a.newName(), time.Duration(1+a.rng.IntN(3))*time.Second, "acme:*", "x7Kp2")
	p := a.insist(ctx, a.entrance(), t)
	if p == nil {
		return
	}
	defer p.close()
	ends := t.pass.ExpiresAt.Add(history.Leeway)
	taken := a.door(a.gateway())
	var pass history.Pass
	ticket := ""
	silent := a.rng.IntN(2) == 0 // who asks for something is looked at
	_ = p.subscribe(ctx, "acme:x", "acme:y", "jobs", "x7Kp2")
	for time.Now().Before(ends.Add(6 * time.Second)) {
		if !silent {
			_ = p.subscribe(ctx, "acme:x", "acme:y", "jobs")
		}
		if left := time.Until(ends); left < 2*time.Second && ticket == "" {
			pass, ticket, _ = taken.takeTicket(ctx, t, "") // Redis may be away
		}
		a.rest(ctx, time.Second)
		if ctx.Err() != nil {
			return
		}
	}
	a.w.dead.bury(t)
	for range 3 {
		a.comeBack(ctx, t)
	}
	if ticket != "" {
		a.redeem(ctx, taken, pass, ticket, "")
	}
}

// comeBack tries to come in, and to see something.
func (a *adversary) comeBack(ctx context.Context, t token) {
	if p := a.enter(ctx, a.entrance(), t); p != nil {
		_ = p.subscribe(ctx, a.everything()...)
		p.ended(time.Duration(a.rng.Int64N(int64(2 * time.Second))))
		p.close()
	}
	a.askAround(ctx, t)
}

// redeem tries to come in with a ticket.
func (a *adversary) redeem(ctx context.Context, at *door, pass history.Pass, ticket, origin string) {
	d := a.door(at.gateway)
	ws, err := d.enterByTicket(ctx, pass, ticket, origin)
	if err != nil {
		return
	}
	p := a.attach(d)
	p.ws = ws
	a.w.people.Go(func() { p.listen(ctx) })
	_ = p.subscribe(ctx, a.everything()...)
	p.ended(time.Second)
	p.close()
}

// revocation draws one that concerns a token.
func (a *adversary) revocation(of history.Pass) revocation.Revocation {
	switch a.rng.IntN(8) {
	case 0, 1:
		return revocation.Revocation{Subject: of.Subject}
	case 2, 3:
		return revocation.Revocation{Subject: of.Subject, IssuedBefore: of.IssuedAt.Add(time.Second)}
	case 4: // everybody's, and those of the dashboards with them
		return revocation.Revocation{IssuedBefore: of.IssuedAt.Add(time.Millisecond)}
	default:
		return revocation.Revocation{TokenID: of.Token}
	}
}

// isRevoked goes on when its token has been revoked, comes back, and refreshes with another one that is revoked as well.
func (a *adversary) isRevoked(ctx context.Context) {
	t := a.tenant(10 * time.Minute)
	p := a.insist(ctx, a.entrance(), t)
	if p == nil {
		return
	}
	defer p.close()
	other := a.w.issuer.mint(t.pass.Subject, time.Minute, "acme:*", "jobs")
	taken := a.door(a.gateway())
	pass, ticket, err := taken.takeTicket(ctx, t, "")
	_ = p.subscribe(ctx, "acme:x", "acme:y", "jobs")
	a.rest(ctx, 3*time.Second)
	revoked := make(chan struct{})
	what := a.revocation(t.pass)
	a.w.people.Go(func() {
		defer close(revoked)
		if a.w.revoke(ctx, what) {
			a.w.dead.bury(t)
		}
	})
	for after := 0; after < 8 && ctx.Err() == nil; {
		_ = p.subscribe(ctx, "acme:x", "acme:y", "acme2:x", "jobs")
		switch a.rng.IntN(4) {
		case 0:
			a.comeBack(ctx, t)
		case 1:
			_ = p.refresh(ctx, []token{t, other}[a.rng.IntN(2)])
		}
		a.rest(ctx, time.Second)
		select {
		case <-revoked:
			after++
		default:
		}
	}
	if err == nil {
		a.redeem(ctx, taken, pass, ticket, "")
	}
	<-revoked
}

// isRevokedDeaf does not read while its token is revoked, or expires, or is replaced by a narrower one, and then reads all that
// is there. The connection's buffers are small, so most of what it is owed waits at the gateway.
func (a *adversary) isRevokedDeaf(ctx context.Context) {
	t := a.w.issuer.mint(a.newName(), time.Minute, "acme:*", "jobs", "x7Kp2", "a*")
	d := a.door(a.gateway())
	ws, err := d.enter(ctx, byHeader, t)
	if err != nil {
		return
	}
	p := a.attach(d)
	p.ws, p.deaf = ws, make(chan struct{})
	a.w.people.Go(func() { p.listen(ctx) })
	defer p.close()
	for range 1 + a.rng.IntN(6) {
		_ = p.subscribe(ctx, a.everything()...)
		a.rest(ctx, 500*time.Millisecond)
	}
	if a.rng.IntN(2) == 0 {
		a.w.revoke(ctx, a.revocation(t.pass))
	} else {
		_ = p.refresh(ctx, a.w.issuer.mint(t.pass.Subject, time.Minute, "acme:x"))
	}
	a.rest(ctx, 6*time.Second)
	close(p.deaf)
	p.ended(2 * time.Second)
}

// narrow refreshes with tokens that cover less, and more, and those of somebody else, and asks in between for what each does
// not cover.
func (a *adversary) narrow(ctx context.Context) {
	subject := a.newName()
	scopes := [][]string{{"acme:*", "jobs"}, {"acme:x"}, {"acme:y", "jo*"}, {"podcast"}, {"a*", "jobs"}}
	mint := func(subject string) token {
		return a.w.issuer.mint(subject, time.Minute, scopes[a.rng.IntN(len(scopes))]...)
	}
	p := a.insist(ctx, a.entrance(), mint(subject))
	if p == nil {
		return
	}
	defer p.close()
	for range 3 + a.rng.IntN(5) {
		_ = p.subscribe(ctx, a.everything()...)
		if a.rng.IntN(2) == 0 {
			a.rest(ctx, 2*time.Second)
		}
		if a.rng.IntN(4) == 0 {
			stranger := mint(a.newName())
			stranger.pass.Links = nil // for this connection
			_ = p.refresh(ctx, stranger)
		} else {
			_ = p.refresh(ctx, mint(subject))
		}
		if a.rng.IntN(2) == 0 {
			_ = p.subscribe(ctx, a.everything()...)
		}
		if a.rng.IntN(4) == 0 {
			_ = p.unsubscribe(ctx, a.everything()[:3]...)
		}
		pause(ctx, time.Second+time.Duration(a.rng.Int64N(int64(time.Second)))) // a refresh costs as much as ten messages
	}
}

// comeEarly asks for something before it has said who it is.
func (a *adversary) comeEarly(ctx context.Context) {
	for range 1 + a.rng.IntN(4) {
		d := a.door(a.gateway())
		ws, err := d.open(ctx, "/ws", nil)
		if err != nil {
			return
		}
		a.early(ctx, d, ws)
		a.rest(ctx, time.Second)
	}
}

func (a *adversary) early(ctx context.Context, d *door, ws *websocket.Conn) {
	p := a.attach(d)
	p.ws = ws
	a.w.people.Go(func() { p.listen(ctx) })
	defer p.close()
	t := a.tenant(time.Minute)
	switch a.rng.IntN(4) {
	case 0: // the door is shut, and stays so
		_ = p.subscribe(ctx, a.everything()...)
		_ = p.refresh(ctx, t)
		_ = p.subscribe(ctx, a.everything()...)
	case 1:
		_ = p.refresh(ctx, a.w.issuer.forge(a.rng, t.pass.Subject))
		_ = p.subscribe(ctx, a.everything()...)
		_ = p.refresh(ctx, t)
		_ = p.subscribe(ctx, a.everything()...)
	case 2: // this is how one comes in
		_ = p.refresh(ctx, t)
		_ = p.subscribe(ctx, a.everything()...)
		a.rest(ctx, 2*time.Second)
	case 3: // says nothing, and too late
		pause(ctx, wire.AuthDeadline+time.Second)
		_ = p.refresh(ctx, t)
		_ = p.subscribe(ctx, a.everything()...)
	}
	p.ended(time.Second)
}

// abuseTickets shows tickets twice, at once and one after the other, and those of another origin.
func (a *adversary) abuseTickets(ctx context.Context) {
	const page = "http://localhost:3000" // a gateway on loopback takes those of this machine
	origin := []string{"", page}[a.rng.IntN(2)]
	at := a.door(a.gateway())
	pass, ticket, err := at.takeTicket(ctx, a.tenant(time.Minute), origin)
	if err != nil {
		return // Redis is away
	}
	if origin != "" && a.rng.IntN(2) == 0 {
		none := pass
		none.Links = nil // for this page
		a.redeem(ctx, at, none, ticket, []string{"", "http://localhost:4000", "https://localhost:3000"}[a.rng.IntN(3)])
	}
	together := make(chan struct{})
	a.w.people.Go(func() {
		defer close(together)
		d := &door{gateway: at.gateway, dial: a.host.Dial, recorder: at.recorder, client: at.name + "-twin", name: at.name + "-twin"}
		if ws, err := d.enterByTicket(ctx, pass, ticket, origin); err == nil {
			p := a.attach(d)
			p.ws = ws
			a.w.people.Go(func() { p.listen(ctx) })
			_ = p.subscribe(ctx, "acme:x", "jobs")
			p.ended(time.Second)
			p.close()
		}
	})
	a.redeem(ctx, at, pass, ticket, origin)
	<-together
	if a.rng.IntN(2) == 0 {
		pause(ctx, 31*time.Second) // it would be too old by now
	}
	a.redeem(ctx, at, pass, ticket, origin)
}

// flood sends more than a client may, of everything.
func (a *adversary) flood(ctx context.Context) {
	wide := a.w.issuer.mint(a.newName(), time.Minute, "acme:*", "jobs")
	narrow := a.w.issuer.mint(wide.pass.Subject, time.Minute, "acme:x")
	p := a.insist(ctx, a.entrance(), wide)
	if p == nil {
		return
	}
	defer p.close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // its messages are not read for a while, and then no more
	defer cancel()
	for range 60 {
		var err error
		switch a.rng.IntN(4) {
		case 0:
			err = p.refresh(ctx, []token{wide, narrow}[a.rng.IntN(2)])
		case 1:
			err = p.unsubscribe(ctx, a.everything()[:2]...)
		default:
			err = p.subscribe(ctx, a.everything()...)
		}
		if err != nil {
			return
		}
	}
	p.ended(5 * time.Second)
}
