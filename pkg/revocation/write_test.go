package revocation_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/deployment"
	"github.com/linkpulse/linkpulse/pkg/kafkalog"
	"github.com/linkpulse/linkpulse/pkg/revocation"
)

func TestRevoke(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		now := time.Now()
		token := w.revoke(revocation.Revocation{TokenID: "a/b"})
		if token.TokenID != "a/b" || !token.IssuedBefore.IsZero() || token.CreatedAt.Before(now) || token.Until.Sub(token.CreatedAt) != auth.LongestLifetime+time.Minute {
			w.t.Errorf("%+v", token)
		}
		time.Sleep(time.Minute)
		subject := w.revoke(revocation.Revocation{Subject: "ada"})
		if !subject.IssuedBefore.Equal(subject.CreatedAt) || subject.CreatedAt.Sub(token.CreatedAt) < time.Minute {
			w.t.Errorf("%+v", subject)
		}
		all := w.revoke(revocation.Revocation{IssuedBefore: now.Add(-time.Hour), Until: now.Add(time.Hour)})
		got := w.standing()
		want := []revocation.Revocation{all, subject, token}
		if len(got) != 3 {
			w.t.Fatalf("%v", got)
		}
		for i := range want {
			if got[i] != want[i] {
				w.t.Errorf("%+v stands, want %+v", got[i], want[i])
			}
		}
		for i, words := range []string{"all tokens issued before 1999-12-31T23:00:00Z", `tokens of "ada" issued before 2000-01-01T00:01:00Z`, `the token "a/b"`} {
			if got[i].String() != words {
				w.t.Errorf("%q, want %q", got[i].String(), words)
			}
		}
	})
}

// What is revoked becomes good by being lifted and in no other way.
func TestRevokeNeverWeakens(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		began := time.Now().Add(-10 * time.Minute)
		at := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
		first := w.revoke(revocation.Revocation{Subject: "ada", IssuedBefore: at(5), Until: at(100)})
		records := w.records()
		if again := w.revoke(revocation.Revocation{Subject: "ada", IssuedBefore: at(3), Until: at(50)}); again != first || w.records() != records {
			w.t.Errorf("%+v after %+v, %d records", again, first, w.records()-records)
		}
		wider := w.revoke(revocation.Revocation{Subject: "ada", IssuedBefore: at(9), Until: at(50)})
		if !wider.IssuedBefore.Equal(at(9)) || !wider.Until.Equal(at(100)) {
			w.t.Errorf("%+v", wider)
		}
		wider = w.revoke(revocation.Revocation{Subject: "ada", IssuedBefore: at(4), Until: at(200)})
		if !wider.IssuedBefore.Equal(at(9)) || !wider.Until.Equal(at(200)) || len(w.standing()) != 1 {
			w.t.Errorf("%+v", wider)
		}
	})
}

// Of several at once, all are kept.
func TestRevokeAtOnce(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		began := time.Now().Add(-time.Hour)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				before := began.Add(time.Duration(i*7%8) * time.Minute)
				if _, err := revocation.Revoke(w.t.Context(), w.cluster, revocation.Revocation{Subject: "ada", IssuedBefore: before}); err != nil {
					w.t.Error(err)
				}
			})
		}
		all.Wait()
		if got := w.standing(); len(got) != 1 || !got[0].IssuedBefore.Equal(began.Add(7*time.Minute)) {
			w.t.Errorf("%v", got)
		}
	})
}

func TestLift(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		g := w.gateway()
		defer g.stop()
		g.ready()
		token, ada := identity("t1", "eve"), identity("t2", "ada")
		time.Sleep(time.Second)
		for _, r := range []revocation.Revocation{{TokenID: "t1"}, {Subject: "ada"}, {IssuedBefore: time.Now()}} {
			if err := revocation.Lift(w.t.Context(), w.cluster, r); !errors.Is(err, revocation.ErrNotRevoked) {
				w.t.Errorf("Lift of what is not revoked: %v", err)
			}
			w.revoke(r)
		}
		time.Sleep(time.Second)
		if !g.list.Revoked(token) || !g.list.Revoked(ada) {
			w.t.Fatal("not revoked")
		}
		for _, r := range []revocation.Revocation{{TokenID: "t1"}, {Subject: "ada"}} {
			if err := revocation.Lift(w.t.Context(), w.cluster, r); err != nil {
				w.t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if !g.list.Revoked(token) || !g.list.Revoked(ada) {
			w.t.Error("they are of all")
		}
		if err := revocation.Lift(w.t.Context(), w.cluster, revocation.Revocation{}); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
		if g.list.Revoked(token) || g.list.Revoked(ada) || len(w.standing()) != 0 {
			w.t.Errorf("%v stand", w.standing())
		}
	})
}

