package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkpulse/linkpulse/pkg/apikey"
)

// A request proves who sends it, each attempt anew: a signature is of now.
func TestCredentialsAreSent(t *testing.T) {
	t.Parallel()
	key, err := apikey.New("acme-1")
	if err != nil {
		t.Fatal(err)
	}
	secret := apikey.NewSecret()
	signer, err := apikey.NewSigner("acme-1", secret)
	if err != nil {
		t.Fatal(err)
	}
	for name, credentials := range map[string]Credentials{"key": key, "signature": signer, "none": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				s, err := NewSender("http://ingest", SenderOptions{Credentials: credentials, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
					body, err := io.ReadAll(req.Body)
					if err != nil {
						return nil, err
					}
					p, err := apikey.Read(req.Header)
					switch {
					case credentials == nil:
						if err == nil || len(req.Header) != 1 {
							t.Errorf("sent %v", req.Header)
						}
					case err != nil || p.ID() != "acme-1" || p.Signed() != (name == "signature"):
						t.Errorf("sent %v: %v", p, err)
					case p.Signed() && (!secret.Verify(&p, body) || !p.Timely(time.Now())):
						t.Error("signed another body, or at another time")
					case !p.Signed() && p.Hash() != key.Hash():
						t.Error("sent another key")
					}
					if attempts++; attempts < 3 {
						return refusal(503, "busy", "", "Retry-After", "30"), nil
					}
					return accepted(), nil
				})})
				if err != nil {
					t.Fatal(err)
				}
				s.Send(Click{Link: "a"})
				if err := s.Close(t.Context()); err != nil || attempts != 3 {
					t.Fatalf("%d attempts: %v", attempts, err)
				}
			})
		})
	}
}

// Credentials that are refused are told and not tried again for the same clicks; and while they are, ingest is asked now and
// then, not for every click.
func TestUnauthorizedIsPermanent(t *testing.T) {
	t.Parallel()
	let := false
	opts := SenderOptions{OnTrouble: func(err error, _ time.Duration) {
		e, ok := errors.AsType[*RefusedError](err)
		if !ok || !errors.Is(err, ErrUnauthorized) || e.Code != "bad_key" || e.Rule != "expired" {
			t.Errorf("told of %v", err)
		}
	}}
	answer := func(int, request) (*http.Response, error) {
		if let {
			return accepted(), nil
		}
		return refusal(401, "bad_key", `,"rule":"expired"`), nil
	}
	bubble(t, opts, answer, func(tr trial) {
		const each, all = 10 * time.Millisecond, 6000
		for range all {
			tr.sender.Send(Click{Link: "a"})
			time.Sleep(each)
		}
		time.Sleep(2 * postBackoffMax)
		st := tr.sender.Stats()
		if st.Dropped[DropUnauthorized] != all || st.Pending != 0 || st.Retried != 0 || st.Delivered != 0 {
			tr.Errorf("%+v", st)
		}
		if n := len(tr.ingest.seen()); n < 10 || n > 100 { // in a minute, with pauses of 2.5 s on average once it is clear
			tr.Errorf("ingest was asked %d times", n)
		}
		let = true // somebody has mended the file of keys
		tr.sender.Send(Click{Link: "a"})
		time.Sleep(postBackoffMax)
		if st := tr.sender.Stats(); st.Delivered != 1 || st.LastError != nil {
			tr.Errorf("%+v", st)
		}
	})
}

func TestWhoIsUnauthorized(t *testing.T) {
	t.Parallel()
	id := clicksOf(t, "a", "b", "a", "c")
	for name, tc := range map[string]struct {
		answer       func() *http.Response
		unauthorized bool
		fates        []Fate
	}{
		"no key":              {func() *http.Response { return refusal(401, "unauthenticated", "") }, true, []Fate{FateFailed, FateFailed, FateFailed, FateFailed}},
		"a proxy's 401":       {func() *http.Response { return response(401, "<html>", "WWW-Authenticate", "Basic") }, true, []Fate{FateFailed, FateFailed, FateFailed, FateFailed}},
		"a proxy's 403":       {func() *http.Response { return response(403, "<html>") }, true, []Fate{FateFailed, FateFailed, FateFailed, FateFailed}},
		"not for these":       {func() *http.Response { return refusal(403, "link_not_granted", `,"index":0`) }, false, []Fate{FateRefused, FateFailed, FateRefused, FateFailed}},
		"an index beyond all": {func() *http.Response { return refusal(403, "link_not_granted", `,"index":4`) }, true, []Fate{FateFailed, FateFailed, FateFailed, FateFailed}},
		"too many at once":    {func() *http.Response { return refusal(429, "rate_limited", "", "Retry-After", "7") }, false, []Fate{FateFailed, FateFailed, FateFailed, FateFailed}},
	} {
		p, err := NewPoster("http://ingest", time.Second, nil, roundTrip(func(*http.Request) (*http.Response, error) { return tc.answer(), nil }))
		if err != nil {
			t.Fatal(err)
		}
		out := p.Post(t.Context(), id)
		if out.Unauthorized != tc.unauthorized || errors.Is(out.Err, ErrUnauthorized) != tc.unauthorized || !slices.Equal(out.Fates, tc.fates) {
			t.Errorf("%s: %+v", name, out)
		}
		if (name == "too many at once") != (out.RetryAfter == 7*time.Second) {
			t.Errorf("%s: asked to wait %v", name, out.RetryAfter)
		}
	}
}

