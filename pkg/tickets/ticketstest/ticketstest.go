// Package ticketstest is what has to hold for tickets on every Redis.
package ticketstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/redisconn"
	"github.com/linkpulse/linkpulse/pkg/tickets"
)

// Server is a Redis to test the package tickets on.
type Server struct {
	// Config reaches it, with Options.
	Config  redisconn.Config
	Options []redisconn.Option
	// Raw is a client of the same server, for what the package would not do.
	Raw rueidis.Client
}

// Conform runs what has to hold on every Redis: in memory, alone, behind Sentinels or in a cluster. The server may be in
// use by others.
func Conform(t *testing.T, s Server) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, Server, *tickets.Store){
		"once":               testOnce,
		"one of many":        testOneOfMany,
		"bound to an origin": testBound,
		"what is stored":     testStored,
		"long identities":    testLong,
		"what others wrote":  testForeign,
	} {
		t.Run(name, func(t *testing.T) {
			store, err := tickets.Open(s.Config, nil, s.Options...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(store.Close)
			test(t, s, store)
		})
	}
}

// Anna returns an identity of a token that ends then.
func Anna(ends time.Time, patterns ...string) *auth.Identity {
	grants, err := auth.ParseGrants(patterns)
	if err != nil {
		panic(err) // of a test's own words
	}
	return &auth.Identity{
		Subject: "anna", TokenID: "t1", IssuedAt: time.Unix(1_764_000_000, 0), ExpiresAt: time.Unix(ends.Unix(), 0), Grants: grants,
	}
}

func issue(t *testing.T, s *tickets.Store, id *auth.Identity, origin string) string {
	t.Helper()
	ticket, good, err := s.Issue(t.Context(), id, origin)
	if err != nil || good != tickets.Life {
		t.Fatalf("issuing: good for %v, %v", good, err)
	}
	return ticket
}

// RefusedFor returns the reason of an error.
func RefusedFor(err error) auth.Reason {
	if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
		return refused.Reason
	}
	return ""
}

func testOnce(t *testing.T, _ Server, s *tickets.Store) {
	want := Anna(time.Now().Add(time.Hour), "acme:*", "x7Kp2")
	ticket := issue(t, s, want, "")
	got, err := s.Redeem(t.Context(), ticket, "https://any.example")
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("redeemed as %+v, %v; want %+v", got, err, want)
	}
	if _, err := s.Redeem(t.Context(), ticket, ""); RefusedFor(err) != auth.ReasonTicket {
		t.Fatalf("redeemed again: %v", err)
	}
	other := issue(t, s, want, "")
	if other == ticket {
		t.Fatal("two tickets are the same")
	}
	for name, bad := range map[string]string{
		"nothing": "", "cut": other[:len(other)-1], "longer": other + "A", "padded": other + "=", "changed": "A" + other[1:] + "",
		"another alphabet": strings.Repeat("+", len(other)), "bits that are not part of it": other[:len(other)-1] + "_",
	} {
		if bad == other {
			continue
		}
		if _, err := s.Redeem(t.Context(), bad, ""); RefusedFor(err) != auth.ReasonTicket {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if _, err := s.Redeem(t.Context(), other, ""); err != nil {
		t.Fatalf("after those that are none: %v", err)
	}
}

// Of many that show it at once, one is let in.
func testOneOfMany(t *testing.T, _ Server, s *tickets.Store) {
	for range 20 {
		ticket := issue(t, s, Anna(time.Now().Add(time.Hour), "*"), "")
		var in atomic.Int32
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				_, err := s.Redeem(t.Context(), ticket, "")
				switch RefusedFor(err) {
				case "":
					in.Add(1)
				case auth.ReasonTicket:
				default:
					t.Errorf("redeeming: %v", err)
				}
			})
		}
		all.Wait()
		if n := in.Load(); n != 1 {
			t.Fatalf("%d were let in", n)
		}
	}
}

func testBound(t *testing.T, _ Server, s *tickets.Store) {
	for origin, want := range map[string]auth.Reason{
		"https://dash.example":      "",
		"HTTPS://Dash.Example":      "",
		"http://dash.example":       auth.ReasonTicket,
		"https://dash.example:8443": auth.ReasonTicket,
		"https://evil.example":      auth.ReasonTicket,
		"null":                      auth.ReasonTicket,
		"":                          auth.ReasonTicket,
	} {
		ticket := issue(t, s, Anna(time.Now().Add(time.Hour), "*"), "https://dash.example")
		if _, err := s.Redeem(t.Context(), ticket, origin); RefusedFor(err) != want {
			t.Errorf("from %q: %v, want %q", origin, err, want)
		}
		if _, err := s.Redeem(t.Context(), ticket, "https://dash.example"); RefusedFor(err) != auth.ReasonTicket {
			t.Errorf("after %q: %v", origin, err)
		}
	}
}

