package e2e

import (
	"net/http"
	"testing"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/auth/mint"
)

// credential is a key that the gateways of a test believe, and a token that it has signed.
type credential struct{ keys, token string }

// newCredential makes a token for these links.
func newCredential(t *testing.T, links ...string) credential {
	t.Helper()
	dir := t.TempDir()
	private, _, err := mint.Create(dir, "e2e")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := mint.Load(private)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := signer.Sign(mint.Claims{Subject: "dashboards", Links: links, Lifetime: auth.LongestLifetime})
	if err != nil {
		t.Fatal(err)
	}
	return credential{keys: dir, token: token}
}

// args are the settings of a gateway that lets nobody in without a token. All dashboards of a test are one subject at one
// address.
func (c credential) args() []string {
	return []string{
		"--auth=jwt", "--auth-key-files=" + c.keys, "--auth-max-lifetime=" + auth.LongestLifetime.String(),
		"--max-subject-connections=0", "--max-address-connections=0", "--max-handshakes=0",
	}
}

// header shows the token.
func (c credential) header() http.Header {
	if c.token == "" {
		return nil
	}
	return http.Header{"Authorization": {"Bearer " + c.token}}
}
