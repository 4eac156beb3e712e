package keyring

import (
	"crypto/sha256"
	"sync/atomic"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
	"github.com/linkpulse/linkpulse/pkg/auth"
)

// Key is what an ingest knows of a key. It is safe for concurrent use. What it is and may do does not change; how much it has
// sent is kept from one reading of the file to the next.
type Key struct {
	id       string
	hash     [sha256.Size]byte
	hashed   bool           // it may be sent
	secret   *apikey.Secret // it may be signed with; nil: it may not
	grants   auth.Grants
	limit    limit
	notAfter time.Time // zero: never
	*account
}

// account is how much a key has sent.
type account struct {
	bucket   bucket
	accepted atomic.Uint64 // clicks
	refused  atomic.Uint64 // requests
}

// Anybody returns the key of everybody where authentication is off: it covers every link, and has no limit.
func Anybody() *Key { return &Key{grants: auth.Anybody().Grants, account: newAccount()} }

func newAccount() *account { return &account{bucket: bucket{began: time.Now()}} }

// ID names the key; empty for [Anybody].
func (k *Key) ID() string { return k.id }

// NotAfter is when it ends; zero is never.
func (k *Key) NotAfter() time.Time { return k.notAfter }

// Grants say which links it may send clicks of.
func (k *Key) Grants() auth.Grants { return k.grants }

// Allows tells whether it may send clicks of a link. It does not allocate.
func (k *Key) Allows(link []byte) bool { return k.grants.CoverBytes(link) }

// Verify tells whether what was presented proves that the body is of this key. It does where the key itself was sent, which
// [Ring.Find] has looked at; a signature is looked at here. The error is a *[apikey.RefusedError].
func (k *Key) Verify(p *apikey.Presented, body []byte) error {
	if p.Signed() && (k.secret == nil || !k.secret.Verify(p, body)) {
		return apikey.ErrSignature()
	}
	return nil
}

// Wait returns how long it is until so many clicks may be sent; 0: now.
func (k *Key) Wait(clicks int, now time.Time) time.Duration {
	return k.bucket.wait(k.limit, clicks, now)
}

// Take is Wait, and takes the clicks for sent if it returns 0.
func (k *Key) Take(clicks int, now time.Time) time.Duration {
	return k.bucket.take(k.limit, clicks, now)
}

// Most is how many clicks it may send at once; 0: as many as it likes.
func (k *Key) Most() int { return k.limit.burst }

// Count takes clicks that were accepted into account.
func (k *Key) Count(clicks int) { k.accepted.Add(uint64(clicks)) } //nolint:gosec // there are no fewer than none

// CountRefused takes a request into account that was refused.
func (k *Key) CountRefused() { k.refused.Add(1) }

// Counted returns how many clicks were accepted and how many requests refused, since the key is known.
func (k *Key) Counted() (clicks, refused uint64) { return k.accepted.Load(), k.refused.Load() }
