package tokencmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth/mint"
)

// Mint are the flags of `linkpulse token mint`.
type Mint struct {
	Key      string        `help:"File with the private key, or with the secret." required:"" placeholder:"FILE" type:"path"`
	Subject  string        `name:"sub" help:"Whose it is: for limits, for logs, and to revoke it." required:"" placeholder:"NAME"`
	Links    []string      `help:"What it covers: link ids, beginnings of some like acme:*, or * for every link." required:"" placeholder:"GRANT"`
	TTL      time.Duration `name:"ttl" help:"How long it is good. Gateways take tokens of up to --auth-max-lifetime." default:"1h"`
	Audience string        `name:"aud" help:"For whom it is: --auth-audience of gateways." default:"linkpulse" placeholder:"NAME"`
	Issuer   string        `name:"iss" help:"Who issues it: --auth-issuer of gateways." default:"linkpulse" placeholder:"NAME"`
	ID       string        `name:"id" help:"Its own name, to revoke it alone; a new UUID by default."`
}

// Run makes the token and prints it, and nothing else to standard output.
func (c *Mint) Run(_ context.Context, env Env) error {
	signer, err := mint.Load(c.Key)
	if err != nil {
		return err
	}
	token, said, err := signer.Sign(mint.Claims{
		Subject: c.Subject, Links: c.Links, Lifetime: c.TTL, Audience: c.Audience, Issuer: c.Issuer, ID: c.ID,
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(env.Stdout, token); err != nil {
		return err
	}
	if env.Terminal {
		_, err = fmt.Fprintf(env.Stderr, "token %s of %s, for %s, until %s; to take it back: linkpulse revoke --token=%[1]s\n",
			said.ID, said.Subject, strings.Join(said.Links, " "), said.IssuedAt.Add(said.Lifetime).UTC().Format(time.RFC3339))
	}
	return err
}
