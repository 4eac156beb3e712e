package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/linkpulse/linkpulse/pkg/wire"
)

// TokenSource gives a [Watcher] the tokens that say who it is (PROTOCOL.md section 3.3). It is asked before each
// connection, before the token of a connection expires, and when a gateway has refused one; by one goroutine at a time.
type TokenSource interface {
	// Token returns a token. spent is one that a gateway has refused or that is about to expire, empty where there is
	// none: a source that keeps tokens must not count on that one. One that has no other yet returns it again and is asked
	// again later; one that never will returns [ErrNoToken]. Any other error passes: it is asked again later too.
	//
	// It must return when ctx ends. Its errors are shown to people and must not contain a token.
	Token(ctx context.Context, spent string) (string, error)
}

// ErrNoToken is what a [TokenSource] returns when it has no token, or no other one, and never will have.
var ErrNoToken = errors.New("there is no other token")

// TokenFunc makes a function a [TokenSource].
type TokenFunc func(ctx context.Context, spent string) (string, error)

// Token calls the function.
func (f TokenFunc) Token(ctx context.Context, spent string) (string, error) { return f(ctx, spent) }

// StaticToken is a source of one token. When that has expired or is refused, the Watcher stops.
func StaticToken(token string) TokenSource {
	return TokenFunc(func(_ context.Context, spent string) (string, error) {
		if spent == token {
			return "", ErrNoToken
		}
		return token, nil
	})
}

// TokenFile is a source that reads the token from a file each time, so that whatever replaces the file (a sidecar, a
// mounted secret, cron) renews the token of a running program. White space around it does not matter.
func TokenFile(path string) TokenSource {
	return TokenFunc(func(context.Context, string) (string, error) { return readToken(path) })
}

// readToken reads no more of a file than a token may have.
func readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 2*wire.MaxTokenLen))
	if err != nil {
		return "", err
	}
	token := string(bytes.TrimSpace(b))
	if err := CheckToken(token); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return token, nil
}

// CheckToken says why a text cannot be a token: it is empty, longer than a gateway looks at, or has characters that a
// token cannot have (RFC 6750 section 2.1). The error does not repeat it.
func CheckToken(token string) error {
	switch {
	case token == "":
		return errors.New("the token is empty")
	case len(token) > wire.MaxTokenLen:
		return fmt.Errorf("the token has %d bytes: at most %d", len(token), wire.MaxTokenLen)
	}
	for i := range len(token) {
		if !isTokenByte(token[i]) {
			return fmt.Errorf("this is no token: character %d is none that a token can have", i+1)
		}
	}
	return nil
}

func isTokenByte(b byte) bool {
	switch {
	case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		return true
	case b == '-', b == '.', b == '_', b == '~', b == '+', b == '/', b == '=':
		return true
	}
	return false
}