func TestRevokeRefuses(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		if _, err := revocation.Revoke(w.t.Context(), w.cluster, revocation.Revocation{TokenID: "t"}); !errors.Is(err, kafkalog.ErrNoTopic) || !strings.Contains(err.Error(), "linkpulse init") {
			w.t.Errorf("without the topic: %v", err)
		}
		w.init()
		records := w.records()
		hour := time.Now().Add(time.Hour)
		for want, r := range map[string]revocation.Revocation{
			"whose tokens":           {},
			"one of them at a time":  {TokenID: "t", Subject: "s"},
			"whenever it was issued": {TokenID: "t", IssuedBefore: time.Now()},
			"token id: it has":       {TokenID: strings.Repeat("t", 256)},
			"subject: it has":        {Subject: "a\nb"},
			"is in the future":       {Subject: "a", IssuedBefore: hour},
			"nobody had a token":     {Subject: "a", IssuedBefore: time.UnixMilli(0)},
			"it is over already":     {TokenID: "t", Until: time.Now()},
			"no token lives":         {TokenID: "t", Until: time.Now().Add(31 * 24 * time.Hour)},
		} {
			if _, err := revocation.Revoke(w.t.Context(), w.cluster, r); !errors.Is(err, revocation.ErrInvalid) || !strings.Contains(err.Error(), want) {
				w.t.Errorf("%+v: %v, want %q", r, err, want)
			}
		}
		if w.records() != records {
			w.t.Error("something was written")
		}
	})
}

// Nobody told whether the record was appended: the topic tells.
func TestRevokeWithAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		h := w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: deployment.ControlTopic, Err: kerr.RequestTimedOut, Count: -1})
		time.AfterFunc(40*time.Second, h.Remove)
		r := w.revoke(revocation.Revocation{TokenID: "t1"})
		if all := w.standing(); len(all) != 1 || all[0] != r {
			w.t.Errorf("%v stand", all)
		}
		h = w.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: deployment.ControlTopic, Err: kerr.RequestTimedOut, Count: -1})
		time.AfterFunc(40*time.Second, h.Remove)
		if err := revocation.Lift(w.t.Context(), w.cluster, revocation.Revocation{TokenID: "t1"}); err != nil {
			w.t.Error(err)
		}
		if all := w.standing(); len(all) != 0 {
			w.t.Errorf("%v stand", all)
		}
	})
}

// Whoever writes removes what has long been over; what has not been over for long may be somebody's whose clock is right.
func TestWritersTidyUp(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		days := func(n int) []byte { return value(time.Time{}, time.Now().Add(-time.Duration(n)*24*time.Hour)) }
		w.put("revoke/token/old", days(8))
		w.put("revoke/subject/old", value(time.Now(), time.Now().Add(-8*24*time.Hour)))
		w.put("revoke/token/over", days(6))
		w.put("revoke/token/good", days(-8))
		before := w.records()
		w.revoke(revocation.Revocation{TokenID: "new"})
		if got := w.live(); got != "deployment revoke/token/good revoke/token/new revoke/token/over" || w.records() != before+3 {
			w.t.Errorf("%s, %d records more", got, w.records()-before)
		}
	})
}

// One operator revokes what another has just found to be over, and is about to remove: it stays revoked.
func TestTidyingUpUndoesNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(w *world) {
		w.init()
		w.put("revoke/subject/ada", value(time.Now(), time.Now().Add(-8*24*time.Hour)))
		other := w.open()
		defer other.Close()
		raced := make(chan error, 1)
		var busy atomic.Bool
		w.fake.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
			w.fake.KeepControl()
			if !busy.Swap(true) { // the first of them waits until another client has done the same
				w.fake.SleepControl(func() {
					_, err := revocation.Revoke(w.t.Context(), other, revocation.Revocation{Subject: "ada"})
					raced <- err
				})
			}
			return nil, nil, false
		})
		w.revoke(revocation.Revocation{TokenID: "t1"})
		if err := <-raced; err != nil {
			w.t.Fatal(err)
		}
		if all := w.standing(); len(all) != 2 || all[0].Subject != "ada" {
			w.t.Errorf("%v stand", all)
		}
	})
}
