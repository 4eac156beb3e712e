package mint_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkpulse/linkpulse/pkg/auth"
	"github.com/linkpulse/linkpulse/pkg/auth/mint"
	"github.com/linkpulse/linkpulse/pkg/click"
)

func ada() mint.Claims {
	return mint.Claims{Subject: "ada", Links: []string{"acme:*", "x7Kp2"}, Lifetime: time.Hour}
}

func verifier(t *testing.T, cfg auth.Config) *auth.Verifier {
	t.Helper()
	cfg.Audience, cfg.MaxLifetime = "linkpulse", 24*time.Hour
	v, err := auth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func load(t *testing.T, path string) *mint.Signer {
	t.Helper()
	s, err := mint.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is made with new keys is taken by a verifier that has the other half, with what both say by default.
func TestMintedTokensAreTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private, public, err := mint.Create(dir, "2026-11")
	if err != nil {
		t.Fatal(err)
	}
	secret, err := mint.CreateSecret(dir, "shared")
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, auth.Config{KeyFiles: []string{public}, SecretFile: secret})
	for path, algorithm := range map[string]string{private: "EdDSA", secret: "HS256"} {
		s := load(t, path)
		if s.Algorithm() != algorithm {
			t.Errorf("%s signs with %s", path, s.Algorithm())
		}
		before := time.Now().Truncate(time.Second)
		token, said, err := s.Sign(ada())
		if err != nil {
			t.Fatal(err)
		}
		id, err := v.Verify(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		if id.Subject != "ada" || id.TokenID != said.ID || !slices.Equal(id.Grants.Patterns(), ada().Links) ||
			id.ExpiresAt.Sub(id.IssuedAt) != time.Hour || id.IssuedAt.Before(before) {
			t.Errorf("%+v", id)
		}
		if u, err := click.ParseID(said.ID); err != nil || u[6]>>4 != 7 {
			t.Errorf("the id %q is no UUIDv7: %v", said.ID, err)
		}
	}
}

func TestFilesOfKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	private, public, err := mint.Create(dir, "a.b")
	if err != nil || private != filepath.Join(dir, "a.b.key") || public != filepath.Join(dir, "a.b.pem") {
		t.Fatalf("%s, %s, %v", private, public, err)
	}
	secret, err := mint.CreateSecret(dir, "a.b")
	if err != nil || secret != filepath.Join(dir, "a.b.secret") {
		t.Fatalf("%s, %v", secret, err)
	}
	for path, mode := range map[string]os.FileMode{private: 0o600, secret: 0o600, public: 0o644} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&^mode != 0 || auth.KeyID(path) != "a.b" {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	before, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := mint.Create(dir, "a.b"); err == nil || !errors.Is(err, fs.ErrExist) {
		t.Errorf("a key was overwritten: %v", err)
	}
	if _, err := mint.CreateSecret(dir, "a.b"); err == nil {
		t.Error("a secret was overwritten")
	}
	if after, err := os.ReadFile(private); err != nil || string(after) != string(before) {
		t.Errorf("the key is another: %v", err)
	}
	// A public key that is in the way leaves no private one behind.
	if err := os.WriteFile(filepath.Join(dir, "c.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := mint.Create(dir, "c"); err == nil {
		t.Error("it was overwritten")
	}
	if _, err := os.Stat(filepath.Join(dir, "c.key")); !os.IsNotExist(err) {
		t.Errorf("half of a pair was left: %v", err)
	}
	for _, id := range []string{"", "../x", "a/b", ".x", strings.Repeat("k", 256), "a\nb"} {
		_, _, err := mint.Create(dir, id)
		_, err2 := mint.CreateSecret(dir, id)
		if err == nil || err2 == nil {
			t.Errorf("%q is the id of a key", id)
		}
	}
}

// Keys that other programs made, in the forms that openssl writes.
func TestLoadForeignKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, kind string, der []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		content := []byte("short")
		if kind != "" {
			content = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey := func(c elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	p256, p384, p521 := ecKey(elliptic.P256()), ecKey(elliptic.P384()), ecKey(elliptic.P521())
	sec1, sec1Err := x509.MarshalECPrivateKey(p256)
	pkcs8, pkcs8Err := x509.MarshalPKCS8PrivateKey(p384)
	pkcs8b, pkcs8bErr := x509.MarshalPKCS8PrivateKey(p521)
	pkix, pkixErr := x509.MarshalPKIXPublicKey(rsaKey.Public())
	for path, want := range map[string]string{
		write("rsa.key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil): "RS256",
		write("p256.key", "EC PRIVATE KEY", sec1, sec1Err):                            "ES256",
		write("p384.key", "PRIVATE KEY", pkcs8, pkcs8Err):                             "ES384",
		write("p521.key", "PRIVATE KEY", pkcs8b, pkcs8bErr):                           "ES512",
	} {
		if s := load(t, path); s.Algorithm() != want || s.KeyID()+".key" != filepath.Base(path) {
			t.Errorf("%s: %s %s", path, s.KeyID(), s.Algorithm())
		}
	}
	for path, want := range map[string]string{
		write("public.key", "PUBLIC KEY", pkix, pkixErr):     "signs nothing",
		write("cert.key", "CERTIFICATE", pkix, nil):          "want a PRIVATE KEY",
		write("broken.key", "PRIVATE KEY", []byte("x"), nil): "asn1",
		filepath.Join(dir, "none.key"):                       "no such file",
		write("short", "", nil, nil):                         "at least 32",
	} {
		if _, err := mint.Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// What no verifier would take is not made, and all of it is told.
func TestSignRefuses(t *testing.T) {
	t.Parallel()
	s, err := mint.NewSecretSigner("k", []byte(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Sign(mint.Claims{Subject: "a\nb", ID: strings.Repeat("j", 256), Links: []string{"**"}, Lifetime: auth.LongestLifetime + 1, Audience: "\x00"})
	for _, want := range []string{"subject: ", "id: ", "links: grant 0", "lifetime: must be from a second to 720h0m0s", "audience: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell %q", err, want)
		}
	}
	c := ada()
	c.Links = nil
	for i := range 100 {
		c.Links = append(c.Links, strings.Repeat("l", 50)+string(rune('A'+i%26))+string(rune('A'+i/26)))
	}
	if _, _, err := s.Sign(c); err == nil || !strings.Contains(err.Error(), "at most 4096 are taken") {
		t.Errorf("%v", err)
	}
}
