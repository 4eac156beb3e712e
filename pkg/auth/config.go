package auth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// Config says whose tokens are believed. A service embeds it in its own configuration, `embed:"" prefix:"auth-"`.
type Config struct {
	JWKSURL      string        `name:"jwks-url" help:"Where the keys of the issuer of tokens are, as a JSON Web Key Set. They are read again every five minutes, and when a token names one that is new." placeholder:"URL"`
	JWKSCA       string        `name:"jwks-ca" help:"File with the certificates to trust there; without it, those of the system." placeholder:"FILE"`
	KeyFiles     []string      `help:"Public keys in PEM: files, or directories whose *.pem are read. A key's id is the name of its file without .pem. Files that change are read again." placeholder:"PATH"`
	SecretFile   string        `help:"File with a secret of at least 32 bytes that the issuer of tokens shares (HS256): for small set-ups, since whoever has it can make tokens. It is read again when it changes." placeholder:"FILE"`
	Issuer       string        `help:"Who issues tokens, their iss. Without a JWKS URL it is linkpulse by default, which is what linkpulse token mint says." placeholder:"NAME"`
	Audience     string        `help:"For whom tokens are, in their aud." default:"linkpulse" placeholder:"NAME"`
	RSAAlgorithm string        `name:"rsa-algorithm" help:"What RSA keys sign with, where they do not say it themselves." default:"RS256" enum:"RS256,RS384,RS512,PS256,PS384,PS512"`
	MaxLifetime  time.Duration `help:"How long a token may be good for at most, from iat to exp." default:"24h"`
}

// DefaultIssuer is the issuer of tokens where nobody says otherwise: of those that an operator makes by hand.
const DefaultIssuer = "linkpulse"

// leastLifetime is the shortest bound of a lifetime: below it tokens expire while they are being refreshed.
const leastLifetime = time.Minute

// Check returns everything that is wrong with the configuration. It reads no file.
func (c *Config) Check() error {
	var errs []error
	if c.JWKSURL == "" && len(c.KeyFiles) == 0 && c.SecretFile == "" {
		errs = append(errs, errors.New("no keys that tokens are signed with: name a JWKS URL, key files or a secret file"))
	}
	if c.JWKSURL != "" {
		if err := checkURL(c.JWKSURL); err != nil {
			errs = append(errs, fmt.Errorf("--auth-jwks-url: %w", err))
		}
		if c.Issuer == "" {
			errs = append(errs, errors.New("--auth-issuer: with a JWKS URL it must be given: others may be issuers there too"))
		}
	}
	if c.JWKSURL == "" && c.JWKSCA != "" {
		errs = append(errs, errors.New("--auth-jwks-ca: there is no --auth-jwks-url"))
	}
	for i, path := range c.KeyFiles {
		if path == "" {
			errs = append(errs, fmt.Errorf("--auth-key-files: number %d is empty", i+1))
		}
	}
	for flag, value := range map[string]string{"--auth-issuer": c.issuer(), "--auth-audience": c.Audience} {
		if err := CheckName(value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", flag, err))
		}
	}
	if c.RSAAlgorithm != "" && methodOf(c.RSAAlgorithm) == nil {
		errs = append(errs, fmt.Errorf("--auth-rsa-algorithm: there is no %q here", c.RSAAlgorithm))
	}
	if c.MaxLifetime < leastLifetime || c.MaxLifetime > LongestLifetime {
		errs = append(errs, fmt.Errorf("--auth-max-lifetime: must be from %v to %v", leastLifetime, LongestLifetime))
	}
	return errors.Join(errs...)
}

func (c *Config) issuer() string {
	if c.Issuer == "" {
		return DefaultIssuer
	}
	return c.Issuer
}

// rsaAlgorithm treats the zero value as the default.
func (c *Config) rsaAlgorithm() string {
	if c.RSAAlgorithm == "" {
		return "RS256"
	}
	return c.RSAAlgorithm
}

// checkURL refuses what keys must not come by. Whoever can change them on their way can make tokens of anybody.
func checkURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return err
	case u.Host == "" || u.Opaque != "":
		return fmt.Errorf("%q is no address of a document: write https://, a host and a path", address)
	case u.User != nil:
		return errors.New("a password in an address ends up in logs; the keys are public")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil // for development: it does not leave the machine
	default:
		return fmt.Errorf("%q is not https", address)
	}
}

// isLoopback takes no name but localhost: a name is what others say that it is.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
