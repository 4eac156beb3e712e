// Package tokenflag is how a command is told which token to show to gateways: the flags, and what they mean.
package tokenflag

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"

	"github.com/linkpulse/linkpulse/pkg/client"
	"github.com/linkpulse/linkpulse/pkg/wire"
)

// Flags are embedded in a command. None of them can stand in the environment: what stands there is inherited by every
// program that is started from there, and can be read off a list of processes.
type Flags struct {
	Token     string `help:"Token to show to the gateway. Others on this machine can see it in the list of processes: --token-file is for all but tests." placeholder:"TOKEN" xor:"token"`
	TokenFile string `help:"File with the token to show to the gateway. It is read again when another token is needed. - is standard input." placeholder:"FILE" xor:"token" type:"path"`
}

// Source returns the source of tokens that the flags name, nil where they name none. A token that cannot be read is told
// now rather than at the first connection.
func (f *Flags) Source(ctx context.Context, stdin io.Reader) (client.TokenSource, error) {
	switch {
	case f.Token != "":
		return static(f.Token, "--token")
	case f.TokenFile == "-":
		b, err := io.ReadAll(io.LimitReader(stdin, 2*wire.MaxTokenLen))
		if err != nil {
			return nil, fmt.Errorf("--token-file: reading standard input: %w", err)
		}
		return static(string(bytes.TrimSpace(b)), "--token-file: standard input")
	case f.TokenFile != "":
		return fromFile(ctx, f.TokenFile)
	default:
		return nil, nil
	}
}

func static(token, where string) (client.TokenSource, error) {
	if err := client.CheckToken(token); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return client.StaticToken(token), nil
}

func fromFile(ctx context.Context, path string) (client.TokenSource, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	source := client.TokenFile(path)
	token, err := source.Token(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("--token-file: %w", err)
	}
	if !info.Mode().IsRegular() { // a pipe, as of <(linkpulse token mint …), can be read once
		return client.StaticToken(token), nil
	}
	return source, nil
}

// ErrPlain says that a token would be readable on its way.
var ErrPlain = errors.New("the token goes there unencrypted, and whoever is between can use it: use https")

// CheckPlain returns an error, to be told and no reason to stop, where a token would leave this machine unencrypted.
func CheckPlain(gateways []string) error {
	for _, gateway := range gateways {
		u, err := url.Parse(gateway)
		if err != nil || u.Scheme != "http" && u.Scheme != "ws" || isHere(u.Hostname()) {
			continue
		}
		return fmt.Errorf("%s: %w", u.Redacted(), ErrPlain)
	}
	return nil
}

func isHere(host string) bool { return host == "localhost" || net.ParseIP(host).IsLoopback() }
