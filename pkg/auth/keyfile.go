package auth

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

const (
	// maxKeyFile is the longest key file that is read: the wrong path may be that of anything.
	maxKeyFile = 64 << 10
	// maxKeys is the most keys of one source. Rotation needs two.
	maxKeys = 100
	// pemSuffix is what names of key files in a directory end with.
	pemSuffix = ".pem"
)

// readKeyFiles reads all keys that are in files, or none: what is half written is read again a moment later, and until
// then what was there before is good.
func readKeyFiles(cfg *Config) (keys []*key, err error) {
	paths, err := keyPaths(cfg.KeyFiles)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, path := range paths {
		k, err := readPublicKey(path, cfg.rsaAlgorithm())
		if err != nil {
			errs = append(errs, fmt.Errorf("key file %s: %w", path, err))
			continue
		}
		keys = append(keys, k)
	}
	if cfg.SecretFile != "" {
		k, err := readSecret(cfg.SecretFile)
		if err != nil {
			errs = append(errs, fmt.Errorf("secret file %s: %w", cfg.SecretFile, err))
		} else {
			keys = append(keys, k)
		}
	}
	byID := map[string]bool{}
	for _, k := range keys {
		if byID[k.id] {
			errs = append(errs, fmt.Errorf("two keys have the id %q: ids are names of files, without what follows the last dot", k.id))
		}
		byID[k.id] = true
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return keys, nil
}

// keyPaths returns the files, with those of directories instead of these.
func keyPaths(given []string) (paths []string, err error) {
	var errs []error
	for _, path := range given {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			errs = append(errs, err)
			continue
		case !info.IsDir():
			paths = append(paths, path)
			continue
		}
		found, err := keysIn(path)
		if err == nil && len(found) == 0 {
			err = fmt.Errorf("%s: no key in it: their names end with %s", path, pemSuffix)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		paths = append(paths, found...)
	}
	if len(paths) > maxKeys {
		errs = append(errs, fmt.Errorf("%d key files are too many: at most %d", len(paths), maxKeys))
	}
	return paths, errors.Join(errs...)
}

// keysIn returns the keys of a directory. Names that begin with a dot are others' business: editors' copies, and what
// Kubernetes keeps the versions of a mounted secret in.
func keysIn(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasSuffix(name, pemSuffix) && !strings.HasPrefix(name, ".") && !e.IsDir() {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths, nil
}

func readPublicKey(path, rsaAlgorithm string) (*key, error) {
	content, err := readShort(path)
	if err != nil {
		return nil, err
	}
	public, err := parsePublicKey(content)
	if err != nil {
		return nil, err
	}
	return newPublicKey(KeyID(path), public, "", rsaAlgorithm)
}

// KeyID returns the id of the key in a file: the file's name without what follows its last dot. So the private key and the
// public one, which lie side by side, have one id.
func KeyID(path string) string {
	name := filepath.Base(path)
	return strings.TrimSuffix(name, filepath.Ext(name))
}

// parsePublicKey reads one public key in PEM, of the forms that openssl writes.
func parsePublicKey(content []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(content)
	switch {
	case block == nil:
		return nil, errors.New("no PEM in it")
	case strings.HasSuffix(block.Type, "PRIVATE KEY"):
		return nil, errors.New("a private key: whoever verifies tokens must not be able to make them. Give the public one")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("more than one key: each has a file of its own, whose name is its id")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM of type %q, want a PUBLIC KEY", block.Type)
	}
}

// readSecret reads a secret: all of a file, but for the newline that editors and echo end it with.
func readSecret(path string) (*key, error) {
	content, err := readShort(path)
	if err != nil {
		return nil, err
	}
	return newSecretKey(KeyID(path), bytes.TrimRight(content, "\r\n"))
}

func readShort(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err == nil && len(content) > maxKeyFile {
		err = fmt.Errorf("more than %d bytes, which is no key", maxKeyFile)
	}
	return content, err
}
