package auth

import (
	"fmt"
	"slices"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/click"
)

// MaxGrants is the most grants that an identity may have.
const MaxGrants = 100

// wildcard at the end of a grant covers every ending.
const wildcard = "*"

// Grants are the links that somebody may see or write: exact ids, and beginnings of ids. The zero value covers none. They do
// not change, so they may be used concurrently.
//
// No patterns beyond that: what a grant covers must be plain to whoever reads a token, and cheap to decide for whoever holds
// a hundred thousand subscriptions against it.
type Grants struct {
	exact []string // ascending; none that a prefix covers
	// prefixes are ascending, and none begins with another one: of all that are not after a link, only the last can be a
	// beginning of it.
	prefixes []string
}

// GrantError says which grant is none, and why.
type GrantError struct {
	Index  int // in what was parsed; -1: there are none, or too many
	Detail string
}

// Error tells how to mend it.
func (e *GrantError) Error() string {
	if e.Index < 0 {
		return e.Detail
	}
	return fmt.Sprintf("grant %d: %s", e.Index, e.Detail)
}

// ParseGrants reads grants: each is a link id, or the beginning of some followed by one `*`, or `*` alone. The error is a
// *[GrantError].
func ParseGrants(patterns []string) (Grants, error) {
	switch n := len(patterns); {
	case n == 0:
		return Grants{}, &GrantError{Index: -1, Detail: "there are no grants: name link ids, beginnings like acme:*, or * for every link"}
	case n > MaxGrants:
		return Grants{}, &GrantError{Index: -1, Detail: fmt.Sprintf("%d grants are too many: at most %d, and one beginning covers many links", n, MaxGrants)}
	}
	var exact, prefixes []string
	for i, p := range patterns {
		prefix, isPrefix := strings.CutSuffix(p, wildcard)
		if err := checkGrant(prefix, isPrefix); err != nil {
			return Grants{}, &GrantError{Index: i, Detail: err.Error()}
		}
		if isPrefix {
			prefixes = append(prefixes, prefix)
		} else {
			exact = append(exact, p)
		}
	}
	return newGrants(exact, prefixes), nil
}

// checkGrant holds both kinds to the alphabet of link ids: a `*` elsewhere than at the end is none of it.
func checkGrant(name string, isPrefix bool) error {
	if isPrefix && name == "" {
		return nil
	}
	return click.CheckLink(name)
}

func newGrants(exact, prefixes []string) Grants {
	slices.Sort(prefixes)
	g := Grants{}
	for _, p := range prefixes { // a shorter one comes first
		if !g.Cover(p) {
			g.prefixes = append(g.prefixes, p)
		}
	}
	for _, link := range exact {
		if !g.Cover(link) {
			g.exact = append(g.exact, link)
		}
	}
	slices.Sort(g.exact)
	g.exact = slices.Compact(g.exact)
	return g
}

func everything() Grants { return Grants{prefixes: []string{""}} }

// Cover tells whether a link is covered. It does not allocate.
func (g Grants) Cover(link string) bool { return cover(g, link) }

// CoverBytes is Cover of a link that lies in a buffer. It does not allocate either.
func (g Grants) CoverBytes(link []byte) bool { return cover(g, link) }

func cover[L string | []byte](g Grants, link L) bool {
	at, found := search(g.prefixes, link)
	if found {
		return true
	}
	if at > 0 {
		if p := g.prefixes[at-1]; len(p) <= len(link) && string(link[:len(p)]) == p {
			return true
		}
	}
	_, found = search(g.exact, link)
	return found
}

// search is slices.BinarySearch for both kinds of link: comparing the bytes as a string makes no copy of them.
func search[L string | []byte](sorted []string, link L) (at int, found bool) {
	low, high := 0, len(sorted)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if sorted[middle] < string(link) {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(sorted) && sorted[low] == string(link)
}

// CoverAll tells whether every link is covered.
func (g Grants) CoverAll() bool { return len(g.prefixes) == 1 && g.prefixes[0] == "" }

// Patterns returns grants that cover the same, as ParseGrants reads them, in a fixed order.
func (g Grants) Patterns() []string {
	patterns := make([]string, 0, len(g.exact)+len(g.prefixes))
	for _, p := range g.prefixes {
		patterns = append(patterns, p+wildcard)
	}
	return append(patterns, g.exact...)
}
