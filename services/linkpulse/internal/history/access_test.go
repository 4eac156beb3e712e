package history

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// pass is one that covers everything that a world has, for as long as it lasts.
func pass(name string) *Pass {
	return &Pass{Token: name, Subject: "ada", Links: []string{"a", "b*", "c*"}, ExpiresAt: time.UnixMilli(1e6)}
}

// guard makes every connection of a good history one that was let in, and adds requests of which some is denied.
func (w *world) guard() {
	met := make(map[string]bool)
	var events []Event
	for _, e := range w.events {
		if c := e.Connection; c != "" && !met[c] {
			met[c] = true
			p := pass("token of " + c)
			if rapid.Bool().Draw(w.t, "by ticket") {
				p.Ticket = "ticket of " + c
			}
			events = append(events, Event{Kind: Admitted, Connection: c, Client: e.Client, Gateway: e.Gateway, Pass: p})
			for n := range rapid.IntRange(0, 2).Draw(w.t, "denied requests") {
				events = append(events, deny(e, n+1, "a", "x", "y")...)
			}
		}
		events = append(events, e)
	}
	w.events = events
}

// deny is a request of a connection and its answer: of the links, a is granted and the others are not.
func deny(of Event, number int, links ...string) (events []Event) {
	of.Request = number
	for _, kind := range []Kind{Asked, Denied} {
		for _, link := range links {
			if kind == Asked || link != "a" {
				of.Kind, of.Link = kind, link
				events = append(events, of)
			}
		}
	}
	return events
}

// guarded guards the history and returns its last update of link a, and how the connection of that was let in.
func (w *world) guarded() (e Event, admitted *Event) {
	w.guard()
	e = w.events[w.last(kind(Update))]
	return e, &w.events[w.last(func(a Event) bool { return a.Kind == Admitted && a.Connection == e.Connection })]
}

// tellLate appends a click that was sent at a time, and an update that tells of it.
func (w *world) tellLate(e Event, sent time.Time) {
	w.events = append(w.events, Event{At: sent, Kind: Sent, Link: "a", ID: click.ID{247}}, Event{At: sent, Kind: Acked, Link: "a", ID: click.ID{247}})
	w.appendRecord("a", click.ID{247}, 0)
	e.Kind, e.Delta, e.Count = Update, 1, w.at("a", w.end("a"))
	w.events = append(w.events, e)
}

