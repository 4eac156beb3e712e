package hub

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// identified is what the model knows of a client's identity.
type identified struct {
	id    *auth.Identity   // asked for last
	since []*auth.Identity // that of when all was quiet, and those asked for since: any may be the session's
	busy  bool             // not all that was asked for has been done for sure
	fate  fate
	// unread is whether the client was stalled when it had to end: it may not get to read why.
	unread bool
}

// fate is what must have become of a client once all is quiet.
type fate uint8

const (
	lives   fate = iota
	expired      // told so, and closed
	revoked      // likewise
	either       // it was revoked beside a refresh: it depends on which of them came first
	ended        // by either
)

// subject draws whose an identity is: somebody's who is there, or somebody new's.
func (m *model) subject(t *rapid.T) string {
	if len(m.clients) > 0 && rapid.Bool().Draw(t, "known") {
		return m.pick(t).id.Subject
	}
	return fmt.Sprintf("s%d", m.issued)
}

// identity draws an identity of a subject.
func (m *model) identity(t *rapid.T, subject string) *auth.Identity {
	patterns := rapid.SliceOfN(rapid.SampledFrom(append([]string{"*", "link-*", "other"}, m.links...)), 1, 4).Draw(t, "grants")
	grants, err := auth.ParseGrants(patterns)
	if err != nil {
		t.Fatal(err)
	}
	m.issued++
	id := &auth.Identity{Subject: subject, TokenID: fmt.Sprintf("t%d", m.issued), Grants: grants}
	if ms := rapid.SampledFrom([]int{-1, -1, 0, 1, 50, 1000, 4000, 12_000}).Draw(t, "expires"); ms >= 0 {
		id.ExpiresAt = time.Now().Add(time.Duration(ms)*time.Millisecond - auth.Leeway)
	}
	return id
}

func (m *model) refresh(t *rapid.T) {
	c := m.pick(t)
	id := m.identity(t, c.id.Subject)
	c.mu.Lock()
	c.judge.ids = append(c.judge.ids, id)
	c.mu.Unlock()
	for l := range c.wants {
		if !id.Allows(l) {
			delete(c.wants, l)
		}
	}
	if c.fate == lives || c.fate == either {
		c.id = id
		c.since = append(c.since, id)
	}
	c.busy = true
	c.asks <- func() { c.session.Refresh(id) }
	m.look(c)
}

// revoke revokes everything of a subject, or one token of those that were asked for.
func (m *model) revoke(t *rapid.T) {
	c := m.pick(t)
	name := rapid.SampledFrom(handles(rapid.SampledFrom(c.since).Draw(t, "token"))).Draw(t, "what")
	m.revoked.revoke(m.h.hub, name)
	for _, c := range m.clients {
		before := func(id *auth.Identity) bool { return slices.Contains(handles(id), name) }
		switch {
		case !c.busy || !slices.ContainsFunc(c.since, before):
		case c.fate == lives && !before(c.id):
			c.doom(either)
		case c.fate == expired: // not yet, perhaps
			c.fate = ended
		}
		m.look(c)
	}
}

// look ends what the model knows to end: whatever the order, an identity that is revoked or over is no session's for long.
func (m *model) look(c *modelClient) {
	switch {
	case c.fate != lives && c.fate != either:
	case m.revoked.has(c.id):
		c.doom(revoked)
	case isOver(c.id):
		c.doom(expired)
	}
}

func (c *modelClient) doom(to fate) {
	if c.fate == either {
		to = ended // or it had ended already
	}
	c.fate = to
	c.unread = c.unread || c.stalled
}

// quiet says that all that was asked for has been done.
func (m *model) quiet() {
	for _, c := range m.clients {
		c.since, c.busy = []*auth.Identity{c.id}, false
	}
}

// verify compares with what has become of the clients, when all is quiet.
func (m *model) verify(t *rapid.T) {
	m.quiet()
	for i, c := range m.clients {
		if c.stalled {
			continue // it does not show yet
		}
		code, closed := c.closeCode(), c.isClosed()
		if c.fate == either {
			c.fate = lives
			if code != 0 || closed {
				c.fate = ended
			}
		}
		want := map[fate][]int{lives: {0}, expired: {4401}, revoked: {4403}, ended: {4401, 4403}}[c.fate]
		if c.unread && closed {
			want = append(want, 0)
		}
		if !slices.Contains(want, code) || closed && c.fate == lives {
			t.Fatalf("client %d: close %d, closed %v, want %v", i, code, closed, want)
		}
		said := map[int]string{0: "", 4401: "token_expired", 4403: "token_revoked"}[code]
		if got := c.judgement(); got != said && code != 0 {
			t.Fatalf("client %d: told %q, want %q", i, got, said)
		}
	}
}

// judgement returns the code of the error that ended the client, if it was told.
func (c *client) judgement() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.judge.ended
}