// Links that the credentials do not cover are given up, each in one request, and the others are delivered.
func TestForbiddenLinks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &ingest{t: t, began: time.Now(), answer: func(_ int, r request) (*http.Response, error) {
			if i := slices.IndexFunc(r.links, func(l string) bool { return !strings.HasPrefix(l, "acme:") }); i >= 0 {
				return refusal(403, "link_not_granted", `,"index":`+string('0'+rune(i))), nil
			}
			return accepted(), nil
		}}
		p, err := NewPoster("http://ingest", time.Second, nil, g)
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		fates, err := p.Deliver(t.Context(), clicksOf(t, "acme:a", "bird:a", "acme:b", "bird:a", "x", "bird:a"), Delivery{
			OnRefused: func(_ int, err error) {
				refused++
				if errors.Is(err, ErrUnauthorized) {
					t.Errorf("refused with %v", err)
				}
			},
		})
		if want := []Fate{FateDelivered, FateRefused, FateDelivered, FateRefused, FateRefused, FateRefused}; err != nil || !slices.Equal(fates, want) || refused != 4 {
			t.Fatalf("fates %v, %d refused: %v", fates, refused, err)
		}
		if n := len(g.seen()); n != 3 {
			t.Errorf("%d requests, want 3", n)
		}
	})
}

// Deliver does not wait for credentials to become good, and does not call the clicks bad.
func TestDeliverStopsWhereItIsUnauthorized(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &ingest{t: t, began: time.Now(), answer: func(n int, _ request) (*http.Response, error) {
			if n == 0 {
				return nil, errors.New("connection reset")
			}
			return refusal(401, "bad_key", `,"rule":"key"`), nil
		}}
		p, err := NewPoster("http://ingest", time.Second, nil, g)
		if err != nil {
			t.Fatal(err)
		}
		fates, err := p.Deliver(t.Context(), clicksOf(t, "a", "b"), Delivery{OnRefused: func(int, error) { t.Error("a click is refused") }})
		if !errors.Is(err, ErrUnauthorized) || !strings.Contains(err.Error(), "bad_key") || !slices.Equal(fates, []Fate{FateUnknown, FateUnknown}) {
			t.Fatalf("fates %v: %v", fates, err)
		}
		if len(g.seen()) != 2 {
			t.Errorf("%d requests", len(g.seen()))
		}
	})
}

// The pace that ingest asks for is kept, and nothing is lost by it.
func TestRateLimitIsHonoured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const wait = 3 * time.Second
		g := &ingest{t: t, began: time.Now(), answer: func(n int, _ request) (*http.Response, error) {
			if n%2 == 0 {
				return refusal(429, "rate_limited", "", "Retry-After", "3"), nil
			}
			return accepted(), nil
		}}
		p, err := NewPoster("http://ingest", time.Second, nil, g)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range 3 {
			if fates, err := p.Deliver(ctx, clicksOf(t, "a"), Delivery{}); err != nil || fates[0] != FateDelivered {
				t.Fatalf("fates %v: %v", fates, err)
			}
		}
		seen := g.seen()
		for i := 1; i < len(seen); i += 2 {
			if gap := seen[i].at - seen[i-1].at; gap < wait || gap > wait+postBackoff || seen[i].ids[0] != seen[i-1].ids[0] {
				t.Errorf("after a 429 it asks again after %v", gap)
			}
		}
		if len(seen) != 6 {
			t.Errorf("%d requests", len(seen))
		}
	})
}

func TestAddressWithoutPassword(t *testing.T) {
	t.Parallel()
	_, err := NewPoster("http://user:hunter2@ingest", time.Second, nil, nil)
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}
