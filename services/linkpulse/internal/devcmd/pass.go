package devcmd

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/auth/mint"
	"github.com/linkpulse/linkpulse/services/linkpulse/stack"
)

const (
	// keyID names the key of this system, and keyDir where it is below the data directory.
	keyID, keyDir = "dev", "auth"
	// subject is whose the token is.
	subject = "developer"
)

// pass is how the system's gateways know whoever sits in front of it: a key of their own, and a token that it has signed.
type pass struct {
	token  string
	keys   string // the directory of the public key, which is what gateways get
	remove bool   // it goes with the system
}

// newPass makes the token. The key is kept in the data directory, so that tokens are good across restarts; without one it
// is never written down, and ends with the process.
func newPass(dataDir string) (_ *pass, err error) {
	p := &pass{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("a key for the gateways: %w", err), p.close())
		}
	}()
	var signer *mint.Signer
	if dataDir == "" {
		signer, err = p.newKey()
	} else {
		signer, err = p.keptKey(filepath.Join(dataDir, keyDir))
	}
	if err != nil {
		return nil, err
	}
	p.token, _, err = signer.Sign(mint.Claims{Subject: subject, Links: []string{"*"}, Lifetime: auth.LongestLifetime})
	return p, err
}

func (p *pass) newKey() (*mint.Signer, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	if p.keys, err = os.MkdirTemp("", "linkpulse-dev-"); err != nil {
		return nil, err
	}
	p.remove = true
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if err := os.WriteFile(filepath.Join(p.keys, keyID+".pem"), block, 0o600); err != nil {
		return nil, err
	}
	return mint.NewSigner(keyID, private)
}

func (p *pass) keptKey(dir string) (*mint.Signer, error) {
	p.keys = dir
	private := filepath.Join(dir, keyID+".key")
	signer, err := mint.Load(private)
	if !errors.Is(err, fs.ErrNotExist) {
		return signer, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if _, _, err := mint.Create(dir, keyID); err != nil {
		return nil, err
	}
	return mint.Load(private)
}

// close removes what is not to stay.
func (p *pass) close() error {
	if p == nil || !p.remove {
		return nil
	}
	return os.RemoveAll(p.keys)
}

// apply lets the gateways ask for tokens. On one machine everybody is one subject at one address: what bounds these, and
// handshakes, would stop nobody but the developer.
func (p *pass) apply(cfg *stack.Config) {
	if p == nil {
		return
	}
	cfg.PageToken = p.token
	cfg.GatewayArgs = append(
		cfg.GatewayArgs, "--auth=jwt", "--auth-key-files="+p.keys, "--auth-max-lifetime="+auth.LongestLifetime.String(),
		"--max-subject-connections=0", "--max-unauthenticated=0", "--max-address-unauthenticated=0",
	)
}

// write writes the token to a file that nobody else may read, in place of the one that is there.
func (p *pass) write(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".token-")
	if err != nil {
		return fmt.Errorf("writing the token: %w", err)
	}
	_, err = f.WriteString(p.token + "\n")
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing the token: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// link is the address at which a person finds a gateway's page. One that others can reach has no token in it, so the link
// carries it, behind the # that browsers send to nobody.
func (p *pass) link(gateway string) string {
	if u, err := url.Parse(gateway); p == nil || err != nil || net.ParseIP(u.Hostname()).IsLoopback() {
		return gateway
	}
	return gateway + "/#token=" + p.token
}
