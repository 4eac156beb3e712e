package apikey

import (
	"net/http"
	"testing"
	"time"
)

// What is put into a header is what is read there.
func TestAuthorize(t *testing.T) {
	t.Parallel()
	now, body, k, secret := time.Now(), []byte("[]"), newKey(t, "acme-1"), NewSecret()
	h := http.Header{"Authorization": {"of somebody else"}}
	k.Authorize(h, body, now)
	if p, err := Read(h); err != nil || p.Signed() || p.key != k {
		t.Errorf("%v: %v", p, err)
	}
	s, err := NewSigner("acme-1", secret)
	if err != nil {
		t.Fatal(err)
	}
	h = http.Header{}
	s.Authorize(h, body, now)
	if p, err := Read(h); err != nil || p.ID() != "acme-1" || !secret.Verify(&p, body) || !p.Timely(now) {
		t.Errorf("%v: %v", p, err)
	}
	if _, err := NewSigner("acme 1", secret); err == nil {
		t.Error("an id that is none signs")
	}
}
