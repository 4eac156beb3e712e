package client

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

func TestCheckToken(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2ln_-", "a+/~==", strings.Repeat("x", wire.MaxTokenLen)} {
		if err := CheckToken(good); err != nil {
			t.Errorf("%.20s: %v", good, err)
		}
	}
	for _, bad := range []string{"", " s3cret", "s3cret\r\nX: y", "s3cret\x00", "s3crét", strings.Repeat("x", wire.MaxTokenLen+1)} {
		if err := CheckToken(bad); err == nil || strings.Contains(err.Error(), "s3cr") {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}

func TestStaticToken(t *testing.T) {
	t.Parallel()
	s := StaticToken("a")
	if got, err := s.Token(t.Context(), ""); got != "a" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := s.Token(t.Context(), "b"); got != "a" || err != nil {
		t.Errorf("after another one: %q, %v", got, err)
	}
	if got, err := s.Token(t.Context(), "a"); got != "" || !errors.Is(err, ErrNoToken) {
		t.Errorf("spent: %q, %v", got, err)
	}
}

func TestTokenFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	s := TokenFile(path)
	if _, err := s.Token(t.Context(), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for content, want := range map[string]string{"a.b.c": "a.b.c", " a.b.c\r\n\n": "a.b.c", "": "", " \n": "", "two tokens": "", strings.Repeat("x", 3*wire.MaxTokenLen): ""} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := s.Token(t.Context(), "")
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%.20q: %q, %v", content, got, err)
		}
		if err != nil && (!strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "tokens")) {
			t.Errorf("%.20q: %v", content, err)
		}
	}
}

// script is a source that gives what it is told to, in turn, the last one again and again.
type script struct {
	mu    sync.Mutex // guards what follows
	gives []any      // tokens and errors
	spent []string
}

func gives(what ...any) *script { return &script{gives: what} }

func (s *script) Token(_ context.Context, spent string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent = append(s.spent, spent)
	next := s.gives[0]
	if len(s.gives) > 1 {
		s.gives = s.gives[1:]
	}
	if err, ok := next.(error); ok {
		return "", err
	}
	return next.(string), nil
}

// told returns the spent tokens that the source was told of, in a row.
func (s *script) told() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.spent, " ")
}

// asked returns how often it was asked.
func (s *script) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.spent)
}

func (s *script) give(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gives = []any{token}
}
