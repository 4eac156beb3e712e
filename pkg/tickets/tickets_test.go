package tickets_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/rueidis"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/redisconn"
	"github.com/linkpulse/linkpulse/pkg/tickets"
	"github.com/linkpulse/linkpulse/pkg/tickets/ticketstest"
	"github.com/linkpulse/linkpulse/pkg/totals/totalstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The suite that the end-to-end tests run on real servers.
func TestConform(t *testing.T) {
	t.Parallel()
	r := totalstest.New(t)
	raw, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: []string{totalstest.Addr}, ForceSingleClient: true, DisableCache: true, AlwaysPipelining: true,
		DialCtxFn: func(ctx context.Context, address string, _ *net.Dialer, _ *tls.Config) (net.Conn, error) {
			return r.Dial(ctx, "tcp", address)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(raw.Close)
	ticketstest.Conform(t, ticketstest.Server{
		Config: totalstest.Config(), Options: []redisconn.Option{redisconn.WithDialer(r.Dial)}, Raw: raw,
	})
}

// A ticket is good for thirty seconds, and for what it stands for only as long as that is.
func TestLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := open(t, totalstest.New(t), nil)
		for _, tc := range []struct {
			after time.Duration
			want  auth.Reason
		}{
			{tickets.Life - time.Millisecond, ""},
			{tickets.Life + time.Millisecond, auth.ReasonTicket},
		} {
			ticket, _, err := store.Issue(t.Context(), ticketstest.Anna(time.Now().Add(time.Hour), "a"), "")
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(tc.after)
			if _, err := store.Redeem(t.Context(), ticket, ""); ticketstest.RefusedFor(err) != tc.want {
				t.Errorf("after %v: %v, want %q", tc.after, err, tc.want)
			}
		}
		ticket, good, err := store.Issue(t.Context(), ticketstest.Anna(time.Now().Add(10*time.Second-auth.Leeway), "a"), "")
		if err != nil || good != 10*time.Second {
			t.Fatalf("good for %v, %v", good, err)
		}
		time.Sleep(10 * time.Second)
		if _, err := store.Redeem(t.Context(), ticket, ""); ticketstest.RefusedFor(err) == "" {
			t.Error("a ticket outlives what it stands for")
		}
		// The same where Redis is late to forget.
		eternal := &auth.Identity{Subject: "anna", Grants: ticketstest.Anna(time.Now(), "a").Grants}
		if ticket, good, err = store.Issue(t.Context(), eternal, ""); err != nil || good != tickets.Life {
			t.Fatalf("good for %v, %v", good, err)
		}
		if id, err := store.Redeem(t.Context(), ticket, ""); err != nil || !id.Ends().IsZero() || !id.IssuedAt.IsZero() {
			t.Fatalf("%+v, %v", id, err)
		}
	})
}

// Without Redis there are no tickets, which is told as something that passes, in time, and does.
func TestRedisIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		r := totalstest.New(t)
		store := open(t, r, registry)
		anna := ticketstest.Anna(time.Now().Add(time.Hour), "a")
		ticket, _, err := store.Issue(t.Context(), anna, "")
		if err != nil {
			t.Fatal(err)
		}
		for name, fault := range map[string]func(bool){"away": r.Away, "mute": r.Mute} {
			fault(true)
			start := time.Now()
			_, _, issueErr := store.Issue(t.Context(), anna, "")
			_, redeemErr := store.Redeem(t.Context(), ticket, "")
			took := time.Since(start)
			if ticketstest.RefusedFor(issueErr) != auth.ReasonKeysAway || ticketstest.RefusedFor(redeemErr) != auth.ReasonKeysAway {
				t.Fatalf("%s: %v, %v", name, issueErr, redeemErr)
			}
			if took > 2*totalstest.Config().Timeout {
				t.Fatalf("%s: told after %v", name, took)
			}
			fault(false)
			time.Sleep(time.Second)
			if ticket, _, err = store.Issue(t.Context(), anna, ""); err != nil {
				t.Fatalf("after %s: %v", name, err)
			}
			if _, err := store.Redeem(t.Context(), ticket, ""); err != nil {
				t.Fatalf("after %s: %v", name, err)
			}
			if ticket, _, err = store.Issue(t.Context(), anna, ""); err != nil {
				t.Fatal(err)
			}
		}
		if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
			t.Fatalf("%v, %v", problems, err)
		}
		n, err := testutil.GatherAndCount(registry, "linkpulse_tickets_calls_total")
		if want := 2 * (2 + len(redisconn.Reasons())); err != nil || n != want {
			t.Fatalf("%d series, %v; want %d: all are there from the start", n, err, want)
		}
	})
}

func open(t *testing.T, r *totalstest.Redis, registry prometheus.Registerer) *tickets.Store {
	t.Helper()
	store, err := tickets.Open(totalstest.Config(), registry, redisconn.WithDialer(r.Dial))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func TestCheckOrigin(t *testing.T) {
	t.Parallel()
	for origin, ok := range map[string]bool{
		"https://dash.example.com": true, "http://localhost:5173": true, "http://[::1]:8081": true,
		"": false, "null": false, "https://": false, "dash.example.com": false, "https://dash.example.com/": false,
		"https://*.example.com": false, "https://a@b": false, "https://a b": false, "https://a?b": false,
	} {
		if err := tickets.CheckOrigin(origin); (err == nil) != ok {
			t.Errorf("%q: %v", origin, err)
		}
	}
}