// Redis holds neither the ticket nor more of who it is for than is needed, and not for longer.
func testStored(t *testing.T, srv Server, s *tickets.Store) {
	ticket := issue(t, s, Anna(time.Now().Add(time.Hour), "acme:*"), "https://dash.example")
	keys := ticketKeys(t, srv)
	if len(keys) != 1 {
		t.Fatalf("keys %q", keys)
	}
	value, err := srv.Raw.Do(t.Context(), srv.Raw.B().Get().Key(keys[0]).Build()).ToString()
	want := `"sub":"anna","jti":"t1","iat":1764000000,"exp":`
	if err != nil || !strings.Contains(value, want) || !strings.Contains(value, `"links":["acme:*"],"origin":"https://dash.example"`) {
		t.Fatalf("stored %s, %v", value, err)
	}
	if strings.Contains(keys[0]+value, ticket) {
		t.Fatal("the ticket is stored")
	}
	left, err := srv.Raw.Do(t.Context(), srv.Raw.B().Pttl().Key(keys[0]).Build()).AsInt64()
	if err != nil || left <= 0 || left > tickets.Life.Milliseconds() {
		t.Fatalf("it is stored for %d ms, %v", left, err)
	}
	if _, err := s.Redeem(t.Context(), ticket, "https://dash.example"); err != nil {
		t.Fatal(err)
	}
	if keys := ticketKeys(t, srv); len(keys) != 0 {
		t.Fatalf("keys %q are left", keys)
	}
	// What expires before the ticket would is not stored for longer.
	ends := time.Now().Add(2 * time.Second)
	soon := Anna(ends.Add(-auth.Leeway), "a")
	_, good, err := s.Issue(t.Context(), soon, "")
	if err != nil || good <= 0 || good > 2*time.Second {
		t.Fatalf("good for %v, %v", good, err)
	}
	if _, _, err := s.Issue(t.Context(), Anna(time.Now().Add(-auth.Leeway-time.Second), "a"), ""); RefusedFor(err) != auth.ReasonExpired {
		t.Fatalf("a ticket for what has expired: %v", err)
	}
	for _, key := range ticketKeys(t, srv) {
		if err := srv.Raw.Do(t.Context(), srv.Raw.B().Del().Key(key).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
}

// ticketKeys returns the keys of tickets, on every server there is.
func ticketKeys(t *testing.T, srv Server) (keys []string) {
	t.Helper()
	for _, node := range srv.Raw.Nodes() {
		role, err := node.Do(t.Context(), node.B().Role().Build()).ToArray()
		if err == nil && len(role) > 0 {
			if name, _ := role[0].ToString(); name != "master" { // a replica has the same, a little later
				continue
			}
		}
		scan := node.B().Scan().Cursor(0).Match(srv.Config.Prefix + ":ticket:*").Count(100_000).Build()
		page, err := node.Do(t.Context(), scan).AsScanEntry()
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, page.Elements...)
	}
	return keys
}

// An identity may have a hundred grants of the longest kind.
func testLong(t *testing.T, _ Server, s *tickets.Store) {
	var patterns []string
	for i := range auth.MaxGrants {
		patterns = append(patterns, fmt.Sprintf("%03d", i)+strings.Repeat("x", 125)+"*")
	}
	id := Anna(time.Now().Add(time.Hour), patterns...)
	got, err := s.Redeem(t.Context(), issue(t, s, id, ""), "")
	if err != nil || fmt.Sprint(got.Grants.Patterns()) != fmt.Sprint(patterns) {
		t.Fatalf("%v, %v", got, err)
	}
}

// What somebody else wrote under the key of a ticket lets nobody in.
func testForeign(t *testing.T, srv Server, s *tickets.Store) {
	for _, value := range []string{"", "x", "null", "{}", `{"sub":"eve"}`, `{"sub":"eve","links":["**"]}`, `{"sub":"eve","links":["*"],"exp":1}`} {
		ticket := issue(t, s, Anna(time.Now().Add(time.Hour), "*"), "")
		for _, key := range ticketKeys(t, srv) {
			if err := srv.Raw.Do(t.Context(), srv.Raw.B().Set().Key(key).Value(value).Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
		if id, err := s.Redeem(t.Context(), ticket, ""); RefusedFor(err) == "" {
			t.Errorf("%q: let in as %+v, %v", value, id, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Redeem(ctx, issue(t, s, Anna(time.Now().Add(time.Hour), "*"), ""), ""); RefusedFor(err) != auth.ReasonKeysAway {
		t.Errorf("a caller that gave up: %v", err)
	}
	for _, key := range ticketKeys(t, srv) {
		_ = srv.Raw.Do(t.Context(), srv.Raw.B().Del().Key(key).Build()).Error() // the next test counts them
	}
}
