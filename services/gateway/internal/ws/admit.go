package ws

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/bearer"
	"github.com/linkpulse/linkpulse/pkg/problem"
)

// credential is what a handshake shows. At most one of the two is there.
type credential struct{ token, ticket string }

func (c credential) none() bool { return c == credential{} }

// errEmpty refuses a query that has a credential by name only.
var errEmpty = &auth.RefusedError{Reason: auth.ReasonMalformed, Detail: "the query names a ticket or a token and has none"}

// denial says no to a handshake.
type denial struct {
	as     refusal
	status int    // 0: err is an error of the credential, whose status it says itself
	code   string // that programs branch on, the name of as where it is empty
	err    error
}

var (
	errHost          = errors.New("the Host header names no host of this gateway")
	errQueryToken    = errors.New("a token does not belong in the query, which ends up in logs: send it in an Authorization header, in an auth message, or take a ticket from POST /v1/tickets")
	errQuery         = errors.New("the query is not URL-encoded")
	errTwo           = errors.New("the handshake says more than once who the client is: send one token or one ticket")
	errFull          = errors.New("this gateway has as many connections as it may")
	errRate          = errors.New("this gateway opens as many connections a second as it may")
	errAddressRate   = errors.New("this client's address opens as many connections a second as it may")
	errAddress       = errors.New("this client's address has as many connections as it may: close some, or subscribe to more links on each")
	errGuests        = errors.New("as many connections as may have not said yet who they are: send the token in an Authorization header, or come again")
	errAddressGuests = errors.New("as many connections of this client's address as may have not said yet who they are: send auth on those first")
	errSubject       = errors.New("the subject of the token has as many connections as it may: close some, or subscribe to more links on each")
)

// examine looks at what can be decided by the request alone, and takes what it shows out of it.
func (h *Handler) examine(header http.Header, r *http.Request) (credential, *denial) {
	if refused := checkHandshake(header, r); refused != nil {
		return credential{}, refused
	}
	if err := h.cfg.Accepting(); err != nil {
		return credential{}, &denial{as: refusedUnavailable, status: http.StatusServiceUnavailable, err: err}
	}
	if !HostAllowed(h.cfg.Hosts, r.Host) {
		return credential{}, &denial{as: refusedHost, status: http.StatusForbidden, err: errHost}
	}
	if !h.originAllowed(r) {
		return credential{}, &denial{as: refusedHandshake, status: http.StatusForbidden, code: "origin", err: errOrigin}
	}
	return h.shown(r)
}

// Query parameters of a handshake.
const (
	queryTicket = "ticket"
	queryToken  = "access_token" // RFC 6750 section 2.3
	// queryWrong is where else programs put a token. It is refused too: else it would end up in logs without a word.
	queryWrong = "token"
)

// shown returns the credential of a handshake.
func (h *Handler) shown(r *http.Request) (c credential, refused *denial) {
	if r.URL.RawQuery != "" {
		if c, refused = h.shownInQuery(r.URL.RawQuery); refused != nil {
			return credential{}, refused
		}
	}
	if h.cfg.Auth == nil {
		return credential{}, nil // nobody looks at it
	}
	token, err := bearer.Token(r.Header)
	missing := false
	if refusal, ok := errors.AsType[*auth.RefusedError](err); ok {
		missing = refusal.Reason == auth.ReasonMissing
	}
	switch {
	case missing:
		return c, nil
	case err != nil:
		return credential{}, &denial{as: refusedCredential, err: err}
	case !c.none():
		return credential{}, &denial{as: refusedCredential, status: http.StatusBadRequest, code: "two_credentials", err: errTwo}
	}
	return credential{token: token}, nil
}

func (h *Handler) shownInQuery(raw string) (credential, *denial) {
	query, err := url.ParseQuery(raw)
	tickets, tokens := query[queryTicket], query[queryToken]
	switch {
	case len(query[queryWrong]) > 0, len(tokens) > 0 && !h.cfg.QueryTokens:
		return credential{}, &denial{as: refusedQueryToken, status: http.StatusBadRequest, err: errQueryToken}
	case err != nil:
		return credential{}, &denial{as: refusedHandshake, status: http.StatusBadRequest, code: "bad_query", err: errQuery}
	case len(tickets)+len(tokens) > 1:
		return credential{}, &denial{as: refusedCredential, status: http.StatusBadRequest, code: "two_credentials", err: errTwo}
	case len(tickets) == 1 && tickets[0] != "":
		return credential{ticket: tickets[0]}, nil
	case len(tokens) == 1 && tokens[0] != "":
		return credential{token: tokens[0]}, nil
	case len(tickets)+len(tokens) == 1: // it meant to show one, and would wait to be asked for it otherwise
		return credential{}, &denial{as: refusedCredential, err: errEmpty}
	}
	return credential{}, nil
}

