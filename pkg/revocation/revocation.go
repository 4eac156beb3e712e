// Package revocation is about tokens that are good no more, although they have not expired: one of them, all of a subject
// that were issued before a time, or all of everybody that were.
//
// Which ones is data that every gateway reads: records in the compacted topic linkpulse-control, one for each token or
// subject (proto/KAFKA.md). A gateway follows the topic ([Follow]) and looks each token up in a [List], which is right from
// the moment that the topic has been read to its end; until then the gateway takes nobody. Each record says until when it
// matters, which is when the last token that it concerns has expired, so the list holds what was revoked within the
// longest life of a token and no more.
package revocation

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/clickpb"
)

// Revocation says which tokens are good no more: the one of an id, or those of a subject that were issued before a time,
// or, where neither is named, those of everybody.
type Revocation struct {
	TokenID string
	Subject string
	// IssuedBefore is exclusive; zero with a TokenID, which was issued when it was.
	IssuedBefore time.Time
	// Until is when every token that it concerns has expired.
	Until time.Time
	// CreatedAt is when it was written.
	CreatedAt time.Time
}

// String names what is revoked, for people.
func (r Revocation) String() string {
	switch k := r.key(); k.kind {
	case kindToken:
		return fmt.Sprintf("the token %q", k.name)
	case kindSubject:
		return fmt.Sprintf("tokens of %q issued before %s", k.name, r.IssuedBefore.UTC().Format(time.RFC3339))
	default:
		return "all tokens issued before " + r.IssuedBefore.UTC().Format(time.RFC3339)
	}
}

// longest is how long from now a token can be good that was issued by now, if only by a clock that is ahead: whatever
// lifetime gateways are configured to allow.
const longest = auth.LongestLifetime + 2*auth.Leeway

// future is how far IssuedBefore may be ahead of this machine's clock.
const future = time.Minute

// settle fills in what is not said.
func (r *Revocation) settle(now time.Time) {
	r.CreatedAt = now
	if r.Subject != "" && r.IssuedBefore.IsZero() {
		r.IssuedBefore = now
	}
	if r.Until.IsZero() {
		r.Until = now.Add(longest)
		if r.IssuedBefore.After(now) {
			r.Until = r.IssuedBefore.Add(longest)
		}
	}
	for _, t := range []*time.Time{&r.IssuedBefore, &r.Until, &r.CreatedAt} {
		if !t.IsZero() {
			*t = time.UnixMilli(t.UnixMilli()) // as it will be read
		}
	}
}

// check returns everything that is wrong with what somebody wants to write.
func (r *Revocation) check(now time.Time) error {
	var errs []error
	switch {
	case r.TokenID != "" && r.Subject != "":
		errs = append(errs, errors.New("a token and a subject: one of them at a time"))
	case r.TokenID != "" && !r.IssuedBefore.IsZero():
		errs = append(errs, errors.New("a token is revoked whenever it was issued"))
	case r.TokenID == "" && r.Subject == "" && r.IssuedBefore.IsZero():
		errs = append(errs, errors.New("whose tokens: name one by its id, or a subject, or a time before which all were issued"))
	}
	for what, name := range map[string]string{"token id": r.TokenID, "subject": r.Subject} {
		if name == "" {
			continue
		}
		if err := auth.CheckName(name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	if r.IssuedBefore.After(now.Add(future)) {
		errs = append(errs, errors.New("issued before: it is in the future, and would revoke tokens that nobody has made yet"))
	}
	if !r.IssuedBefore.IsZero() && r.IssuedBefore.UnixMilli() <= 0 {
		errs = append(errs, errors.New("issued before: nobody had a token then"))
	}
	if !r.Until.After(now) {
		errs = append(errs, errors.New("until: it is over already"))
	}
	if r.Until.After(now.Add(longest + future)) {
		errs = append(errs, fmt.Errorf("until: no token lives for longer than %v", auth.LongestLifetime))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// ErrInvalid says that something cannot be revoked as it was asked for. Nothing was written.
var ErrInvalid = errors.New("that cannot be revoked")

// kind of what is revoked: the part of a key behind keyPrefix.
type kind string

const (
	kindToken   kind = "token"
	kindSubject kind = "subject"
	kindAll     kind = "all"
)

// keyPrefix is that of all keys of revocations.
const keyPrefix = "revoke/"

// key is the key of a record.
type key struct {
	kind kind
	name string // empty with kindAll
}

func (r Revocation) key() key {
	switch {
	case r.TokenID != "":
		return key{kindToken, r.TokenID}
	case r.Subject != "":
		return key{kindSubject, r.Subject}
	default:
		return key{kind: kindAll}
	}
}

func (k key) String() string {
	if k.kind == kindAll {
		return keyPrefix + string(k.kind)
	}
	return keyPrefix + string(k.kind) + "/" + k.name
}

var (
	errKey   = errors.New("the key of a revocation names nothing that can be revoked")
	errValue = errors.New("the value contradicts the key, or itself")
)

// parseKey reads a key. ours tells whether it is one of a revocation at all.
func parseKey(b []byte) (k key, ours bool, err error) {
	rest, ours := strings.CutPrefix(string(b), keyPrefix)
	if !ours {
		return key{}, false, nil
	}
	of, name, named := strings.Cut(rest, "/")
	switch k = (key{kind(of), name}); {
	case k.kind == kindAll && !named:
		return k, true, nil
	case (k.kind == kindToken || k.kind == kindSubject) && auth.CheckName(name) == nil:
		return k, true, nil
	default:
		return key{}, true, errKey
	}
}

func (r Revocation) encode() ([]byte, error) {
	m := &clickpb.Revocation{UntilMs: r.Until.UnixMilli(), CreatedAtMs: r.CreatedAt.UnixMilli()}
	if !r.IssuedBefore.IsZero() {
		m.IssuedBeforeMs = r.IssuedBefore.UnixMilli()
	}
	return proto.Marshal(m)
}

// decode reads the value of a record.
func decode(k key, value []byte) (Revocation, error) {
	var m clickpb.Revocation
	if err := proto.Unmarshal(value, &m); err != nil {
		return Revocation{}, fmt.Errorf("a revocation that does not decode: %w", err)
	}
	before, until := m.GetIssuedBeforeMs(), m.GetUntilMs()
	if before < 0 || (before == 0) != (k.kind == kindToken) || until <= 0 {
		return Revocation{}, errValue
	}
	r := Revocation{Until: time.UnixMilli(until), CreatedAt: time.UnixMilli(m.GetCreatedAtMs())}
	switch k.kind {
	case kindToken:
		r.TokenID = k.name
	case kindSubject:
		r.Subject = k.name
	case kindAll:
	}
	if before > 0 {
		r.IssuedBefore = time.UnixMilli(before)
	}
	return r, nil
}
