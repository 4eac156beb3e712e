package wire

// CloseCode is the status code of a close frame (RFC 6455 section 7.4). Its name is the reason that the server sends
// with it.
type CloseCode uint16

// The close codes. [CloseNoStatus] and [CloseAbnormal] never travel: they say how a connection ended that had no code.
const (
	CloseNormal          CloseCode = 1000
	CloseGoingAway       CloseCode = 1001
	CloseProtocolError   CloseCode = 1002
	CloseUnsupported     CloseCode = 1003
	CloseNoStatus        CloseCode = 1005
	CloseAbnormal        CloseCode = 1006
	CloseInvalidUTF8     CloseCode = 1007
	ClosePolicyViolation CloseCode = 1008
	CloseTooBig          CloseCode = 1009
	CloseInternalError   CloseCode = 1011
	CloseServiceRestart  CloseCode = 1012
	CloseTryAgainLater   CloseCode = 1013
	CloseUnauthenticated CloseCode = 4401
	CloseRevoked         CloseCode = 4403
	CloseAuthDeadline    CloseCode = 4408
	CloseTooMany         CloseCode = 4429
)

// CloseClass is what a client does after a close.
type CloseClass uint8

const (
	// CloseStop says not to connect again: it would end the same way, until the program or its token has changed.
	CloseStop CloseClass = iota
	// CloseReconnect says to connect again at once, to any gateway, with nothing but jitter before the first attempt.
	CloseReconnect
	// CloseBackOff says to connect again, but to wait before the first attempt already.
	CloseBackOff
)

// String returns the class as PROTOCOL.md names it.
func (c CloseClass) String() string {
	switch c {
	case CloseReconnect:
		return "reconnect"
	case CloseBackOff:
		return "back off"
	default:
		return "stop"
	}
}

// CloseInfo is a row of the table of close codes.
type CloseInfo struct {
	Code  CloseCode
	Name  string
	Class CloseClass
	// When says when a connection ends with it. What begins with "reserved" is not sent by this version.
	When string
}

// CloseTable returns the table of close codes, in the order of the codes. PROTOCOL.md section 8 is the same table.
func CloseTable() []CloseInfo {
	return []CloseInfo{
		{CloseNormal, "normal", CloseBackOff, "the client is done; sent by clients only, from elsewhere it is a proxy's"},
		{CloseGoingAway, "going_away", CloseReconnect, "reserved: the gateway stops without a drain; proxies send it too"},
		{CloseProtocolError, "protocol_error", CloseBackOff, "a frame that breaks RFC 6455"},
		{CloseUnsupported, "unsupported", CloseStop, "a binary message"},
		{CloseNoStatus, "no_status", CloseReconnect, "never sent: the close frame had no code"},
		{CloseAbnormal, "abnormal", CloseReconnect, "never sent: the connection was lost, or the peer was silent"},
		{CloseInvalidUTF8, "invalid_utf8", CloseStop, "a text message that is not UTF-8, or a close whose reason is not"},
		{ClosePolicyViolation, "policy_violation", CloseStop, "a message that is no JSON object, or too many pings"},
		{CloseTooBig, "too_big", CloseStop, "a message over 16 KiB"},
		{CloseInternalError, "internal_error", CloseBackOff, "reserved: a defect of the gateway"},
		{CloseServiceRestart, "service_restart", CloseReconnect, "a drain or a new epoch, after `goodbye`"},
		{CloseTryAgainLater, "try_again_later", CloseBackOff, "the token could not be verified now: there are too many, or no keys"},
		{CloseUnauthenticated, "unauthenticated", CloseStop, "no token, or one that is invalid or expired"},
		{CloseRevoked, "revoked", CloseStop, "the token was revoked"},
		{CloseAuthDeadline, "auth_deadline", CloseBackOff, "no `auth` in time"},
		{CloseTooMany, "too_many", CloseBackOff, "too many messages for too long, or too many connections of a subject"},
	}
}

// String returns the short name of the code, "unknown" for one that is not in the table.
func (c CloseCode) String() string {
	for _, row := range CloseTable() {
		if row.Code == c {
			return row.Name
		}
	}
	return "unknown"
}

// Class tells what a client does after a close with the code. A code that is not in the table is of the private range or
// of a later version: backing off is safe for both.
func (c CloseCode) Class() CloseClass {
	for _, row := range CloseTable() {
		if row.Code == c {
			return row.Class
		}
	}
	return CloseBackOff
}
