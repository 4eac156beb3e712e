package auth

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGrantsCover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		grants        []string
		covered, kept []string
	}{
		{grants: []string{"a"}, covered: []string{"a"}, kept: []string{"", "b", "ab", "A", "a*"}},
		{grants: []string{"acme:*"}, covered: []string{"acme:", "acme:x", "acme:x:y"}, kept: []string{"acme", "acmf:x", "acm", "xacme:", "ACME:x"}},
		{grants: []string{"*"}, covered: []string{"a", "acme:x", "~"}},
		{grants: []string{"ab*", "abc"}, covered: []string{"ab", "abc", "abd"}, kept: []string{"a", "b"}},
		{grants: []string{"a*", "b", "c*"}, covered: []string{"a", "az", "b", "c", "cz"}, kept: []string{"bz", "d", "0"}},
		{grants: []string{"a.*"}, covered: []string{"a.b"}, kept: []string{"ab", "a"}},
		{kept: []string{"", "a", "*"}},
	} {
		var g Grants
		if tt.grants != nil {
			var err error
			if g, err = ParseGrants(tt.grants); err != nil {
				t.Fatal(err)
			}
		}
		for _, link := range tt.covered {
			if !g.Cover(link) || !g.CoverBytes([]byte(link)) {
				t.Errorf("%q do not cover %q", tt.grants, link)
			}
		}
		for _, link := range tt.kept {
			if g.Cover(link) || g.CoverBytes([]byte(link)) {
				t.Errorf("%q cover %q", tt.grants, link)
			}
		}
	}
}

// Whatever the grants are, they cover what a naive reading of each of them covers, and so do their Patterns.
func TestGrantsAreTheirPatterns(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.StringMatching(`[ab:]{1,4}`)
		patterns := rapid.SliceOfN(rapid.StringMatching(`[ab:]{1,4}\*?|\*`), 1, 8).Draw(t, "patterns")
		g, err := ParseGrants(patterns)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseGrants(g.Patterns())
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range rapid.SliceOfN(id, 1, 20).Draw(t, "links") {
			want := slices.ContainsFunc(patterns, func(p string) bool {
				prefix, ok := strings.CutSuffix(p, "*")
				return ok && strings.HasPrefix(link, prefix) || !ok && link == p
			})
			if g.Cover(link) != want || again.Cover(link) != want || g.CoverBytes([]byte(link)) != want {
				t.Fatalf("%q: %v and %v, want %v", link, g.Cover(link), again.Cover(link), want)
			}
		}
		if len(g.Patterns()) > len(patterns) {
			t.Fatalf("%q from %q", g.Patterns(), patterns)
		}
	})
}

func TestParseGrantsRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		grants []string
		index  int
	}{
		{nil, -1},
		{slices.Repeat([]string{"a"}, MaxGrants+1), -1},
		{[]string{"a", ""}, 1},
		{[]string{"a*b"}, 0},
		{[]string{"**"}, 0},
		{[]string{"a?"}, 0},
		{[]string{"a", "b", "ä*"}, 2},
		{[]string{strings.Repeat("a", 129)}, 0},
		{[]string{strings.Repeat("a", 129) + "*"}, 0},
	} {
		_, err := ParseGrants(tt.grants)
		bad, ok := errors.AsType[*GrantError](err)
		if !ok || bad.Index != tt.index {
			t.Errorf("%.40q: %v, want an error at %d", tt.grants, err, tt.index)
		}
	}
}

func TestCoverDoesNotAllocate(t *testing.T) {
	// Not parallel: AllocsPerRun counts what the whole process allocates.
	g, err := ParseGrants([]string{"acme:*", "b:*", "x7Kp2"})
	if err != nil {
		t.Fatal(err)
	}
	id := &Identity{Grants: g}
	if n := testing.AllocsPerRun(100, func() { _ = id.Allows("acme:x7Kp2") && id.Allows("x7Kp2") && id.Allows("nobody") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	long := []byte("b:" + strings.Repeat("x", 126)) // longer than what a copy on the stack would have room for
	if n := testing.AllocsPerRun(100, func() { _ = g.CoverBytes(long) && g.CoverBytes(long[1:]) }); n > 0 {
		t.Errorf("%v allocations for bytes", n)
	}
}

func BenchmarkCover(b *testing.B) {
	var patterns []string
	for i := range MaxGrants {
		patterns = append(patterns, fmt.Sprintf("tenant-%02d:*", i))
	}
	for _, n := range []int{1, MaxGrants} {
		g, err := ParseGrants(patterns[:n])
		if err != nil {
			b.Fatal(err)
		}
		link := []byte("tenant-00:x7Kp2")
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !g.CoverBytes(link) {
					b.Fatal("not covered")
				}
			}
		})
	}
}

func TestAnybody(t *testing.T) {
	t.Parallel()
	id := Anybody()
	if !id.Allows("a") || !id.Grants.CoverAll() || !id.Ends().IsZero() {
		t.Errorf("%+v", id)
	}
	if !slices.Equal(id.Grants.Patterns(), []string{"*"}) {
		t.Errorf("%q", id.Grants.Patterns())
	}
}