// enter gives the connection a place, and lets no more in than there may be a second.
func (h *Handler) enter(c *Conn, shown credential) *denial {
	guest := h.cfg.Auth != nil && shown.none()
	switch as := h.places.enter(c.address, guest); as {
	case admitted:
	case refusedAddress:
		h.hint()
		return &denial{as: as, status: http.StatusTooManyRequests, err: errAddress}
	case refusedGuests:
		return &denial{as: as, status: http.StatusServiceUnavailable, err: errGuests}
	case refusedAddressGuests:
		h.hint()
		return &denial{as: as, status: http.StatusTooManyRequests, err: errAddressGuests}
	default:
		return &denial{as: as, status: http.StatusServiceUnavailable, err: errFull}
	}
	if refused := h.pace(c.address); refused != nil {
		h.places.leave(c.address, guest, "")
		return refused
	}
	if guest {
		c.guest = true
		h.cfg.Metrics.guests.Inc()
	}
	return nil
}

// pace lets no more handshakes pass than there may be a second. Those of an address come first: what one client does too
// much of is not taken from the others.
func (h *Handler) pace(a address) *denial {
	l, now := h.cfg.Limits, h.clock()
	switch {
	case l.AddressHandshakes > 0 && l.PerAddress > 0 && !h.gates.of(a).pass(now, time.Second/time.Duration(l.AddressHandshakes), l.PerAddress):
		h.hint()
		return &denial{as: refusedAddressRate, status: http.StatusTooManyRequests, err: errAddressRate}
	case l.Handshakes > 0 && !h.gate.pass(now, time.Second/time.Duration(l.Handshakes), l.HandshakeBurst):
		return &denial{as: refusedRate, status: http.StatusServiceUnavailable, err: errRate}
	}
	return nil
}

// identify finds out whose the connection is, before the upgrade, where the handshake says it.
func (h *Handler) identify(r *http.Request, c *Conn, shown credential) *denial {
	id, err := h.anybody, error(nil)
	switch {
	case c.guest:
		return nil
	case shown.token != "":
		id, err = h.cfg.Auth.Token(r.Context(), shown.token)
	case shown.ticket != "" && h.cfg.Auth != nil:
		id, err = h.cfg.Auth.Ticket(r.Context(), shown.ticket, r.Header.Get("Origin"))
	}
	if err != nil {
		return &denial{as: refusalOf(err), err: err}
	}
	if !h.places.seat(id.Subject) {
		return &denial{as: refusedSubject, status: http.StatusTooManyRequests, err: errSubject}
	}
	c.id = id
	return nil
}

func refusalOf(err error) refusal {
	if isTemporary(err) {
		return refusedUnverified
	}
	return refusedCredential
}

// retryAfter is when a client that found no room should come back: another gateway may have room at once.
const retryAfter = time.Second

// refuse answers a handshake that is refused.
func (h *Handler) refuse(w http.ResponseWriter, why *denial) {
	h.cfg.Metrics.refused[why.as].Inc()
	w.Header().Set("Cache-Control", "no-store")
	if why.status == 0 {
		bearer.Problem(w.Header(), why.err).Write(w)
		return
	}
	p := problem.Problem{Status: why.status, Code: why.code, Detail: why.err.Error()}
	if p.Code == "" {
		p.Code = why.as.String()
	}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		p.RetryAfter = retryAfter
	}
	p.Write(w)
}

// hint is when something was logged last that is worth a line now and then.
type hint struct{ at atomic.Int64 }

// hintInterval is how often that is.
const hintInterval = 10 * time.Minute

func (h *hint) due(now time.Duration) bool {
	last := h.at.Load()
	return (last == 0 || int64(now)-last >= int64(hintInterval)) && h.at.CompareAndSwap(last, int64(now))
}

// hint tells the operator what is likely to be wrong where an address has too many connections. Which one it is stays out
// of the log.
func (h *Handler) hint() {
	if h.cfg.KnowsProxies || !h.hinted.due(h.clock()) {
		return
	}
	h.cfg.Log.Warn("a client address has, or opens, as many connections as it may, and more are refused. "+
		"If this gateway is behind a proxy, the address is the proxy's and the clients are many: name it in --trusted-proxies",
		zap.Int("connections", h.cfg.Limits.PerAddress), zap.Int("unauthenticated", h.cfg.Limits.UnauthenticatedPerAddress))
}

// HostAllowed tells whether a Host header is one of hosts, with or without its port. No hosts allow any.
func HostAllowed(hosts []string, host string) bool {
	if len(hosts) == 0 {
		return true
	}
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	for _, allowed := range hosts {
		if strings.EqualFold(allowed, host) || strings.EqualFold(allowed, name) {
			return true
		}
	}
	return false
}
