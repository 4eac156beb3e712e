package e2e

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth/mint"
	"github.com/linkpulse/linkpulse/services/linkpulse/internal/history"
)

// issuer makes the tokens of a simulation, by the clock of it. Its keys follow from the seed.
type issuer struct {
	settings  []string       // of the gateways that believe it
	signers   []*mint.Signer // whom they believe
	strangers []*mint.Signer // of the same names, and they do not
	public    []byte         // a public key, as their file has it
	made      atomic.Int64
}

// token is a token and what it is worth.
type token struct {
	text string
	pass history.Pass
}

// The names of the keys.
const (
	secretName = "shared"
	keyName    = "signing"
)

// newIssuer makes the keys: a secret, a pair of Ed25519, or both.
func newIssuer(t *testing.T, rng *rand.Rand) *issuer {
	t.Helper()
	i := &issuer{settings: []string{"--auth=jwt"}}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	draw := func(n int) []byte {
		b := make([]byte, n)
		for at := range b {
			b[at] = byte('A' + rng.IntN(26)) // in letters, as secrets in files are
		}
		return b
	}
	add := func(signer *mint.Signer, err error) *mint.Signer {
		if err != nil {
			t.Fatal(err)
		}
		return signer
	}
	kinds := rng.IntN(3)
	if kinds != 0 {
		secret := draw(40)
		i.settings = append(i.settings, "--auth-secret-file="+write(secretName+".secret", secret))
		i.signers = append(i.signers, add(mint.NewSecretSigner(secretName, secret)))
		i.strangers = append(i.strangers, add(mint.NewSecretSigner(secretName, draw(40))))
	}
	if kinds != 1 {
		key := ed25519.NewKeyFromSeed(draw(ed25519.SeedSize))
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		i.public = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		i.settings = append(i.settings, "--auth-key-files="+write(keyName+".pem", i.public))
		i.signers = append(i.signers, add(mint.NewSigner(keyName, key)))
		i.strangers = append(i.strangers, add(mint.NewSigner(keyName, ed25519.NewKeyFromSeed(draw(ed25519.SeedSize)))))
	}
	return i
}

// mint makes a token that is good.
func (i *issuer) mint(subject string, lifetime time.Duration, links ...string) token {
	n := i.made.Add(1)
	return sign(i.signers[int(n)%len(i.signers)], n, mint.Claims{Subject: subject, Lifetime: lifetime, Links: links})
}

func sign(signer *mint.Signer, n int64, c mint.Claims) token {
	c.ID = fmt.Sprint("token-", n)
	text, said, err := signer.Sign(c)
	if err != nil {
		panic(err) // the claims are ours
	}
	issued := time.Unix(said.IssuedAt.Unix(), 0)
	return token{text, history.Pass{
		Token: said.ID, Subject: c.Subject, Links: c.Links, IssuedAt: issued, ExpiresAt: issued.Add(c.Lifetime),
	}}
}

// forge makes a token that is none, though it claims all that there is.
func (i *issuer) forge(rng *rand.Rand, subject string) token {
	n := i.made.Add(1)
	at := int(n) % len(i.signers)
	good := mint.Claims{Subject: subject, Lifetime: time.Hour, Links: []string{"*"}}
	by := func(signer *mint.Signer, change func(*mint.Claims)) string {
		c := good
		change(&c)
		return sign(signer, n, c).text
	}
	narrow := func(c *mint.Claims) { c.Links = []string{"acme:x"} }
	text := []func() string{
		func() string { return by(i.strangers[at], func(*mint.Claims) {}) },
		func() string { return by(i.signers[at], func(c *mint.Claims) { c.Audience = "billing" }) },
		func() string { return by(i.signers[at], func(c *mint.Claims) { c.Issuer = "eve" }) },
		func() string {
			return by(i.signers[at], func(c *mint.Claims) { c.IssuedAt = time.Now().Add(-2 * time.Hour) })
		},
		func() string {
			return by(i.signers[at], func(c *mint.Claims) { c.IssuedAt = time.Now().Add(time.Minute) })
		},
		func() string { return by(i.signers[at], func(c *mint.Claims) { c.Lifetime = 25 * time.Hour }) },
		func() string { // the claims of one with the signature of another
			parts := strings.Split(by(i.signers[at], narrow), ".")
			parts[1] = strings.Split(by(i.signers[at], func(*mint.Claims) {}), ".")[1]
			return strings.Join(parts, ".")
		},
		func() string { // another signature
			text := []byte(by(i.signers[at], func(*mint.Claims) {}))
			if at := len(text) - 10; text[at] == 'A' {
				text[at] = 'B'
			} else {
				text[at] = 'A'
			}
			return string(text)
		},
		func() string { return i.handmade("none", subject, nil) },
		func() string { return i.handmade("None", subject, nil) },
		func() string { return i.handmade("HS256", subject, i.public) }, // the public key taken for a secret
	}[rng.IntN(11)]()
	return token{text, history.Pass{Token: fmt.Sprint("forged-", n), Subject: subject}}
}

// handmade makes a token that no library makes: without a signature, or signed with a secret that is none.
func (i *issuer) handmade(algorithm, subject string, secret []byte) string {
	encode := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	now := time.Now().Unix()
	signed := encode(map[string]any{"alg": algorithm, "kid": i.signers[len(i.signers)-1].KeyID(), "typ": "JWT"}) + "." +
		encode(map[string]any{
			"iss": "linkpulse", "aud": "linkpulse", "sub": subject, "jti": "handmade", "links": []string{"*"}, "iat": now, "exp": now + 3600,
		})
	if algorithm != "HS256" {
		return signed + "."
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// papers are the tokens of one subject, one after the other. They belong to one goroutine.
type papers struct {
	issuer   *issuer
	subject  string
	lifetime time.Duration
	links    []string // that the grants cover
	rng      *rand.Rand
	current  token
}

// newPapers draws for how long the tokens are good: some are for a few seconds, so that they are refreshed all the time.
func (w *world) newPapers(subject string, links []string, rng *rand.Rand) *papers {
	lifetime := []time.Duration{2 * time.Second, 5 * time.Second, 20 * time.Second, 10 * time.Minute}[rng.IntN(4)]
	return &papers{issuer: w.issuer, subject: subject, links: links, lifetime: lifetime, rng: rand.New(rand.NewPCG(rng.Uint64(), 0))}
}

// fresh makes a token that covers the links, each in one of the ways in which one can be covered.
func (p *papers) fresh() token {
	grants := make([]string, len(p.links))
	for i, link := range p.links {
		grants[i] = link
		if p.rng.IntN(2) == 0 {
			grants[i] = link[:1+p.rng.IntN(len(link))] + "*"
		}
	}
	p.current = p.issuer.mint(p.subject, p.lifetime, grants...)
	return p.current
}

// show returns the token of before while it is good for half of its life.
func (p *papers) show() token {
	if time.Until(p.current.pass.ExpiresAt) < p.lifetime/2 {
		return p.fresh()
	}
	return p.current
}

// lose makes the next token another one.
func (p *papers) lose() { p.current = token{} }
