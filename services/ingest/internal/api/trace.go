package api

// traceparentLen is the length of a traceparent of version 00.
const traceparentLen = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// validTraceparent tells whether a header is a trace context that may be passed on (W3C Trace Context, section 3.2):
// version 00, or a later one that is no longer than it, with ids that are not all zero. Anything else is dropped, as
// section 3.2.2.2 to 3.2.2.4 ask; the click is not.
func validTraceparent(v string) bool {
	if len(v) != traceparentLen || v[2] != '-' || v[35] != '-' || v[52] != '-' {
		return false
	}
	version, trace, parent, flags := v[:2], v[3:35], v[36:52], v[53:]
	return lowerHex(version) && version != "ff" && lowerHex(flags) &&
		lowerHex(trace) && !zeros(trace) && lowerHex(parent) && !zeros(parent)
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && (c < 'a' || 'f' < c) {
			return false
		}
	}
	return true
}

func zeros(s string) bool {
	for i := range len(s) {
		if s[i] != '0' {
			return false
		}
	}
	return true
}
