package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/simnet"
)

// adversary is somebody who tries to see what is not theirs, in one way after the other.
type adversary struct {
	w       *world
	name    string
	host    *simnet.Host
	rng     *rand.Rand
	entered int // names connections and requests
}

// attack is one of the ways. It returns when it is over, or soon after ctx has ended, and leaves no connection behind.
type attack func(a *adversary, ctx context.Context)

// adversaries is how many there are.
const adversaries = 3

// intrude lets adversaries loose. Between them they try everything once, and then on at random while things break. After
// all is healed each has a token revoked once more: then there is no excuse left for a gateway that goes on.
func (w *world) intrude() {
	var err error
	if w.operator, err = w.stack.OpenKafka("operator"); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	stop := w.stopPeople
	w.stopPeople = func() {
		cancel()
		stop()
	}
	all := []attack{
		(*adversary).outstay, (*adversary).trespass, (*adversary).forge, (*adversary).isRevoked, (*adversary).isRevokedDeaf,
		(*adversary).narrow, (*adversary).comeEarly, (*adversary).abuseTickets, (*adversary).flood,
	}
	// It comes first, since it takes half a minute, and there should be clicks to hear of in the end.
	late := all[1:]
	w.rng.Shuffle(len(late), func(i, j int) { late[i], late[j] = late[j], late[i] })
	besieger := w.newAdversary(adversaries)
	w.people.Go(func() { besieger.wait(ctx) })
	for i := range adversaries {
		a := w.newAdversary(i)
		mine := make([]attack, 0, len(all))
		for at := i; at < len(all); at += adversaries {
			mine = append(mine, all[at])
		}
		w.people.Go(func() { a.run(ctx, mine, all) })
	}
}

func (w *world) newAdversary(number int) *adversary {
	a := &adversary{w: w, name: fmt.Sprint("adversary-", number), rng: rand.New(rand.NewPCG(w.rng.Uint64(), 0))}
	a.host = w.net.Host(a.name)
	a.host.Buffer = 512 << a.rng.IntN(6)
	return a
}

func (a *adversary) run(ctx context.Context, first, then []attack) {
	try := func(by attack) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		by(a, ctx)
	}
	a.rest(ctx, 3*time.Second)
	for n := 0; ctx.Err() == nil && (n < len(first) || !a.w.calm.Load()); n++ {
		if n < len(first) {
			try(first[n])
		} else {
			try(then[a.rng.IntN(len(then))])
		}
		if t, ok := a.w.dead.draw(a.rng); ok { // the gateway may be another process by now
			a.comeBack(ctx, t)
		}
		a.rest(ctx, 3*time.Second)
	}
	try((*adversary).isRevoked)
}

// graveyard is the tokens that were good once. It is safe for concurrent use.
type graveyard struct {
	mu     sync.Mutex // guards tokens
	tokens []token
}

func (g *graveyard) bury(t token) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tokens = append(g.tokens, t)
}

// draw returns one of them, if there is one.
func (g *graveyard) draw(rng *rand.Rand) (token, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.tokens) == 0 {
		return token{}, false
	}
	return g.tokens[rng.IntN(len(g.tokens))], true
}

// wait besieges each gateway that is started.
func (a *adversary) wait(ctx context.Context) {
	for {
		select {
		case gateway := <-a.w.started:
			a.besiege(ctx, gateway)
		case <-ctx.Done():
			return
		}
	}
}

// besiege knocks at a gateway that is about to start, until it knows for sure who is not let in any more.
func (a *adversary) besiege(ctx context.Context, gateway string) {
	t, ok := a.w.dead.draw(a.rng)
	for range 300 {
		if !ok || ctx.Err() != nil {
			return
		}
		d := a.door(gateway)
		ws, err := d.enter(ctx, byHeader, t)
		switch {
		case err == nil:
			p := a.attach(d)
			p.ws = ws
			a.w.people.Go(func() { p.listen(ctx) })
			_ = p.subscribe(ctx, a.everything()...)
			p.ended(time.Second)
			p.close()
			return
		case d.status == http.StatusUnauthorized:
			return
		}
		pause(ctx, 5*time.Millisecond)
	}
}

