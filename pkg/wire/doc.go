// Package wire is the WebSocket protocol of proto/PROTOCOL.md in Go: its messages, limits, error codes and close codes,
// with encoders and decoders for both sides.
//
// The server's encoders append to a slice that the caller reuses and never allocate when it has room: an update is
// encoded once per reading of a link and its bytes are shared by everybody who is owed the same. They write the frame
// header (RFC 6455 section 5.2) too, so that a write needs nothing but their output. What comes from a peer is decoded
// strictly on the server ([DecodeClient]) and tolerantly on the client ([DecodeServer]): that is how the protocol can
// grow.
//
// Everything here is pure and safe for concurrent use. The golden messages in proto/testdata bind it to the document.
package wire

import "time"

// Protocol is the version of the protocol that the server states in `ready`. It changes only when a client that keeps
// the client rules of PROTOCOL.md could no longer understand the server.
const Protocol = 1

// Limits of the protocol. Each names what it stops; PROTOCOL.md section 9 has the table.
const (
	// MaxClientMessage is the longest message of a client in bytes, after which the connection is closed with
	// [CloseTooBig]. It fits a subscribe of a thousand links of 13 characters and stops a peer from making the server
	// buffer what it will refuse anyway.
	MaxClientMessage = 16 << 10
	// MaxFirstMessage is the longest message of a client that nobody knows yet: twice what an `auth` with the longest token
	// has.
	MaxFirstMessage = 8 << 10
	// AuthDeadline is how long a connection may stay unauthenticated, from the handshake on. Then it is closed with
	// [CloseAuthDeadline]. It stops sockets of nobody.
	AuthDeadline = 5 * time.Second
	// MaxServerMessage is the longest message of a server in bytes: a `subscribed` of [MaxSubscriptions] links of 128
	// characters with numbers of 19 digits has 222 KB. Clients set their read limit to it.
	MaxServerMessage = 256 << 10
	// MaxSubscriptions is how many links a connection may be subscribed to. It bounds what a connection costs the
	// server in memory, and how much work one changed link can be made to be.
	MaxSubscriptions = 1000
	// MaxInterval is the largest interval_ms: beyond it a connection is better closed than held.
	MaxInterval = time.Hour
	// MaxTokenLen is the longest token of an `auth` in bytes.
	MaxTokenLen = 4 << 10

	// A client may send a message every MessageInterval, MessageBurst of them at once. The first one over it is
	// answered by [ErrRateLimited] and the server reads no faster than that; a client that is still over it after
	// RateLimitPatience is closed with [CloseTooMany]. It stops a client that subscribes in a loop.
	MessageInterval   = 100 * time.Millisecond
	MessageBurst      = 20
	RateLimitPatience = 3 * time.Second
	// RefreshCost is how many messages an `auth` that refreshes counts as: verifying a token costs more than any other
	// message.
	RefreshCost = 10

	// A client may send a ping every PingInterval, PingBurst of them at once, and is closed with [ClosePolicyViolation]
	// beyond it: each asks for a pong, so a flood of them would be answered from the server's budget. Browsers send none.
	PingInterval = time.Second
	PingBurst    = 10

	// SubscribedGrace is how long a `subscribed` waits for counts that are being read before it lists them as syncing.
	SubscribedGrace = 100 * time.Millisecond
	// DefaultHeartbeat is the interval of heartbeats where an operator does not set another; `ready` states it.
	DefaultHeartbeat = 15 * time.Second
	// SilenceBeats is after how many intervals without a byte from the peer either side takes it for dead.
	SilenceBeats = 2
)

// Values of the member "type".
const (
	// From client to server.
	TypeAuth        = "auth"
	TypeSubscribe   = "subscribe"
	TypeUnsubscribe = "unsubscribe"

	// From server to client.
	TypeReady        = "ready"
	TypeSubscribed   = "subscribed"
	TypeUnsubscribed = "unsubscribed"
	TypeUpdate       = "click_update"
	TypeHeartbeat    = "heartbeat"
	TypeGoodbye      = "goodbye"
	TypeError        = "error"
)

// Values of the member "reason" of `goodbye` and `unsubscribed`. A client takes one that it does not know like the first
// of its kind.
const (
	// ReasonDrain says that this gateway is being stopped or replaced.
	ReasonDrain = "drain"
	// ReasonEpoch says that the deployment has begun a new epoch: every count starts afresh.
	ReasonEpoch = "epoch"

	// ReasonRequest says that the client asked for it, which is also what no reason at all means.
	ReasonRequest = "request"
	// ReasonGrant says that a refreshed token no longer covers the links.
	ReasonGrant = "grant"
)

// ErrorCode is the code of an `error` message. New ones may come: a client shows the message of a code that it does not
// know, and carries on.
type ErrorCode string

// The error codes. After each of them the connection goes on, unless a close frame follows.
const (
	// ErrBadMessage answers what is no message of this protocol. The connection goes on if it was at least a JSON object.
	ErrBadMessage ErrorCode = "bad_message"
	// ErrBadLink answers a message that names an invalid link id. Nothing of the message was done.
	ErrBadLink ErrorCode = "bad_link"
	// ErrTooManySubscriptions answers a subscribe that would go over [MaxSubscriptions]. Nothing of it was done.
	ErrTooManySubscriptions ErrorCode = "too_many_subscriptions"
	// ErrRateLimited says that the client sends faster than it may. What it sent is done, only later.
	ErrRateLimited ErrorCode = "rate_limited"
	// ErrBadToken answers an auth whose token is not valid. After a first one 4401 follows; after a refresh the token
	// before it stays good.
	ErrBadToken ErrorCode = "bad_token"
	// ErrTokenExpired says that the token expired and no other took its place; 4401 follows.
	ErrTokenExpired ErrorCode = "token_expired"
	// ErrTokenRevoked says that the token was revoked; 4403 follows.
	ErrTokenRevoked ErrorCode = "token_revoked"
	// ErrTooManyConnections says that the subject of the token has as many connections as it may; 4429 follows.
	ErrTooManyConnections ErrorCode = "too_many_connections"
	// ErrOverloaded says that there are more tokens to verify than the gateway can, or no keys to verify them with now. After a first auth 1013 follows.
	ErrOverloaded ErrorCode = "overloaded"
)
