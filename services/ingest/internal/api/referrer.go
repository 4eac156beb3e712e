package api

import "bytes"

// maxHost is the longest name of the DNS (RFC 1035 section 2.3.4).
const maxHost = 253

// referrerHost returns the host of a referrer as a slice of it, in the case in which it was written; empty where there
// is none. Of a referrer only the host is kept: its path and query are the visitor's own.
//
// A referrer comes from a visitor's browser, so one that is no URL is no fault of the sender: the click counts, without
// a host. What is taken for a host is what RFC 3986 section 3.2.2 calls one, without the forms that no browser sends
// (percent-encoding, sub-delimiters).
func referrerHost(referrer []byte) []byte {
	scheme, rest, ok := bytes.Cut(referrer, []byte("://"))
	if !ok || !isScheme(scheme) {
		return nil
	}
	// Browsers read a backslash as a slash (WHATWG URL), so it ends the authority too.
	if end := bytes.IndexAny(rest, `/?#\`); end >= 0 {
		rest = rest[:end]
	}
	if at := bytes.LastIndexByte(rest, '@'); at >= 0 {
		rest = rest[at+1:]
	}
	host, ok := cutPort(rest)
	if !ok || len(host) == 0 || len(host) > maxHost {
		return nil
	}
	return host
}

// cutPort takes the port off an authority without user information, and checks that what remains is a host.
func cutPort(hostport []byte) (host []byte, ok bool) {
	if len(hostport) > 0 && hostport[0] == '[' {
		end := bytes.IndexByte(hostport, ']')
		if end < 0 || !isPort(hostport[end+1:]) {
			return nil, false
		}
		return hostport[:end+1], end > 1 && all(hostport[1:end], func(b byte) bool { return isHex(b) || b == ':' || b == '.' })
	}
	host = hostport
	if colon := bytes.IndexByte(hostport, ':'); colon >= 0 {
		if !isPort(hostport[colon:]) {
			return nil, false
		}
		host = hostport[:colon]
	}
	return host, all(host, func(b byte) bool { return isAlpha(b) || isDigit(b) || b == '.' || b == '-' || b == '_' })
}

func isPort(b []byte) bool {
	return len(b) == 0 || b[0] == ':' && len(b) <= len(":65535") && all(b[1:], isDigit)
}

func isScheme(b []byte) bool {
	return len(b) > 0 && isAlpha(b[0]) && all(b, func(b byte) bool {
		return isAlpha(b) || isDigit(b) || b == '+' || b == '-' || b == '.'
	})
}

func all(b []byte, is func(byte) bool) bool {
	for _, c := range b {
		if !is(c) {
			return false
		}
	}
	return true
}

func isAlpha(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

func isDigit(b byte) bool { return '0' <= b && b <= '9' }

func isHex(b byte) bool { return isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'f' }
