package history

import (
	"slices"
	"sort"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// The rules of who may see what. They are judged in histories in which somebody was [Admitted]; in others, nobody asks.
//
// What was said before a grant ended may be heard long after: a client that does not read finds it in its buffers. So none of
// these rules goes by when something was heard. Each message on a connection proves that the gateway said it no earlier than
// something else: the request that it answers, the clock of a heartbeat in front of it, a click that is in its counts. What is
// proved to have been said too late is a violation, with no allowance for the network.
const (
	// RuleGrant: a client hears of the links that its grant covers, and of no other. From the answer to a refresh on, that is
	// the grant of the new pass.
	RuleGrant Rule = "a client is told of a link that its grant does not cover"
	// RuleNotice: what a refresh does not cover any more is said to have ended, before the answer to the refresh.
	RuleNotice Rule = "a refresh has ended a subscription without a word"
	// RuleEnded: once a pass has expired or was revoked, its client hears nothing more, be it only a heartbeat.
	RuleEnded Rule = "a client is told something, or let in, when its pass is good no more"
	// RuleForged: nobody is let in by a pass that is none.
	RuleForged Rule = "somebody is let in with a pass that is none"
	// RuleSubject: a connection is one subject's for all of its life.
	RuleSubject Rule = "a connection has become somebody else's"
	// RuleTicket: a ticket is good for one connection.
	RuleTicket Rule = "a ticket has let in two connections"
	// RuleDenied: no link that the grant covers is denied.
	RuleDenied Rule = "a link is denied that the grant covers"
	// RuleAlike: all links outside the grant get the same answer, at the same time, whether there are such links or not.
	RuleAlike Rule = "links outside the grant are not answered alike"
)

// access is what the checker knows of who may see what.
type access struct {
	guarded bool                 // somebody asks who clients are
	conns   map[string]*visit    // by connection
	revoked map[string][]known   // by gateway
	tickets map[string]string    // the connection that each has let in
	asked   map[request][]string // links
	denied  map[request]*denial  // the answers
	sent    [][]moment           // of each partition, see sentBy
}

// visit is a connection that was let in.
type visit struct {
	pass     *Pass
	gateway  string
	since    time.Time // what is heard now was said then or later
	answered int       // number of the last subscribe that is known to have been answered
}

// known is a revocation, and since when a gateway has to know of it.
type known struct {
	*Revocation
	at time.Time
}

// request is a subscribe.
type request struct {
	conn   string
	number int
}

// denial is what was denied in the answer to a request.
type denial struct {
	event  int
	pass   *Pass
	links  []string
	answer string
}

func newAccess(f *folded, events []Event) access {
	return access{
		guarded: slices.ContainsFunc(events, func(e Event) bool { return e.Kind == Admitted }),
		conns:   make(map[string]*visit), revoked: make(map[string][]known), tickets: make(map[string]string),
		asked: make(map[request][]string), denied: make(map[request]*denial), sent: f.sentBy(events),
	}
}

// judgeAccess judges an event by who may see what. Events that it knows nothing of pass.
func (c *checker) judgeAccess(i int, e Event) {
	if !c.access.guarded {
		return
	}
	v := c.access.conns[e.Connection]
	if v != nil {
		v.hear(c.access.said(e))
	}
	switch e.Kind {
	case Admitted:
		c.judgeAdmitted(i, e)
	case Subscribed, Update, Syncing:
		c.judgeTold(i, e, v)
	case Heartbeat:
		if v != nil { // it tells nobody anything, but that the connection goes on
			c.judgeEnded(i, e, v)
		}
	case Read:
		if e.Connection != "" { // else it is of a store, which asks nobody
			c.judgeTold(i, e, v)
		}
	case Asked:
		k := request{e.Connection, e.Request}
		c.access.asked[k] = append(c.access.asked[k], e.Link)
	case Denied:
		c.judgeDenied(i, e, v)
	case Revoked:
		c.access.revoked[e.Gateway] = append(c.access.revoked[e.Gateway], known{e.Revocation, e.At})
	case Restored: // and what was taken out of it may be in it again
		clear(c.access.tickets)
	default:
	}
}

func (v *visit) hear(said time.Time) {
	if said.After(v.since) {
		v.since = said
	}
}

// said returns the time before which a gateway cannot have said something.
func (a *access) said(e Event) time.Time {
	said := e.NotBefore
	if e.Kind == Subscribed || e.Kind == Update {
		if t := a.sentBefore(e.Link, e.Count.Seq); t.After(said) {
			said = t
		}
	}
	return said
}

func (c *checker) judgeAdmitted(i int, e Event) {
	v := c.access.conns[e.Connection]
	switch {
	case v == nil:
		v = &visit{}
		c.access.conns[e.Connection] = v
	case v.pass.Subject != e.Pass.Subject:
		c.report(RuleSubject, i, "%v; it was of %q", e, v.pass.Subject)
	}
	v.pass, v.gateway = e.Pass, e.Gateway
	v.hear(e.NotBefore)
	if len(e.Pass.Links) == 0 {
		c.report(RuleForged, i, "%v", e)
	}
	if ticket := e.Pass.Ticket; ticket != "" {
		if first, used := c.access.tickets[ticket]; used {
			c.report(RuleTicket, i, "%v; it has let in connection %s", e, first)
		}
		c.access.tickets[ticket] = e.Connection
	}
	c.judgeEnded(i, e, v)
	for k := range c.told {
		if k.conn == e.Connection && !e.Pass.covers(k.link) {
			c.report(RuleNotice, i, "%v; it is subscribed to %q, and its new grant covers %q", e, k.link, e.Pass.Links)
		}
	}
}

// judgeTold judges that a client hears of a link.
func (c *checker) judgeTold(i int, e Event, v *visit) {
	switch {
	case v == nil:
		c.report(RuleGrant, i, "%v; nobody has let it in", e)
		return
	case !v.pass.covers(e.Link):
		c.report(RuleGrant, i, "%v; it covers %q", e, v.pass.Links)
	}
	c.judgeEnded(i, e, v)
}

func (c *checker) judgeEnded(i int, e Event, v *visit) {
	if len(v.pass.Links) == 0 {
		return // it never began
	}
	if ends := v.pass.ExpiresAt.Add(Leeway); !v.since.Before(ends) {
		c.report(RuleEnded, i, "%v; it was said at %s or later, and the pass ended at %s", e, clock(v.since), clock(ends))
	}
	for _, r := range c.access.revoked[v.gateway] {
		if ends := r.at.Add(RevocationGrace); r.concerns(v.pass) && v.since.After(ends) {
			c.report(RuleEnded, i, "%v; it was said at %s or later, and the pass was revoked: that had to be heeded at %s",
				e, clock(v.since), clock(ends))
			return
		}
	}
}

func clock(t time.Time) string { return t.UTC().Format(time.StampMilli) }

// judgeDenied judges that a link is denied. What else is in the same answer is judged in the end.
func (c *checker) judgeDenied(i int, e Event, v *visit) {
	if v == nil {
		c.report(RuleGrant, i, "%v; nobody has let it in", e)
		return
	}
	k := request{e.Connection, e.Request}
	d := c.access.denied[k]
	if d == nil {
		d = &denial{event: i, pass: v.pass, answer: e.Answer}
		c.access.denied[k] = d
		for v.answered++; v.answered < e.Request; v.answered++ { // answers come in the order of the requests
			c.access.denied[request{e.Connection, v.answered}] = &denial{event: i, pass: v.pass}
		}
	}
	d.links = append(d.links, e.Link)
	if e.Answer != d.answer {
		c.report(RuleAlike, i, "%v; another one was told %q", e, d.answer)
	}
	if d.pass.covers(e.Link) {
		c.report(RuleDenied, i, "%v; it covers %q", e, d.pass.Links)
	}
}

// judgeAlike compares each answer with what was asked.
func (c *checker) judgeAlike() {
	for k, d := range c.access.denied {
		outside := slices.DeleteFunc(slices.Clone(c.access.asked[k]), d.pass.covers)
		slices.Sort(outside)
		slices.Sort(d.links)
		if outside, denied := slices.Compact(outside), slices.Compact(d.links); !slices.Equal(outside, denied) {
			c.report(RuleAlike, d.event, "of %q, which subscribe %d of connection %s asks for, %q are denied", outside, k.number, k.conn, denied)
		}
	}
}

// moment says when the clicks below an offset had been sent: one of them at that time, and none later.
type moment struct {
	next int64
	at   time.Time
}

// sentBy returns, for each partition, when what is in it was sent for the first time. Whoever tells a count at some place in
// the log has read the log up to there, and so said it after that.
func (f *folded) sentBy(events []Event) [][]moment {
	first := make(map[clickKey]time.Time)
	for _, e := range events {
		if e.Kind == Sent {
			k := clickKey{e.Link, e.ID}
			if _, again := first[k]; !again {
				first[k] = e.At
			}
		}
	}
	sent := make([][]moment, len(f.log.Partitions))
	for p := range f.log.Partitions {
		var last time.Time
		for _, r := range f.log.Partitions[p].Records {
			c, err := click.Decode(r.Key, r.Value)
			if err != nil {
				continue
			}
			if at := first[clickKey{string(r.Key), c.ID}]; at.After(last) {
				last = at
				sent[p] = append(sent[p], moment{r.Offset + 1, at})
			}
		}
	}
	return sent
}

// sentBefore returns when the last of the clicks was sent that are in a count at seq.
func (a *access) sentBefore(link string, seq int64) time.Time {
	moments := a.sent[click.Partition(link, len(a.sent))]
	n := sort.Search(len(moments), func(n int) bool { return moments[n].next > seq })
	if n == 0 {
		return time.Time{}
	}
	return moments[n-1].at
}