func TestPlantedIntrusions(t *testing.T) {
	t.Parallel()
	plantAll(t, map[string]plant{
		"an update of a link outside the grant": {RuleGrant, func(w *world) {
			_, a := w.guarded()
			a.Pass.Links = []string{"aa", "b*"}
		}},
		"a count of a link outside the grant": {RuleGrant, func(w *world) {
			e, a := w.guarded()
			a.Pass.Links = []string{"b", "c", "A", "aa*"}
			e.Kind = Subscribed
			w.events = append(w.events, e)
		}},
		"a link outside the grant is said to be syncing": {RuleGrant, func(w *world) {
			e, _ := w.guarded()
			e.Kind, e.Link = Syncing, "x"
			w.events = append(w.events, e)
		}},
		"a request over plain HTTP is answered outside its grant": {RuleGrant, func(w *world) {
			e, a := w.guarded()
			p := *a.Pass
			p.Links, p.Ticket = []string{"b*"}, ""
			e.Kind, e.Connection = Read, "request"
			w.events = append(w.events, Event{Kind: Admitted, Connection: "request", Pass: &p}, e)
		}},
		"a client is told something before it has said who it is": {RuleGrant, func(w *world) {
			e, a := w.guarded()
			a.Connection = "another"
			e.Kind = Subscribed
			w.events = append(w.events, e)
		}},
		"a subscription outlives a refresh that does not cover it": {RuleGrant, func(w *world) {
			e, a := w.guarded()
			narrow := *a.Pass
			narrow.Token, narrow.Ticket, narrow.Links = "narrow", "", []string{"b*", "c*"}
			w.events = append(w.events, Event{Kind: Admitted, Connection: e.Connection, Client: e.Client, Gateway: e.Gateway, Pass: &narrow})
			w.tellLate(e, w.clock())
		}},
		"a refresh ends a subscription without a word": {RuleNotice, func(w *world) {
			e, a := w.guarded()
			narrow := *a.Pass
			narrow.Token, narrow.Ticket, narrow.Links = "narrow", "", []string{"b*", "c*"}
			w.events = append(w.events, Event{Kind: Admitted, Connection: e.Connection, Client: e.Client, Gateway: e.Gateway, Pass: &narrow})
		}},
		"an expired pass opens a gateway": {RuleEnded, func(w *world) {
			_, a := w.guarded()
			a.NotBefore = a.Pass.ExpiresAt.Add(Leeway)
		}},
		"a click is told that was made when the pass had expired": {RuleEnded, func(w *world) {
			e, a := w.guarded()
			w.tellLate(e, a.Pass.ExpiresAt.Add(Leeway))
		}},
		"a link is told behind a heartbeat that was said when the pass had expired": {RuleEnded, func(w *world) {
			e, a := w.guarded()
			beat := e
			beat.Kind, beat.CompleteTo, beat.NotBefore = Heartbeat, time.UnixMilli(0), a.Pass.ExpiresAt.Add(Leeway)
			e.Kind = Subscribed
			w.events = append(w.events, beat, e)
		}},
		"a connection goes on that is told nothing but that": {RuleEnded, func(w *world) {
			e, a := w.guarded()
			e.Kind, e.CompleteTo, e.NotBefore = Heartbeat, time.UnixMilli(0), a.Pass.ExpiresAt.Add(Leeway)
			w.events = append(w.events, e)
		}},
		"a revoked token opens a gateway": {RuleEnded, func(w *world) {
			_, a := w.guarded()
			a.NotBefore = heeded()
			w.revoke(Revocation{Token: a.Pass.Token})
		}},
		"a click is told that was made when the token had been revoked": {RuleEnded, func(w *world) {
			e, a := w.guarded()
			w.revoke(Revocation{Token: a.Pass.Token})
			w.tellLate(e, heeded())
		}},
		"a subject's older token goes on": {RuleEnded, func(w *world) {
			e, a := w.guarded()
			w.revoke(Revocation{Subject: "ada", IssuedBefore: a.Pass.IssuedAt.Add(1)})
			w.tellLate(e, heeded())
		}},
		"everybody's older tokens were revoked and one goes on": {RuleEnded, func(w *world) {
			e, a := w.guarded()
			w.revoke(Revocation{IssuedBefore: a.Pass.IssuedAt.Add(1)})
			w.tellLate(e, heeded())
		}},
		"a forged token opens a gateway": {RuleForged, func(w *world) {
			w.guarded()
			w.events = append(w.events, Event{Kind: Admitted, Connection: "intruder", Pass: &Pass{Subject: "eve", ExpiresAt: time.UnixMilli(1e6)}})
		}},
		"a connection is refreshed with somebody else's token": {RuleSubject, func(w *world) {
			e, a := w.guarded()
			other := *a.Pass
			other.Subject, other.Ticket = "eve", ""
			w.events = append(w.events, Event{Kind: Admitted, Connection: e.Connection, Pass: &other})
		}},
		"a ticket opens a gateway twice": {RuleTicket, func(w *world) {
			_, a := w.guarded()
			a.Pass.Ticket = "once"
			w.events = append(w.events, Event{Kind: Admitted, Connection: "second", Pass: a.Pass})
		}},
		"a link of one's own is denied": {RuleDenied, func(w *world) {
			e, _ := w.guarded()
			e.Kind, e.Request = Denied, 9
			w.events = append(w.events, e)
		}},
		"a link that there is none of is not denied": {RuleAlike, func(w *world) {
			e, _ := w.guarded()
			e.Connection = "prober"
			w.events = append(w.events, Event{Kind: Admitted, Connection: "prober", Pass: pass("prober")})
			w.events = append(w.events, deny(e, 1, "x", "none")[:3]...)
		}},
		"a request for links outside the grant is not answered": {RuleAlike, func(w *world) {
			e, _ := w.guarded()
			e.Connection = "prober"
			w.events = append(w.events, Event{Kind: Admitted, Connection: "prober", Pass: pass("prober")})
			w.events = append(w.events, deny(e, 1, "x")[:1]...)
			w.events = append(w.events, deny(e, 2, "y")...)
		}},
		"a link that there is none of is denied in other words": {RuleAlike, func(w *world) {
			e, _ := w.guarded()
			e.Connection = "prober"
			denied := deny(e, 1, "x", "none")
			denied[3].Answer = "404"
			w.events = append(append(w.events, Event{Kind: Admitted, Connection: "prober", Pass: pass("prober")}), denied...)
		}},
	})
}

