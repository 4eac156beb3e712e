package ws

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strings"
)

var (
	errNoUpgrade = errors.New("here is a WebSocket: send GET with Connection: Upgrade and Upgrade: websocket, over HTTP/1.1")
	errVersion   = errors.New("the version of a WebSocket is 13: send Sec-WebSocket-Version: 13")
	errKey       = errors.New("a handshake has one Sec-WebSocket-Key of 16 bytes in base64")
	errOrigin    = errors.New("the Origin header names no page that may connect")
)

// checkHandshake tells why a request is no opening handshake of RFC 6455 (sections 4.2.1 and 4.4), and what the answer says
// beside it. The library would find the same, and say it as text that repeats what was sent.
func checkHandshake(header http.Header, r *http.Request) *denial {
	switch keys := r.Header["Sec-Websocket-Key"]; {
	case !r.ProtoAtLeast(1, 1), !hasToken(r.Header["Connection"], "upgrade"), !hasToken(r.Header["Upgrade"], "websocket"):
		askForUpgrade(header)
		return &denial{as: refusedHandshake, status: http.StatusUpgradeRequired, code: "upgrade_required", err: errNoUpgrade}
	case r.Header.Get("Sec-Websocket-Version") != "13":
		askForUpgrade(header)
		return &denial{as: refusedHandshake, status: http.StatusUpgradeRequired, code: "websocket_version", err: errVersion}
	case len(keys) != 1 || !isKey(keys[0]):
		return &denial{as: refusedHandshake, status: http.StatusBadRequest, code: "websocket_key", err: errKey}
	}
	return nil
}

// askForUpgrade says what 426 must say (RFC 9110 section 15.5.22), and which version there is (RFC 6455 section 4.2.2).
func askForUpgrade(header http.Header) {
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", "websocket")
	header.Set("Sec-Websocket-Version", "13")
}

// hasToken tells whether a list of the header has a token, in any case.
func hasToken(fields []string, token string) bool {
	for _, field := range fields {
		for t := range strings.SplitSeq(field, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// isKey tells whether a text is the nonce of a handshake.
func isKey(s string) bool {
	const size = 16
	nonce, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	return err == nil && len(nonce) == size
}

// originAllowed tells whether the page that a request comes from, if it comes from one, may connect. The library looks
// too, but takes the first of several headers, compares the host of one that has none, such as "null", with a Host header
// that may be empty as well, and repeats to the client what it sent.
func (h *Handler) originAllowed(r *http.Request) bool {
	origins := r.Header["Origin"]
	if len(origins) == 0 {
		return true // no browser
	}
	u, err := url.Parse(origins[0])
	if err != nil || len(origins) > 1 || u.Host == "" || u.User != nil {
		return false
	}
	if strings.EqualFold(u.Host, r.Host) {
		return true
	}
	target := strings.ToLower(u.Scheme + "://" + u.Host)
	for _, pattern := range h.cfg.Origins {
		if ok, err := path.Match(strings.ToLower(pattern), target); err == nil && ok {
			return true
		}
	}
	return false
}
