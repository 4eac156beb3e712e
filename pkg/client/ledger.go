package client

import (
	"slices"
	"time"

	"github.com/linkpulse/linkpulse/pkg/click"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// LinkStatus is how a watched link stands on the connection of now.
type LinkStatus uint8

const (
	// LinkWaiting means that no answer has come on this connection. What is shown, if anything, is of before.
	LinkWaiting LinkStatus = iota
	// LinkSyncing means that it is subscribed, but the gateway is still reading its count.
	LinkSyncing
	// LinkLive means that it is subscribed and every change arrives.
	LinkLive
	// LinkDenied means that the client's token does not cover the link. It is the same whether the link exists or not, and
	// nothing is shown of it.
	LinkDenied
)

// String returns the status in one word.
func (s LinkStatus) String() string {
	switch s {
	case LinkSyncing:
		return "syncing"
	case LinkLive:
		return "live"
	case LinkDenied:
		return "denied"
	default:
		return "waiting"
	}
}

// exchange is where the talk about a link stands on a connection. At most one request about a link is out at a time, so
// that an answer is never taken for that of a later request (PROTOCOL.md section 6 rule 4).
type exchange uint8

const (
	exchangeNone    exchange = iota // not subscribed
	exchangeAsked                   // subscribe sent, count awaited; updates are of an earlier subscription
	exchangeOn                      // subscribed, and told
	exchangeLeaving                 // unsubscribe sent; whatever comes before its answer is of before
	exchangeDenied                  // refused, or ended by the server: not asked again until the token has changed
)

// entry is what a ledger knows of a link.
type entry struct {
	wanted   bool // false: it is only here until the server has let it go
	exchange exchange
	again    bool // subscribe once more: a delta did not add up
	status   LinkStatus
	// told is the count received last on this connection, valid while exchangeOn. Deltas build on it, not on what is shown.
	told int64
	// shown is the newest count by (epoch, seq) of any connection.
	shown click.Count
	known bool // shown is one
	at    int64
}

// ledger keeps the client rules of PROTOCOL.md section 6. It is pure: it is fed messages, and says what changed and what
// is to be sent. It is not safe for concurrent use.
type ledger struct {
	epoch   int64
	entries map[string]*entry
	wanted  int
	// discarded counts numbers that were older than what is shown, violations deltas that did not add up.
	discarded, violations int64
}

func newLedger() ledger { return ledger{entries: make(map[string]*entry)} }

// add asks for a link. False: it is asked for already.
func (l *ledger) add(link string) bool {
	e := l.entries[link]
	if e == nil {
		e = &entry{}
		l.entries[link] = e
	}
	if e.wanted {
		return false
	}
	e.wanted = true
	e.again = e.exchange == exchangeOn // it had left, but the unsubscribe was not sent: it needs a count to go on from
	l.wanted++
	return true
}

// remove forgets a link.
func (l *ledger) remove(link string) {
	e := l.entries[link]
	if e == nil || !e.wanted {
		return
	}
	l.wanted--
	if e.exchange == exchangeNone || e.exchange == exchangeDenied {
		delete(l.entries, link)
		return
	}
	*e = entry{exchange: e.exchange} // what was shown is gone; the talk about it has to end first
}

// ready begins a connection of the epoch. ok is false for one that is older than an epoch seen before; such a connection
// must not be believed. changed are the links whose counts were forgotten because a new epoch began.
func (l *ledger) ready(epoch int64) (changed []string, ok bool) {
	if epoch < l.epoch {
		return nil, false
	}
	if epoch > l.epoch {
		for link, e := range l.entries {
			if e.known {
				e.known, e.shown, e.at = false, click.Count{}, 0
				changed = append(changed, link)
			}
		}
	}
	l.epoch = epoch
	return changed, true
}

// renewed asks once more for links that were denied: the connection has another token, which may cover them.
func (l *ledger) renewed() {
	for link, e := range l.entries {
		switch {
		case e.exchange != exchangeDenied:
		case e.wanted:
			e.exchange = exchangeNone
		default:
			delete(l.entries, link)
		}
	}
}

// lost ends a connection: nothing is subscribed, what is shown stays. It returns the links whose status changed.
func (l *ledger) lost() (changed []string) {
	for link, e := range l.entries {
		if !e.wanted {
			delete(l.entries, link)
			continue
		}
		if e.status != LinkWaiting {
			changed = append(changed, link)
		}
		e.exchange, e.status, e.again = exchangeNone, LinkWaiting, false
	}
	return changed
}

// next returns the next message to send, and takes it for sent. What ends comes before what begins, so that there is room
// for it. roomy bounds the length of a message in bytes.
func (l *ledger) next(roomy int) (m wire.ClientMessage, ok bool) {
	var leave, enter []string
	for link, e := range l.entries {
		switch {
		case !e.wanted && (e.exchange == exchangeAsked || e.exchange == exchangeOn):
			leave = append(leave, link)
		case e.wanted && (e.exchange == exchangeNone || e.exchange == exchangeOn && e.again):
			enter = append(enter, link)
		}
	}
	m = wire.ClientMessage{Type: wire.TypeUnsubscribe, Links: leave, IntervalMs: wire.KeepInterval}
	state := exchangeLeaving
	if len(leave) == 0 {
		m.Type, m.Links, state = wire.TypeSubscribe, enter, exchangeAsked
	}
	slices.Sort(m.Links)
	size := 64 // the rest of the message
	for i, link := range m.Links {
		if size += len(link) + len(`"",`); size > roomy {
			m.Links = m.Links[:i]
			break
		}
	}
	for _, link := range m.Links {
		e := l.entries[link]
		e.exchange, e.again = state, false
		if state == exchangeAsked && e.status == LinkLive {
			e.status = LinkWaiting
		}
	}
	return m, len(m.Links) > 0
}

// subscribed takes an answer and returns the links that changed.
func (l *ledger) subscribed(m wire.Subscribed) (changed []string) {
	for _, c := range m.Links {
		e := l.asked(c.Link)
		if e == nil {
			continue
		}
		e.exchange, e.status, e.told = exchangeOn, LinkLive, c.Count
		// At the same place it is the same number: equal is taken too.
		l.show(e, click.Count{Epoch: l.epoch, Seq: c.Seq, Count: c.Count, Bots: c.Bots}, e.shown.Seq)
		changed = append(changed, c.Link)
	}
	for _, link := range m.Syncing {
		if e := l.asked(link); e != nil {
			e.status = LinkSyncing
			changed = append(changed, link)
		}
	}
	for _, link := range m.Denied {
		if e := l.asked(link); e != nil {
			e.exchange, e.status = exchangeDenied, LinkDenied
			changed = append(changed, link)
		}
	}
	return changed
}

// asked returns the entry of a link whose answer is awaited, or nil.
func (l *ledger) asked(link string) *entry {
	if e := l.entries[link]; e != nil && e.exchange == exchangeAsked {
		return e
	}
	return nil
}

// update takes an update. changed: there is a newer count to show. again: the delta did not add up, and there is a
// subscribe to send.
func (l *ledger) update(u wire.Update) (changed, again bool) {
	e := l.entries[u.Link]
	if e == nil || e.exchange != exchangeOn || !e.wanted {
		return false, false
	}
	if e.told+u.Delta != u.Count && !e.again {
		l.violations++
		e.again, again = true, true
	}
	e.told = u.Count
	changed = l.show(e, click.Count{Epoch: l.epoch, Seq: u.Seq, Count: u.Count, Bots: u.Bots}, e.shown.Seq+1)
	if changed {
		e.at = u.At
	}
	return changed, again
}

// show shows a count that is true at least at the place from, or at any if none is shown.
func (l *ledger) show(e *entry, c click.Count, from int64) bool {
	if e.known && c.Seq < from {
		l.discarded++
		return false
	}
	e.shown, e.known = c, true
	return true
}

// unsubscribed takes the end of subscriptions and returns the links that changed.
func (l *ledger) unsubscribed(m wire.Unsubscribed) (changed []string) {
	for _, link := range m.Links {
		e := l.entries[link]
		switch {
		case e == nil || e.exchange == exchangeNone || e.exchange == exchangeDenied:
		case !e.wanted:
			delete(l.entries, link)
		case e.exchange == exchangeLeaving:
			e.exchange = exchangeNone // asked for again meanwhile
		case e.exchange == exchangeAsked && e.status != LinkSyncing:
			// Of a subscription before. The answer to the subscribe that is out says how it stands now.
		default: // not on request
			e.exchange, e.status, e.again = exchangeDenied, LinkDenied, false
			changed = append(changed, link)
		}
	}
	return changed
}

// read returns what is to be shown of a link.
func (l *ledger) read(link string) (u Update, ok bool) {
	e := l.entries[link]
	if e == nil || !e.wanted {
		return Update{}, false
	}
	if e.status == LinkDenied { // whatever it was, the client may no longer see it
		return Update{Link: link, Status: e.status}, true
	}
	u = Update{
		Link: link, Status: e.status, Known: e.known,
		Epoch: e.shown.Epoch, Seq: e.shown.Seq, Count: e.shown.Count, Bots: e.shown.Bots,
	}
	if e.at != 0 {
		u.At = time.UnixMilli(e.at)
	}
	return u, true
}
