package tickets

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// Whatever Redis answers for a ticket: whose it is said to be has a name and grants that a token could have, and is not over.
func FuzzHolder(f *testing.F) {
	for _, seed := range []string{
		`{"sub":"anna","jti":"1","iat":1764000000,"exp":4000000000,"links":["acme:*"],"origin":"https://dash.example.com"}`, `{"links":null}`, `null`, `[]`, ``,
		`{"sub":"a\u0000b","links":["*"]}`, `{"sub":"a","exp":1,"links":["a*b"]}`, `{"sub":"a","exp":-9223372036854775808,"iat":9223372036854775807}`,
	} {
		f.Add([]byte(seed), "https://dash.example.com")
	}
	f.Fuzz(func(t *testing.T, value []byte, origin string) {
		id, err := holder(value, origin)
		if err != nil {
			if refused, ok := errors.AsType[*auth.RefusedError](err); !ok || id != nil || refused.Detail == "" {
				t.Fatalf("%q: %+v, %v", value, id, err)
			}
			return
		}
		if id.Subject != "" && auth.CheckName(id.Subject) != nil || strings.ContainsAny(id.TokenID, "\x00\n") {
			t.Fatalf("%q is of %+v", value, id)
		}
		if ends := id.Ends(); !ends.IsZero() && time.Now().After(ends.Add(time.Second)) {
			t.Fatalf("%q ended at %v", value, ends)
		}
		if _, err := auth.ParseGrants(id.Grants.Patterns()); err != nil {
			t.Fatalf("%q: %v", value, err)
		}
	})
}
