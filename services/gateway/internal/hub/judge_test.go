package hub

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// revocations are what a gateway knows to be revoked: subjects and tokens.
type revocations struct {
	mu    sync.Mutex
	known map[string]bool
	// over are those that Revoke has returned for: from then on nothing is sent.
	over map[string]bool
}

func newRevocations() *revocations {
	return &revocations{known: map[string]bool{}, over: map[string]bool{}}
}

// handles returns what an identity may be revoked by.
func handles(id *auth.Identity) []string { return []string{"sub " + id.Subject, "jti " + id.TokenID} }

func (r *revocations) is(set map[string]bool, id *auth.Identity) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(handles(id), func(name string) bool { return set[name] })
}

func (r *revocations) has(id *auth.Identity) bool { return r.is(r.known, id) }

// revoke revokes as a gateway does: it knows first, and then tells the hub.
func (r *revocations) revoke(h *Hub, name string) {
	r.mu.Lock()
	r.known[name] = true
	r.mu.Unlock()
	h.Revoke(func(id *auth.Identity) bool { return slices.Contains(handles(id), name) })
	r.mu.Lock()
	r.over[name] = true
	r.mu.Unlock()
}

// judge looks at what a connection is given to send, in that moment and in that order, and finds what the identity does not
// allow. What precedes the `ready` of a refresh is of the identity before it.
type judge struct {
	r       reporter
	revoked *revocations

	// The client's mu guards these.
	ids     []*auth.Identity // asked for: of the join, and of each refresh
	current int              // which of them the last `ready` is of, -1: none yet
	subs    map[string]bool  // that the client was told of, live or syncing
	denials [][]string       // that the subscribes to come have to be answered with
	refresh bool             // an `unsubscribed` for a grant wants a `ready` next
	ended   string           // code of the error that ended it
}

func newJudge(r reporter, revoked *revocations, id *auth.Identity) *judge {
	return &judge{r: r, revoked: revoked, ids: []*auth.Identity{id}, current: -1, subs: map[string]bool{}}
}

// look judges whole frames.
func (j *judge) look(b []byte) {
	for len(b) > 0 {
		op, payload, rest := splitFrame(j.r, b)
		b = rest
		if op != 1 {
			continue
		}
		var m message
		if err := json.Unmarshal(payload, &m); err != nil {
			j.r.Errorf("%v: %s", err, payload)
		}
		if what := j.judge(m); what != "" {
			j.r.Errorf("%s: %s", what, payload)
		}
	}
}

// judge returns what is wrong with a message.
func (j *judge) judge(m message) string {
	if wanted := j.refresh; wanted && m.Type != "ready" {
		return "between the end of subscriptions and the ready of the refresh"
	}
	switch m.Type {
	case "ready":
		j.refresh = false
		if j.current++; j.current == len(j.ids) {
			return "more ready than identities"
		}
		for link := range j.subs {
			if !j.ids[j.current].Allows(link) {
				return "kept " + link + ", which the new identity does not cover"
			}
		}
	case "subscribed":
		return j.subscribed(m)
	case "click_update":
		if !j.subs[m.Link] {
			return "update without a subscription"
		}
		return j.count(m.Link)
	case "unsubscribed":
		return j.unsubscribed(m)
	case "error":
		j.ended = m.Code
		return j.end(m.Code)
	}
	return ""
}

// count judges a count of a link: somebody who may see it is there.
func (j *judge) count(link string) string {
	switch {
	case j.current < 0:
		return "before ready"
	case !j.ids[j.current].Allows(link):
		return "a count of " + link + ", which the identity does not cover"
	case !slices.ContainsFunc(j.ids[j.current:], j.good): // a later one may be the session's, and its ready on its way
		return "a count for an identity that has ended"
	}
	return ""
}

// good tells whether an identity was good when it was looked at last.
func (j *judge) good(id *auth.Identity) bool { return !isOver(id) && !j.revoked.is(j.revoked.over, id) }

func isOver(id *auth.Identity) bool { return !id.Ends().IsZero() && !time.Now().Before(id.Ends()) }

func (j *judge) subscribed(m message) string {
	counted := linkNames(m.Links)
	for _, link := range counted {
		if what := j.count(link); what != "" {
			return what
		}
	}
	for _, link := range slices.Concat(counted, m.Syncing) {
		if !j.ids[j.current].Allows(link) {
			return "subscribed to " + link + ", which the identity does not cover"
		}
		j.subs[link] = true
	}
	if len(m.Denied) == 0 {
		return ""
	}
	if len(j.denials) == 0 || !slices.Equal(j.denials[0], m.Denied) {
		return fmt.Sprintf("denied, want %q", j.denials)
	}
	j.denials = j.denials[1:]
	return ""
}

func (j *judge) unsubscribed(m message) string {
	links := linkNames(m.Links)
	if m.Reason != nil {
		j.refresh = true
		if j.current+1 >= len(j.ids) {
			return "no refresh was asked for"
		}
		var want []string
		for link := range j.subs {
			if !j.ids[j.current+1].Allows(link) {
				want = append(want, link)
			}
		}
		slices.Sort(want)
		if len(want) == 0 || !slices.Equal(links, want) {
			return fmt.Sprintf("a refresh ends %q", want)
		}
	}
	for _, link := range links {
		delete(j.subs, link)
	}
	return ""
}

// end judges why a session ends: an identity of it that has ended so, the one of the last `ready` or a later one.
func (j *judge) end(code string) string {
	why := map[string]func(*auth.Identity) bool{"token_expired": isOver, "token_revoked": j.revoked.has}[code]
	if why == nil || !slices.ContainsFunc(j.ids[max(0, j.current):], why) {
		return "ended for no reason"
	}
	return ""
}

// linkNames returns the links of an `unsubscribed`, or those that a `subscribed` has counts of, in order.
func linkNames(raw []json.RawMessage) (names []string) {
	for _, r := range raw {
		var l struct{ Link string }
		err := json.Unmarshal(r, &l)
		if r[0] == '"' {
			err = json.Unmarshal(r, &l.Link)
		}
		if err != nil {
			panic(err) // the contract has been checked
		}
		names = append(names, l.Link)
	}
	slices.Sort(names)
	return names
}