// rest waits for a random time.
func (a *adversary) rest(ctx context.Context, most time.Duration) {
	pause(ctx, time.Duration(a.rng.Int64N(int64(most))))
}

// name makes a name that nobody had before.
func (a *adversary) newName() string {
	a.entered++
	return fmt.Sprintf("%s.%d", a.name, a.entered)
}

func (a *adversary) entrance() entrance { return entrance(a.rng.IntN(int(entrances))) }

// gateway is one of them, by its URL.
func (a *adversary) gateway() string {
	gateways := a.w.stack.Gateways()
	return gateways[a.rng.IntN(len(gateways))]
}

// door is a new one, of a gateway.
func (a *adversary) door(gateway string) *door {
	name := a.newName()
	return &door{gateway: gateway, dial: a.host.Dial, recorder: &a.w.recorder, client: name, name: name}
}

// enter opens a connection to some gateway, nil where that takes it for none.
func (a *adversary) enter(ctx context.Context, by entrance, t token) *probe {
	d := a.door(a.gateway())
	dialCtx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ws, err := d.enter(dialCtx, by, t)
	if err != nil {
		if ws != nil {
			_ = ws.CloseNow()
		}
		return nil // it is refused, or the gateway is away
	}
	p := a.attach(d)
	p.ws = ws
	a.w.people.Go(func() { p.listen(ctx) })
	return p
}

// attach makes a probe of a door, which has no connection yet.
func (a *adversary) attach(d *door) *probe {
	return &probe{
		door: d, done: make(chan struct{}), asked: make(map[string]subscribing), confuse: func(err error) { a.w.t.Error(err) },
	}
}

// insist is enter again and again, for as long as gateways are away.
func (a *adversary) insist(ctx context.Context, by entrance, t token) *probe {
	for ctx.Err() == nil {
		if p := a.enter(ctx, by, t); p != nil {
			return p
		}
		pause(ctx, 300*time.Millisecond)
		by = a.entrance() // tickets may be away for long
	}
	return nil
}

// everything is every link, and some that there are none of, in some order.
func (a *adversary) everything() []string {
	all := slices.Concat(a.w.links, a.w.quiet, a.w.strange)
	a.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// tenant mints a token for the links of one tenant.
func (a *adversary) tenant(lifetime time.Duration) token {
	return a.w.issuer.mint(a.newName(), lifetime, "acme:*")
}

// askAround asks over plain HTTP with a token: for all counts at once, and for one link that is clicked and one that is not.
func (a *adversary) askAround(ctx context.Context, t token) {
	gateway, links := a.gateway(), a.everything()
	transport := &http.Transport{DialContext: a.host.Dial}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	q := inquiry{name: a.newName(), client: a.name, at: time.Now(), token: t}
	answer, err := inquire(ctx, client, http.MethodGet, gateway+"/v1/counts?links="+strings.Join(links, ","), t.text, "")
	if err != nil {
		return
	}
	if err := q.counts(&a.w.recorder, gateway, links, answer); err != nil {
		a.w.t.Error(err)
	}
	q = inquiry{name: a.newName(), client: a.name, at: time.Now(), token: t}
	others := slices.Concat([]string{"a3bZ9", "jobs"}, a.w.quiet) // no token that asks here covers one of them
	pair := []string{others[a.rng.IntN(len(others))], a.w.strange[a.rng.IntN(len(a.w.strange))]}
	answers := make([]plain, len(pair))
	for i, link := range pair {
		answers[i], err = inquire(ctx, client, http.MethodGet, gateway+"/links/"+link+"/clicks", t.text, "")
		if status := answers[i].status; err != nil || status == http.StatusServiceUnavailable || status == http.StatusUnauthorized {
			return
		}
	}
	q.admitted(&a.w.recorder, gateway)
	for _, kind := range []history.Kind{history.Asked, history.Denied} {
		for i, link := range pair {
			e := history.Event{Kind: kind, Client: a.name, Gateway: gateway, Connection: q.name, Link: link, Request: 1}
			if kind == history.Denied {
				e.Answer = fmt.Sprint(answers[i].status, answers[i].challenge, string(answers[i].body))
			}
			a.w.recorder.Add(e)
		}
	}
}
