package tickets

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/rueidis"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/redisconn"
)

// Life is how long a ticket is good. It is long enough for a page to be told of it and to connect, and short enough to be
// over before anybody reads the log that it ended up in.
const Life = 30 * time.Second

const (
	// size of a ticket, in bytes. Nobody guesses one of 256 bits.
	size = 32
	// maxOrigin bounds what a ticket may be bound to: a scheme, a host name of 253 bytes and a port.
	maxOrigin = 300
)

// ErrNone says that there are no tickets, because there is no Redis.
var ErrNone = errors.New("there are no tickets")

// encoding of a ticket: it stands in an address as it is. Strict, so that a ticket has one spelling.
func encoding() *base64.Encoding { return base64.RawURLEncoding.Strict() }

// Store is the tickets in a Redis, which is connected to when it is needed. It is safe for concurrent use.
type Store struct {
	redis   *redisconn.Client
	prefix  string
	timeout time.Duration
	metrics *metrics
}

// Open returns a store, which is to be closed. It reads the files that cfg names and does no other I/O: a Redis that is away
// shows in the first call. A nil registry registers no metrics.
func Open(cfg redisconn.Config, registry prometheus.Registerer, opts ...redisconn.Option) (*Store, error) {
	redis, err := redisconn.Open(cfg, opts...)
	if err != nil {
		return nil, err
	}
	return &Store{redis: redis, prefix: cfg.Prefix + ":ticket:", timeout: cfg.Timeout, metrics: newMetrics(registry)}, nil
}

// Close ends the connections.
func (s *Store) Close() { s.redis.Close() }

// stored is what Redis holds of a ticket.
type stored struct {
	Subject   string   `json:"sub"`
	TokenID   string   `json:"jti,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"` // Unix seconds, as in a token
	ExpiresAt int64    `json:"exp,omitempty"` // never, where it is missing
	Links     []string `json:"links"`
	Origin    string   `json:"origin,omitempty"`
}

// Issue makes a ticket for somebody and tells how long it is good: for [Life], or for as long as what they have shown, where
// that is less. Unless origin is empty, it is good for a handshake with this Origin header only. The error is an
// *[auth.RefusedError]; then there is no ticket that anybody knows.
func (s *Store) Issue(ctx context.Context, id *auth.Identity, origin string) (ticket string, good time.Duration, err error) {
	good = Life
	if ends := id.Ends(); !ends.IsZero() {
		good = min(Life, time.Until(ends).Truncate(time.Millisecond))
	}
	if good <= 0 {
		return "", 0, expired()
	}
	value, err := json.Marshal(stored{
		Subject: id.Subject, TokenID: id.TokenID, IssuedAt: seconds(id.IssuedAt), ExpiresAt: seconds(id.ExpiresAt),
		Links: id.Grants.Patterns(), Origin: origin,
	})
	if err != nil { // strings and numbers always encode
		return "", 0, away()
	}
	var secret [size]byte
	_, _ = rand.Read(secret[:]) // it never fails
	err = s.call(ctx, callIssue, func(ctx context.Context, c rueidis.Client) error {
		return c.Do(ctx, c.B().Set().Key(s.key(secret[:])).Value(rueidis.BinaryString(value)).Nx().Px(good).Build()).Error()
	})
	if err != nil {
		return "", 0, away()
	}
	return encoding().EncodeToString(secret[:]), good, nil
}

// Redeem returns whose a ticket is, and nobody else can redeem it any more, whatever is returned: also not where it is bound
// to another origin. The error is an *[auth.RefusedError]. Whether they were revoked since is for the caller to ask.
func (s *Store) Redeem(ctx context.Context, ticket, origin string) (*auth.Identity, error) {
	secret, err := encoding().DecodeString(ticket)
	if err != nil || len(secret) != size {
		return nil, refused("this is no ticket: POST /v1/tickets gives one")
	}
	var value []byte
	err = s.call(ctx, callRedeem, func(ctx context.Context, c rueidis.Client) error {
		var err error
		value, err = c.Do(ctx, c.B().Getdel().Key(s.key(secret)).Build()).AsBytes()
		if rueidis.IsRedisNil(err) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, away()
	}
	if value == nil {
		return nil, refused("the ticket is not known: it was used already, or is too old; take another one")
	}
	return holder(value, origin)
}

// holder reads whose a ticket is that somebody shows from a page of an origin.
func holder(value []byte, origin string) (*auth.Identity, error) {
	var t stored
	switch {
	case json.Unmarshal(value, &t) != nil || t.Subject != "" && auth.CheckName(t.Subject) != nil || t.TokenID != "" && auth.CheckName(t.TokenID) != nil:
		return nil, refused("the ticket cannot be read; take another one")
	case t.Origin != "" && !strings.EqualFold(t.Origin, origin): // scheme and host have no case
		return nil, refused("the ticket is for a page of another origin")
	}
	grants, err := auth.ParseGrants(t.Links)
	if err != nil {
		return nil, refused("the ticket cannot be read; take another one")
	}
	id := &auth.Identity{Subject: t.Subject, TokenID: t.TokenID, IssuedAt: moment(t.IssuedAt), ExpiresAt: moment(t.ExpiresAt), Grants: grants}
	if ends := id.Ends(); !ends.IsZero() && !time.Now().Before(ends) {
		return nil, expired()
	}
	return id, nil
}

// CheckOrigin returns what is wrong with an origin to bind a ticket to.
func CheckOrigin(origin string) error {
	scheme, host, ok := strings.Cut(origin, "://")
	if !ok || scheme == "" || host == "" || len(origin) > maxOrigin || strings.ContainsAny(host, "/?#@*\\ ") {
		return fmt.Errorf("an origin is a scheme and a host, like https://dash.example.com, of at most %d bytes", maxOrigin)
	}
	return nil
}

// key of a ticket. It tells nothing of it.
func (s *Store) key(secret []byte) string {
	sum := sha256.Sum256(secret)
	return s.prefix + hex.EncodeToString(sum[:])
}

func refused(detail string) error {
	return &auth.RefusedError{Reason: auth.ReasonTicket, Detail: detail}
}

func expired() error {
	return &auth.RefusedError{Reason: auth.ReasonExpired, Detail: "the token that the ticket stands for has expired"}
}

func away() error {
	return &auth.RefusedError{Reason: auth.ReasonKeysAway, Detail: "the store of tickets does not answer; come again, or show the token"}
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func moment(seconds int64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}
