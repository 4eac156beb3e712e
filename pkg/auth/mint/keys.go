package mint

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/linkpulse/linkpulse/pkg/auth"
)

// What files of keys are called: the id and one of these.
const (
	privateSuffix = ".key"
	publicSuffix  = ".pem"
	secretSuffix  = ".secret"
)

// Create makes an Ed25519 key and puts it into a directory: the private half, which signs and which nobody else may read,
// into private, and the public one, which verifiers get, into public. It never overwrites a key.
func Create(dir, id string) (private, public string, err error) {
	if err := checkFileName(id); err != nil {
		return "", "", err
	}
	public25519, private25519, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", "", fmt.Errorf("making a key: %w", err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private25519)
	if err != nil {
		return "", "", fmt.Errorf("making a key: %w", err)
	}
	publicDER, err := x509.MarshalPKIXPublicKey(public25519)
	if err != nil {
		return "", "", fmt.Errorf("making a key: %w", err)
	}
	private, public = filepath.Join(dir, id+privateSuffix), filepath.Join(dir, id+publicSuffix)
	if err := write(private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}), 0o600); err != nil {
		return "", "", err
	}
	if err := write(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}), 0o644); err != nil {
		return "", "", errors.Join(err, os.Remove(private))
	}
	return private, public, nil
}

// CreateSecret makes a secret of 256 bits and puts it into a directory. Whoever verifies tokens with it can make them too.
func CreateSecret(dir, id string) (path string, err error) {
	if err := checkFileName(id); err != nil {
		return "", err
	}
	secret := make([]byte, auth.LeastSecret)
	_, _ = rand.Read(secret) // it never fails
	path = filepath.Join(dir, id+secretSuffix)
	// In letters: files of secrets are copied and pasted.
	return path, write(path, append(base64.RawURLEncoding.AppendEncode(nil, secret), '\n'), 0o600)
}

// checkFileName refuses ids that are no names of files.
func checkFileName(id string) error {
	err := auth.CheckName(id)
	if err == nil && (strings.ContainsAny(id, `/\`) || strings.HasPrefix(id, ".")) {
		err = errors.New("it is the name of files, and cannot have a slash or begin with a dot")
	}
	if err != nil {
		return fmt.Errorf("the key's id: %w", err)
	}
	return nil
}

// write writes a file that is not there yet.
func write(path string, content []byte, mode os.FileMode) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("writing a key: %w", errors.Join(err, os.Remove(path)))
	}
	return nil
}
