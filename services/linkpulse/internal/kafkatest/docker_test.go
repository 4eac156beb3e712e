package kafkatest

import (
	"errors"
	"strings"
	"testing"
)

func TestVerdict(t *testing.T) {
	t.Parallel()
	down := errors.New("connection refused")
	for _, tc := range []struct {
		name     string
		err      error
		required string
		skip     bool
	}{
		{"no engine on a developer's machine", down, "", true},
		{"no engine where it must be", down, "1", false},
		{"the inner loop leaves it out", errShort, "", true},
		{"the inner loop leaves it out everywhere", errShort, "1", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			skip, why := verdict(tc.err, tc.required)
			if skip != tc.skip || !strings.Contains(why, tc.err.Error()) || !strings.Contains(why, RequireEnv) {
				t.Fatalf("verdict = %v, %q; want skip %v and the reason", skip, why, tc.skip)
			}
		})
	}
}
