package revocation

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// naive is a list as one would explain it.
type naive []Revocation

func (n naive) revoked(id *auth.Identity) bool {
	for _, r := range n {
		switch {
		case r.TokenID != "":
			if r.TokenID == id.TokenID {
				return true
			}
		case r.Subject == "" || r.Subject == id.Subject:
			if id.IssuedAt.Before(r.IssuedBefore) {
				return true
			}
		}
	}
	return false
}

// Whatever is written, in whatever order, through keys and values as they lie in the topic, the list says what one would
// find by going through everything that stands.
func TestListIsWhatStands(t *testing.T) {
	t.Parallel()
	base := time.UnixMilli(1_700_000_000_000)
	rapid.Check(t, func(t *rapid.T) {
		at := func(label string) time.Time {
			return base.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, label)) * time.Second)
		}
		names := rapid.SampledFrom([]string{"a", "b", "a/b", "all"})
		s, stand := newSet(), map[key]Revocation{}
		for range rapid.IntRange(0, 30).Draw(t, "records") {
			var r Revocation
			switch rapid.SampledFrom([]kind{kindToken, kindSubject, kindAll}).Draw(t, "kind") {
			case kindToken:
				r = Revocation{TokenID: names.Draw(t, "token")}
			case kindSubject:
				r = Revocation{Subject: names.Draw(t, "subject"), IssuedBefore: at("before")}
			case kindAll:
				r = Revocation{IssuedBefore: at("before")}
			}
			r.Until, r.CreatedAt = at("until"), base
			k, ours, err := parseKey([]byte(r.key().String()))
			if !ours || err != nil || k != r.key() {
				t.Fatalf("%v is read as %v, %v, %v", r.key(), k, ours, err)
			}
			switch rapid.SampledFrom([]string{"revoke", "revoke", "lift", "sweep"}).Draw(t, "what") {
			case "revoke":
				value, err := r.encode()
				if err != nil {
					t.Fatal(err)
				}
				read, err := decode(k, value)
				if err != nil || read != r {
					t.Fatalf("%+v is read as %+v, %v", r, read, err)
				}
				s.put(&read)
				stand[k] = r
			case "lift":
				s.remove(k)
				delete(stand, k)
			case "sweep":
				now := at("now")
				s.sweep(now.UnixMilli())
				for k, r := range stand {
					if !r.Until.After(now) {
						delete(stand, k)
					}
				}
			}
		}
		var all naive
		for _, r := range stand {
			all = append(all, r)
		}
		if s.empty() != (len(all) == 0) {
			t.Fatalf("empty: %v, %v stand", s.empty(), all)
		}
		for _, token := range []string{"", "a", "b", "a/b", "all", "c"} {
			for _, subject := range []string{"a", "b", "a/b", "all", "c"} {
				id := &auth.Identity{TokenID: token, Subject: subject, IssuedAt: at("issued")}
				if got, want := s.revoked(id), all.revoked(id); got != want {
					t.Fatalf("%+v is revoked: %v, %v stand", id, got, all)
				}
			}
		}
	})
}

func TestRevokedDoesNotAllocate(t *testing.T) {
	// Not parallel: AllocsPerRun counts what the whole process allocates.
	l, id := filled(t, 1000)
	if n := testing.AllocsPerRun(100, func() { _ = l.Revoked(id) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// filled is a list of many, and an identity that is none of them.
func filled(tb testing.TB, n int) (*List, *auth.Identity) {
	tb.Helper()
	l, err := NewList()
	if err != nil {
		tb.Fatal(err)
	}
	for i := range n {
		l.put(&Revocation{TokenID: fmt.Sprintf("0198c0de-0000-7000-8000-%012d", i), Until: time.Now().Add(time.Hour)})
		l.put(&Revocation{Subject: fmt.Sprintf("user-%d", i), IssuedBefore: time.UnixMilli(1), Until: time.Now().Add(time.Hour)})
	}
	return l, &auth.Identity{TokenID: "0198c0de-0000-7000-8000-000000000001x", Subject: "user-1", IssuedAt: time.Now()}
}

func BenchmarkRevoked(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("%d_of_each", n), func(b *testing.B) {
			l, id := filled(b, n)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if l.Revoked(id) {
						b.Error("revoked")
					}
				}
			})
		})
	}
}

// A key of whatever bytes is one of ours or not, and what is read of it is what is written.
func FuzzKey(f *testing.F) {
	for _, seed := range []string{"deployment", "revoke/all", "revoke/token/x", "revoke/subject/a/b", "revoke/token/", "revoke/token/\x00", "revoke/"} {
		f.Add([]byte(seed), []byte{})
	}
	f.Fuzz(func(t *testing.T, b, value []byte) {
		k, ours, err := parseKey(b)
		if err != nil || !ours {
			return
		}
		if k.String() != string(b) {
			t.Fatalf("%q is read as %v", b, k)
		}
		r, err := decode(k, value)
		if err != nil {
			return
		}
		if r.key() != k || r.Until.IsZero() || (k.kind == kindToken) != r.IssuedBefore.IsZero() {
			t.Fatalf("%q: %+v", b, r)
		}
	})
}