// revoke makes the gateway know of a revocation before anything else.
func (w *world) revoke(r Revocation) {
	w.events = slices.Insert(w.events, 0, Event{At: time.UnixMilli(1), Kind: Revoked, Gateway: "g", Revocation: &r})
}

// heeded is when what w.revoke revokes must be heeded.
func heeded() time.Time { return time.UnixMilli(2).Add(RevocationGrace) }

// What is no violation: a click of before the end that is heard of after it, a ticket whose use the store has forgotten, a
// revocation of somebody else, or of which the gateway cannot know yet.
func TestNoIntrusion(t *testing.T) {
	t.Parallel()
	log := Log{Epoch: 1, Window: 5, Within: time.Hour, Partitions: []Partition{partition(rec{"a", 1, 0, false}, rec{"a", 2, 0, false})}}
	at := time.UnixMilli
	ends := at(5000)
	told := func(heard time.Time, k Kind, seq, delta int64) Event {
		return Event{At: heard, Kind: k, Connection: "c", Gateway: "g", Link: "a", Delta: delta, Count: click.Count{Epoch: 1, Seq: seq, Count: seq}}
	}
	p := &Pass{Token: "t", Subject: "ada", Links: []string{"a"}, IssuedAt: at(0), ExpiresAt: ends.Add(-Leeway), Ticket: "ticket"}
	let := func(conn string, notBefore time.Time) Event {
		return Event{At: notBefore, Kind: Admitted, Connection: conn, Gateway: "g", Pass: p, NotBefore: notBefore}
	}
	sent := func(ms int64, id byte) []Event {
		return []Event{{At: at(ms), Kind: Sent, Link: "a", ID: click.ID{id}}, {At: at(ms), Kind: Acked, Link: "a", ID: click.ID{id}}}
	}
	revoked := func(ms int64, gateway string, r Revocation) Event {
		return Event{At: at(ms), Kind: Revoked, Gateway: gateway, Revocation: &r}
	}
	lasting := *p
	lasting.ExpiresAt, lasting.Ticket = at(1e6), ""
	long := let("c", at(1))
	long.Pass = &lasting
	for name, events := range map[string][]Event{
		"said in time, heard late": slices.Concat([]Event{let("c", at(1)), told(at(2), Subscribed, 0, 0)}, sent(3, 1), sent(4999, 2),
			[]Event{told(at(99999), Update, 2, 2)}),
		"a ticket that the store has forgotten the use of": slices.Concat(sent(1, 1), sent(1, 2),
			[]Event{let("c", at(1)), {Kind: Restored}, let("d", at(2))}),
		"others are revoked": slices.Concat([]Event{
			long, told(at(2), Subscribed, 0, 0), revoked(2, "g", Revocation{Token: "u"}), revoked(2, "h", Revocation{Token: "t"}),
			revoked(2, "g", Revocation{Subject: "eve", IssuedBefore: at(9)}), revoked(2, "g", Revocation{Subject: "ada", IssuedBefore: at(0)}),
			revoked(2, "g", Revocation{IssuedBefore: at(0)}),
		}, sent(3, 1), sent(9999, 2), []Event{told(at(99999), Update, 2, 2)}),
		"revoked a moment ago": slices.Concat([]Event{long, told(at(2), Subscribed, 0, 0), revoked(9000, "g", Revocation{Token: "t"})},
			sent(3, 1), sent(9000+RevocationGrace.Milliseconds(), 2), []Event{told(at(99999), Update, 2, 2)}),
	} {
		violations, err := Check(events, log)
		if err != nil || len(violations) != 0 {
			t.Errorf("%s: %v, %v", name, err, Error(violations))
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	p := &Pass{Links: []string{"acme:*", "jobs", "do*"}}
	for link, want := range map[string]bool{
		"acme:": true, "acme:x": true, "acme": false, "acme2:x": false, "ACME:x": false, "jobs": true, "jobs2": false, "job": false,
		"do": true, "docs": true, "d": false, "*": false, "": false,
	} {
		if got := p.covers(link); got != want {
			t.Errorf("%q is covered: %v", link, got)
		}
	}
	if everything := (&Pass{Links: []string{"*"}}); !everything.covers("acme") || (&Pass{}).covers("acme") {
		t.Error(fmt.Sprint(everything))
	}
}
