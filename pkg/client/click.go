package client

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// Click is a redirect that happened. Only Link is needed.
type Click struct {
	Link string
	// ID makes retries safe. Leave it zero and [Sender.Send] mints one. Set it where the same click may be handed in
	// twice, derived from what is the same each time, like its place in a log.
	ID click.ID
	// At is when it happened, zero for now. It is informational: counts go by when ingest received the click.
	At time.Time
	// Referrer and UserAgent are the request's headers of that name, as they came. What is longer than ingest takes is
	// cut, and what is no UTF-8 replaced: neither is worth a click.
	Referrer, UserAgent string
	// Country is an ISO 3166-1 alpha-2 code. Anything but two letters counts as none.
	Country string
	// Bot says whether a known bot did it; nil leaves that to ingest, which looks at the user agent.
	Bot *bool
}

// What ingest takes of a header, in bytes.
const (
	maxReferrer  = 2048
	maxUserAgent = 1024
)

// wireClick is a click of POST /v1/clicks.
type wireClick struct {
	Link      string     `json:"link"`
	ID        string     `json:"id"`
	At        *time.Time `json:"at,omitempty"`
	Referrer  string     `json:"referrer,omitempty"`
	Country   string     `json:"country,omitempty"`
	UserAgent string     `json:"user_agent,omitempty"`
	Bot       *bool      `json:"bot,omitempty"`
}

// wire returns the click as ingest takes it.
func (c *Click) wire() wireClick {
	w := wireClick{
		Link: c.Link, ID: c.ID.String(), Bot: c.Bot,
		Referrer: fit(c.Referrer, maxReferrer), UserAgent: fit(c.UserAgent, maxUserAgent),
	}
	if !c.At.IsZero() {
		at := c.At.UTC()
		w.At = &at
	}
	if len(c.Country) == 2 && letter(c.Country[0]) && letter(c.Country[1]) {
		w.Country = c.Country
	}
	return w
}

// fit makes s valid UTF-8 of at most most bytes.
func fit(s string, most int) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, string(utf8.RuneError))
	}
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

func letter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }
