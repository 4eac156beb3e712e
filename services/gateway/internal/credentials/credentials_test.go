package credentials

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/auth/mint"
	"github.com/linkpulse/linkpulse/pkg/tickets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk verifies tokens and tickets that are the names of subjects, and counts how often it was asked.
type desk struct {
	asked   map[string]int
	ends    time.Time
	refuse  error
	revoked map[string]bool
	unread  error // why what is revoked is not known
}

func (d *desk) Verify(_ context.Context, token string) (*auth.Identity, error) {
	d.asked[token]++
	if d.refuse != nil {
		return nil, d.refuse
	}
	return &auth.Identity{Subject: token, ExpiresAt: d.ends}, nil
}

func (d *desk) Issue(_ context.Context, id *auth.Identity, origin string) (string, time.Duration, error) {
	return id.Subject + origin, time.Second, d.refuse
}

func (d *desk) Redeem(ctx context.Context, ticket, origin string) (*auth.Identity, error) {
	return d.Verify(ctx, ticket+origin)
}

func (d *desk) isRevoked(id *auth.Identity) bool { return d.revoked[id.Subject] }

func newDesk(t *testing.T) (*desk, *Checker, *prometheus.Registry) {
	t.Helper()
	d := &desk{asked: map[string]int{}, revoked: map[string]bool{}}
	registry := prometheus.NewRegistry()
	c, err := New(Config{Verifier: d, Revoked: d.isRevoked, Ready: func() error { return d.unread }, Tickets: d, Registry: registry})
	if err != nil {
		t.Fatal(err)
	}
	return d, c, registry
}

func reason(err error) auth.Reason {
	if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
		return refused.Reason
	}
	return ""
}

// Until it is known what is revoked nobody is let in, though nothing is wrong with what they show: they may come again with it.
func TestNobodyBeforeRevocationsAreRead(t *testing.T) {
	t.Parallel()
	d, c, _ := newDesk(t)
	if _, err := c.Token(t.Context(), "anna"); err != nil { // who is remembered from now on
		t.Fatal(err)
	}
	d.unread = errors.New("the brokers are away")
	for _, name := range []string{"anna", "bert"} {
		if _, err := c.Token(t.Context(), name); reason(err) != auth.ReasonKeysAway {
			t.Errorf("the token of %s: %v", name, err)
		}
	}
	if _, err := c.Ticket(t.Context(), "carl", ""); reason(err) != auth.ReasonKeysAway || d.asked["carl"] > 0 {
		t.Errorf("a ticket: %v, redeemed %d times", err, d.asked["carl"])
	}
	d.unread = nil
	if _, err := c.Ticket(t.Context(), "carl", ""); err != nil {
		t.Error(err)
	}
}

// A token is verified once a minute, however often it is shown, and asked about each time.
func TestRemembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, c, _ := newDesk(t)
		for range 180 {
			if id, err := c.Token(t.Context(), "anna"); err != nil || id.Subject != "anna" {
				t.Fatalf("%+v, %v", id, err)
			}
			time.Sleep(time.Second)
		}
		if d.asked["anna"] != 3 {
			t.Fatalf("verified %d times in three minutes, want 3", d.asked["anna"])
		}
		d.revoked["anna"] = true
		if _, err := c.Token(t.Context(), "anna"); reason(err) != auth.ReasonRevoked {
			t.Fatalf("revoked: %v", err)
		}
		delete(d.revoked, "anna")
		if _, err := c.Token(t.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
	})
}

// It is not remembered beyond its end, and the verifier says that it is over.
func TestForgetsWhatExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, c, _ := newDesk(t)
		d.ends = time.Now().Add(10*time.Second - auth.Leeway)
		for range 10 {
			if _, err := c.Token(t.Context(), "anna"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if d.asked["anna"] != 1 {
			t.Fatalf("verified %d times, want once", d.asked["anna"])
		}
		d.refuse = &auth.RefusedError{Reason: auth.ReasonExpired, Detail: "over"}
		if _, err := c.Token(t.Context(), "anna"); reason(err) != auth.ReasonExpired {
			t.Fatalf("after its end: %v", err)
		}
	})
}

// What is refused is not remembered: it may be good a moment later, and would be a way to fill memory.
func TestForgetsRefusals(t *testing.T) {
	t.Parallel()
	d, c, _ := newDesk(t)
	d.refuse = &auth.RefusedError{Reason: auth.ReasonBusy, Detail: "later"}
	for range 3 {
		if _, err := c.Token(t.Context(), "anna"); reason(err) != auth.ReasonBusy {
			t.Fatalf("%v", err)
		}
	}
	d.refuse = nil
	if _, err := c.Token(t.Context(), "anna"); err != nil || d.asked["anna"] != 4 {
		t.Fatalf("%v, verified %d times", err, d.asked["anna"])
	}
	long := strings.Repeat("a", auth.MaxToken+1)
	if _, err := c.Token(t.Context(), long); reason(err) != auth.ReasonMalformed || d.asked[long] > 0 {
		t.Fatalf("a token that is too long: %v, verified %d times", err, d.asked[long])
	}
}

// However many tokens there are, so many are remembered, the last ones among them.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	d, c, _ := newDesk(t)
	const n = 5 * maxYoung
	for i := range n {
		if _, err := c.Token(t.Context(), strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if kept := len(c.known.young) + len(c.known.old); kept > 2*maxYoung {
		t.Fatalf("%d are remembered", kept)
	}
	for i := n - maxYoung; i < n; i++ {
		token := strconv.Itoa(i)
		if id, err := c.Token(t.Context(), token); err != nil || id.Subject != token || d.asked[token] != 1 {
			t.Fatalf("%s: %+v, %v, verified %d times", token, id, err, d.asked[token])
		}
	}
}

func TestTickets(t *testing.T) {
	t.Parallel()
	d, c, registry := newDesk(t)
	if id, err := c.Ticket(t.Context(), "anna", "@here"); err != nil || id.Subject != "anna@here" {
		t.Fatalf("%+v, %v", id, err)
	}
	d.revoked["anna"] = true
	if _, err := c.Ticket(t.Context(), "anna", ""); reason(err) != auth.ReasonRevoked {
		t.Fatalf("a ticket of who was revoked since: %v", err)
	}
	if ticket, good, err := c.Issue(t.Context(), &auth.Identity{Subject: "anna"}, "@here"); ticket != "anna@here" || good != time.Second || err != nil {
		t.Fatalf("%s, %v, %v", ticket, good, err)
	}
	d.refuse = errors.New("a defect")
	if _, err := c.Ticket(t.Context(), "x", ""); err == nil {
		t.Fatal("a defect lets somebody in")
	}
	none, err := New(Config{Verifier: d, Revoked: d.isRevoked, Ready: func() error { return nil }, Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Ticket(t.Context(), "anna", ""); reason(err) != auth.ReasonTicket {
		t.Fatalf("without Redis: %v", err)
	}
	if _, _, err := none.Issue(t.Context(), auth.Anybody(), ""); !errors.Is(err, tickets.ErrNone) {
		t.Fatalf("without Redis: %v", err)
	}
	const name = "linkpulse_gateway_credentials_total"
	n, err := testutil.GatherAndCount(registry, name)
	if want := 2 * (1 + len(auth.Reasons())); err != nil || n != want {
		t.Fatalf("%d series, %v; want %d, all from the start", n, err, want)
	}
	for result, want := range map[string]float64{resultOK: 1, "revoked": 1, "keys_away": 1} {
		if got := testutil.ToFloat64(c.metrics.shown.WithLabelValues("ticket", result)); got != want {
			t.Errorf("%s: %v, want %v", result, got, want)
		}
	}
	if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
		t.Fatalf("%v, %v", problems, err)
	}
}

// BenchmarkToken is what a poll costs for its token: the signature, and the look at what was verified before.
func BenchmarkToken(b *testing.B) {
	private, public, err := mint.Create(b.TempDir(), "k1")
	if err != nil {
		b.Fatal(err)
	}
	signer, err := mint.Load(private)
	if err != nil {
		b.Fatal(err)
	}
	token, _, err := signer.Sign(mint.Claims{Subject: "anna@example.com", Links: []string{"acme:*", "x7Kp2", "a3bZ9"}, Lifetime: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	verifier, err := auth.New(auth.Config{KeyFiles: []string{public}, Audience: mint.DefaultAudience, MaxLifetime: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	c, err := New(Config{Verifier: verifier, Revoked: func(*auth.Identity) bool { return false }, Ready: func() error { return nil }, Registry: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	for name, show := range map[string]func(context.Context, string) (*auth.Identity, error){"verified": verifier.Verify, "recalled": c.Token} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := show(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
